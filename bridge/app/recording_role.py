"""Recording by the running program: the recorder, and the address at which LiveKit reaches us."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.recording_acts import recording_kinds
from actors.journal.process_ports import Clock
from actors.recording.egress_port import EgressPort
from actors.recording.recorder import Recorder
from actors.recording.recorder_messages import RecorderMessage
from actors.recording.session_access import SessionAccess
from actors.rules.acts import StartRecording
from actors.rules.recording_outputs import secret_names
from actors.rules.rule_config import Rule
from actors.runtime import ChildSpec, Intensity, MailboxSpec, Ref, Supervisor
from bridge.config.http_address import HttpAddress, is_loopback
from bridge.config.settings import Settings, SettingsError
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.webhooks.verify import WEBHOOK_PATH

RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of the recorder restarts it for ever, with backoff: rooms must not notice."""
MAILBOX: Final = MailboxSpec(capacity=100_000)


def start_recorder(
    root: Supervisor,
    egress: EgressPort,
    sessions: SessionAccess,
    settings: Settings,
    *,
    clock: Clock,
) -> Mapping[str, ActKind]:
    """Start the recorder; all kinds of acts, with those of recording.

    It also runs where no rule records any more: an earlier run may have left recordings.
    """
    recorder: Ref[RecorderMessage] = root.start_child(
        ChildSpec(
            "recorder",
            lambda: Recorder(egress, sessions, clock=clock, limit=settings.max_recordings),
            intensity=RESTARTS,
            mailbox=MAILBOX,
        )
    )
    return {**ACT_KINDS, **recording_kinds(recorder)}


def check_secrets(rules: tuple[Rule, ...], environment: Mapping[str, str] = os.environ) -> None:
    """Raises `SettingsError` for a secret of a storage that is not in the environment."""
    for rule in rules:
        for act in rule.acts:
            for name in secret_names(act.request) if isinstance(act, StartRecording) else ():
                if not environment.get(name):
                    raise SettingsError(
                        f"--config: the rule {rule.name!r} names the environment variable {name} as"
                        " the secret of a storage, and it is not set"
                    )


def webhook_url(settings: Settings, http: HttpAddress | None) -> str | None:
    """The address of our own `/livekit/webhook` as LiveKit reaches it; None where it cannot.

    LiveKit reaches an address of this machine if it runs here.  Elsewhere the address must be set.
    """
    given = settings.recording_webhook_url
    if given is not None:
        scheme = "https" if given.secure else "http"
        return f"{scheme}://{given.authority}{given.target}"
    if http is None or not is_loopback(Endpoint.parse(settings.url).host):
        return None
    host = http.host if http.loopback else "127.0.0.1"
    return f"http://{HttpAddress(host, http.port)}{settings.http_root}{WEBHOOK_PATH}"
