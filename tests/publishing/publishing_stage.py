"""Announcements over simulated rooms, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import trio
from attrs import define, field

from actors.publishing.announcements import Announcements, AnnouncementSettings
from actors.publishing.publishing_port import SoundContent, Speech
from actors.publishing.sound import AudioClip
from actors.runtime import ActorSystem, GroupSpec, Intensity, Restart, Signal, open_system
from actors.session import SessionState
from actors.simulation.simulated_publishing import SimulatedPublishing, SimulatedStudio
from tests.publishing.tones import tone

ONE_SECOND = tone(1.0)


@define(eq=False)
class Stage:
    """The announcements under test, and everything around them."""

    announcements: Announcements
    port: SimulatedPublishing
    studio: SimulatedStudio
    system: ActorSystem
    rooms: dict[str, SessionState]
    log: list[tuple[str, dict[str, Any]]] = field(factory=list)
    signals: list[Signal] = field(factory=list)

    def watch(self, *names: str, encrypted: bool = False) -> None:
        for name in names:
            self.rooms[name] = SessionState(
                name, f"RM_{name}", "worker", "agent", (), 0.0, None, 0.0, encrypted=encrypted
            )

    @property
    def playbacks(self) -> int:
        """Actors that exist."""
        (group,) = (one for one in self.system.tree().children if one.path == "/announcements")
        return len(group.children)


@asynccontextmanager
async def open_stage(
    *rooms: str,
    make: Callable[[SoundContent], AudioClip] = lambda _: ONE_SECOND,
    settings: AnnouncementSettings | None = None,
) -> AsyncGenerator[Stage, None]:
    port, studio = SimulatedPublishing(), SimulatedStudio(make)
    watched: dict[str, SessionState] = {}
    log: list[tuple[str, dict[str, Any]]] = []
    signals: list[Signal] = []
    ids = count(1)
    async with open_system(on_signal=signals.append) as system:
        group = system.supervisor.start_group(
            GroupSpec("announcements", restart=Restart.PERMANENT, intensity=Intensity(1_000, 1.0))
        )
        await group.running()
        announcements = Announcements(
            group,
            port,
            studio,
            watched=watched.values,
            settings=settings or AnnouncementSettings(),
            clock=trio.current_time,
            log=lambda event, /, **fields: log.append((event, fields)),
            new_id=lambda: f"{next(ids):04}",
        )
        stage = Stage(announcements, port, studio, system, watched, log, signals)
        stage.watch(*rooms)
        yield stage


def hello() -> Speech:
    return Speech("Hello.")
