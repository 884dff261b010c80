"""Rules and acts of the running program, put together: what sessions ask, and who acts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from actors.acting.act_requests import ActKind
from actors.acting.acting import Acting
from actors.acting.room_texts import RoomTexts
from actors.journal.process_ports import Announce, Clock
from actors.recording.session_access import SessionAccess
from actors.rooms.room_control import RoomControl
from actors.rules.acts import sends_text_stream
from actors.rules.conditions import AUDIO_CHANGED
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from actors.runtime import ChildSpec, Service, Supervisor
from bridge.app.announcement_desk import check_announcing_rules
from bridge.app.recording_role import check_secrets
from bridge.config.limit_list import limits_of
from bridge.config.rule_list import rules_of, webhooks_without_endpoint
from bridge.config.rules_file import require_different_names
from bridge.config.settings import BY_NAME, Settings, SettingsError
from bridge.config.webhook_list import webhooks_of
from bridge.output.harmless import harmless
from bridge.store.ban_file import BanFile

log = structlog.get_logger()


def _report_rule_fault(room: str, error: Exception) -> None:
    log.error("rule_failed", room=room, error=error, exc_info=error)


def make_acting(
    rules: tuple[Rule, ...],
    limits: tuple[Limit, ...],
    data_dir: Path,
    *,
    clock: Clock,
    announce: Announce,
) -> tuple[Acting, BanFile]:
    """What sessions ask, and the stored bans.  `start_acting` follows."""
    bans = BanFile(data_dir, clock=clock, announce=announce)
    acting = Acting(rules, bans.bans, limits, clock=clock, report_fault=_report_rule_fault)
    return acting, bans


def start_acting(
    acting: Acting,
    bans: BanFile,
    root: Supervisor,
    control: RoomControl,
    texts: RoomTexts,
    sessions: SessionAccess,
    kinds: Mapping[str, ActKind],
    database_url: str | None = None,
) -> None:
    """Start the actor that acts, and the services that store bans, and share them where workers
    share a database."""
    acting.start(root, control, texts, sessions, kinds=kinds)
    root.start_child(ChildSpec("bans", lambda: Service(bans.run)))
    if database_url is not None:
        from bridge.app.shared_bans import SharedBans

        shared = SharedBans(database_url, bans.bans, bans.clock)
        root.start_child(ChildSpec("shared-bans", lambda: Service(shared.run)))


def send_text_streams(settings: Settings) -> bool:
    """True if a rule or a limit sends texts from our connections to rooms."""
    acts = (act for rule in rules_of(settings) for act in rule.acts)
    return any(map(sends_text_stream, acts)) or any(one.message for one in limits_of(settings))


def require_sound_rules(settings: Settings) -> None:
    """Check rules, limits and webhooks against each other.  Raises `SettingsError`."""
    rules = rules_of(settings)
    require_different_names(rules, limits_of(settings))
    endpoints = [webhook.name for webhook in webhooks_of(settings)]
    for name in webhooks_without_endpoint(rules, endpoints):
        raise SettingsError(
            f"--config: a [[rule]] calls the webhook {harmless(name)!r}, and no [[webhook]] has "
            "this name"
        )
    check_secrets(rules)
    check_announcing_rules(rules, settings.speech_engine)
    require_measured_tracks(rules, settings.measure_tracks)


def require_measured_tracks(rules: tuple[Rule, ...], measure_tracks: str) -> None:
    """Raises `SettingsError` for a rule that asks for audio where no track is measured."""
    for rule in rules:
        asks = AUDIO_CHANGED in rule.reads or rule.event == AUDIO_CHANGED
        if asks and measure_tracks == "off":
            raise SettingsError(
                f"--config: the rule {harmless(rule.name)!r} asks for audio, and no track "
                f"is measured; set it by {BY_NAME['measure-tracks'].how()}"
            )
