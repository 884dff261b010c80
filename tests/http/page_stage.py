"""The pages over a real store, without a server of LiveKit: what tests of the pages look at.

`HOSTILE` is what a participant may call themselves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import define, field

from actors.journal.journal import Journal
from actors.runtime import Node
from actors.session import (
    MetadataChanged,
    ParticipantJoined,
    ParticipantLeft,
    QualityChanged,
    Reconnected,
    Reconnecting,
    Roster,
    SpeakersChanged,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackUnmuted,
)
from actors.session.room_info import ParticipantInfo
from bridge.config.public_address import PublicAddress
from bridge.http.api.alert_routes import AlertSource
from bridge.http.api.endpoints import StoreReaders
from bridge.http.pages.page_routes import Facts, Pages, Section, System, explain
from bridge.http.pages.people_pages import PeoplePages
from bridge.http.server.routes import HttpRoute, app
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_reader import open_reader
from tests.http.site import Site, open_site
from tests.store.stored_history import History

HOSTILE = (
    "<script>alert(1)</script>\"' onload=alert(1) ]]>&lt;\u202egnp.exe\x1b[31m\n"
    '=HYPERLINK("http://x")'
)
DAY = 86_400.0


@define(eq=False)
class Stage:
    """A site, and the history that it shows."""

    site: Site
    history: History
    archive: SqliteArchive
    rows: tuple[HttpRoute, ...]
    journals: list[Journal] = field(factory=list[Journal])
    tree: Node = field(factory=lambda: Node("/", "supervisor", "running", 1, 0))
    dead_letters: dict[str, int] = field(factory=dict[str, int])
    trouble: str | None = None
    facts: Facts = (("Lines written", 7),)
    """Facts of the store."""
    parts: tuple[Section, ...] = ()
    """Other parts than the store."""

    async def keep(self) -> None:
        """Write what happened to the store."""
        await self.history.write_to(self.archive)

    async def get(self, path: str, **headers: str) -> str:
        """A page as text; it must be well."""
        answer = await self.site.http.get(path, headers={"accept": "text/html", **headers})
        assert answer.status_code == 200, answer.text
        return answer.text


@asynccontextmanager
async def open_stage(
    data_dir: Path, *, token: str | None = None, port: int = 0, front: PublicAddress | None = None
) -> AsyncGenerator[Stage, None]:
    """Everything is as of now."""
    async with open_store(data_dir, instance="w") as archive:
        stages: list[Stage] = []

        def parts() -> tuple[Section, ...]:
            store = Section("Store", "writes", stages[0].trouble, stages[0].facts)
            return (*stages[0].parts, store)

        async def tree() -> Node:
            return stages[0].tree

        readers = StoreReaders(lambda: open_reader(data_dir))
        pages = Pages(
            readers.read,
            lambda: (one.state for one in stages[0].journals if not one.ended),
            System(tree, parts, lambda: stages[0].dead_letters),
            AlertSource(lambda: (one.state for one in stages[0].journals if not one.ended)),
            root=front.root if front else "",
        )
        rows = (*pages.rows, *PeoplePages(readers.read).rows)
        served = app(rows, loopback=True, token=token, explain=explain, front=front)
        async with open_site(served, port) as site:
            stages.append(Stage(site, History(time.time() - 600), archive, rows))
            yield stages[0]


def tell_a_story(history: History, journal: Journal) -> None:
    """Ten minutes in which everything happens that a timeline shows."""
    start, room_sid = history.now, journal.state.room_sid
    carol = ParticipantInfo("carol", "PA_carol", start + 30, name="Carol")
    robot = ParticipantInfo("scribe", "PA_scribe", start + 40, kind="agent")
    camera = TrackInfo("TR_camera", "video", "camera")
    everyone = journal.state.present
    roster = Roster(
        room_sid,
        "",
        (
            *(
                ParticipantInfo(
                    p.identity,
                    p.joins[-1].sid,
                    p.joins[-1].joined_at,
                    name=p.name,
                    tracks=(TrackInfo(f"TR_{p.identity}", "audio", "microphone"),),
                )
                for p in everyone.values()
            ),
            robot,
        ),
    )
    first = next(iter(everyone))
    for event in (
        TrackSubscribed(start + 1, first, f"TR_{first}"),
        QualityChanged(start + 2, first, "", "excellent"),
        ParticipantJoined(start + 30, carol),
        ParticipantJoined(start + 40, robot),
        MetadataChanged(start + 41, "carol", '{"role": "host"}'),
        TrackPublished(start + 50, "carol", camera),
        SpeakersChanged(start + 60, (first,)),
        SpeakersChanged(start + 110, ("carol",)),
        TrackMuted(start + 120, first, f"TR_{first}"),
        SpeakersChanged(start + 150, ()),
        QualityChanged(start + 160, first, "", "poor"),
        TrackUnmuted(start + 200, first, f"TR_{first}"),
        QualityChanged(start + 230, "carol", "PA_carol", "good"),
        ParticipantLeft(start + 300, "carol", "PA_carol", "client_initiated"),
        Reconnecting(start + 360),
        Reconnected(start + 400, roster),
    ):
        journal.record(event)
    history.now = start + 420
    history.talk(journal, 20, first)
