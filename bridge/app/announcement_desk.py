"""Announcements of the running program.  What they need is imported and started at the first order,
so a worker that announces nothing has none of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from actors.acting.act_requests import ActKind
from actors.journal.process_ports import Announce, Clock
from actors.rules.acts import PlayFile, SayText
from actors.rules.rule_config import Rule
from actors.runtime import ActorSystem, GroupSpec, Intensity, Restart
from actors.session import SessionState
from bridge.config.settings import Settings, SettingsError
from bridge.output.harmless import harmless

if TYPE_CHECKING:
    # Not at run time: see the module.
    from actors.publishing.announcements import Announcements
    from actors.publishing.media_job import MediaDependencies
    from actors.publishing.publishing_port import PublishingPort, SoundStudio

BUDGET: Final = Intensity(restarts=1_000_000, within=1.0)
"""Playbacks are temporary: their failures never add up to a failure of the whole."""


@final
class AnnouncementDesk:
    """Takes orders for the rooms of one program."""

    def __init__(
        self,
        settings: Settings,
        system: ActorSystem,
        make_port: Callable[[], PublishingPort],
        *,
        watched: Callable[[], Iterable[SessionState]],
        clock: Clock,
        announce: Announce,
    ) -> None:
        """`make_port` makes the way into rooms, when it is needed."""
        self._settings = settings
        self._system = system
        self._make_port = make_port
        self._watched = watched
        self._clock = clock
        self._announce = announce
        self._announcements: Announcements | None = None
        self._starting = trio.Lock()

    async def announcements(self) -> Announcements:
        """The announcements of the program; the first call starts them."""
        async with self._starting:
            if self._announcements is None:
                self._announcements = await self._start()
            return self._announcements

    async def media_dependencies(self) -> MediaDependencies:
        """The parts for jobs of the media publisher."""
        from actors.publishing.media_job import MediaDependencies

        settings = self._settings

        def may_command(identity: str) -> bool:
            return any(fnmatchcase(identity, glob) for glob in settings.media_commands)

        return MediaDependencies(
            self._make_port(),
            self._studio(),
            self._clock,
            self._announce,
            may_command,
            settings.media_folder,
        )

    def _studio(self) -> SoundStudio:
        from bridge.livekit.publishing.resampling import resample
        from bridge.media.studio import Studio

        return Studio(self._settings.speech_engine, self._settings.speech_voice, resample)

    def close(self) -> None:
        """Take no more orders, and stop everything."""
        if self._announcements is not None:
            self._announcements.close()

    async def _start(self) -> Announcements:
        from actors.publishing.announcements import Announcements, AnnouncementSettings

        settings = self._settings
        group = self._system.supervisor.start_group(
            GroupSpec("announcements", restart=Restart.PERMANENT, intensity=BUDGET)
        )
        await group.running()
        return Announcements(
            group,
            self._make_port(),
            self._studio(),
            watched=self._watched,
            settings=AnnouncementSettings(settings.announcer_name, settings.speak_people_text),
            clock=self._clock,
            log=self._announce,
            new_id=lambda: secrets.token_hex(4),
        )


def announcing_kinds_of(rules: tuple[Rule, ...], desk: AnnouncementDesk) -> Mapping[str, ActKind]:
    """The acts that announce, where a rule has one."""
    if not any(isinstance(act, SayText | PlayFile) for rule in rules for act in rule.acts):
        return {}
    from actors.acting.announcing_acts import announcing_kinds

    return announcing_kinds(desk.announcements)


def check_announcing_rules(rules: tuple[Rule, ...], engine: str | None) -> None:
    """Raises `SettingsError` for a rule that speaks without an engine, or plays no file."""
    for rule in rules:
        for act in rule.acts:
            if isinstance(act, PlayFile) and not Path(act.file).is_file():
                raise SettingsError(
                    f"--config: the rule {rule.name!r} plays {harmless(act.file, 200)}, and there "
                    "is no such file"
                )
            if isinstance(act, SayText):
                _require_engine(rule.name, engine)


def _require_engine(rule: str, engine: str | None) -> None:
    from actors.publishing.publishing_port import SoundError
    from bridge.media.speech_engines import choose_engine

    try:
        choose_engine(engine)
    except SoundError as error:
        raise SettingsError(f"--config: the rule {rule!r} says a text; {error}") from None
