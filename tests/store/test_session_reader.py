"""The contract of a session reader, for those over SQLite and PostgreSQL and the one in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from attrs import define, field

from actors.journal.archive import Batch
from actors.journal.session_filters import Filters
from actors.journal.session_reader import BadCursor, Day, NoStore, SessionReader, newest_worker
from actors.session import (
    ParticipantInfo,
    ParticipantJoined,
    QualityChanged,
    SessionRow,
    Tick,
    session_row,
    session_view,
)
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_reader import open_database_reader
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.memory_sessions import MemorySessions
from tests.store.stored_history import T0, History


@define(eq=False)
class OnDisk:
    """Sessions that a worker writes to a file, and its readers."""

    archive: SqliteArchive
    history: History = field(factory=History)

    async def write(self) -> Batch:
        return await self.history.write_to(self.archive)

    def open(self) -> AbstractContextManager[SessionReader]:
        return open_reader(self.archive.path.parent)


@define(eq=False)
class InDatabase:
    """Sessions that a worker writes to PostgreSQL, and its readers."""

    archive: PostgresArchive
    url: str
    history: History = field(factory=History)

    async def write(self) -> Batch:
        return await self.history.write_to(self.archive)

    def open(self) -> AbstractContextManager[SessionReader]:
        return open_database_reader(self.url)


@define(eq=False)
class InMemory:
    sessions: MemorySessions = field(factory=MemorySessions)
    history: History = field(factory=History)

    async def write(self) -> Batch:
        batch = self.history.batch()
        self.sessions.add(batch)
        return batch

    def open(self) -> AbstractContextManager[SessionReader]:
        return self.sessions.open()


Stored: TypeAlias = OnDisk | InDatabase | InMemory


@pytest.fixture(params=["sqlite", "postgresql", "in memory"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Stored, None]:
    """A store to which a worker writes."""
    if request.param == "in memory":
        yield InMemory()
    elif request.param == "postgresql":
        url = request.getfixturevalue("database_url")
        async with open_database_store(url, instance="w") as archive:
            yield InDatabase(archive, url)
    else:
        async with open_store(tmp_path, instance="w") as archive:
            yield OnDisk(archive)


def ids(rows: Iterable[SessionRow]) -> list[str]:
    return [row.id for row in rows]


async def write_ended(stored: Stored, count: int = 7) -> None:
    stored.history.add_ended(count)
    await stored.write()


async def test_a_store_to_which_nobody_wrote_is_no_store(
    stored: Stored, request: pytest.FixtureRequest
) -> None:
    if isinstance(stored, InDatabase):
        stored = InDatabase(stored.archive, request.getfixturevalue("empty_database"))
    if isinstance(stored, OnDisk):
        await stored.archive.aclose()
        stored.archive.path.unlink()
    with pytest.raises(NoStore, match="no sessions are kept"), stored.open():
        pass


# ---------------------------------------------------------------- lists


async def test_a_list_is_paged_from_the_newest_to_the_oldest(stored: Stored) -> None:
    await write_ended(stored)
    with stored.open() as reader:
        assert reader.count() == 7
        pages, cursor = list[list[str]](), None
        while True:
            page = reader.sessions(3, cursor)
            pages.append(ids(page.sessions))
            cursor = page.next
            if cursor is None:
                break
    assert pages == [["RM_6", "RM_5", "RM_4"], ["RM_3", "RM_2", "RM_1"], ["RM_0"]]


async def test_a_cursor_goes_on_where_it_was_though_sessions_were_added(
    stored: Stored,
) -> None:
    await write_ended(stored)
    with stored.open() as reader:
        first = reader.sessions(3)
    stored.history.begin("atlas", "RM_new")
    await stored.write()
    with stored.open() as reader:
        assert ids(reader.sessions(3, first.next).sessions) == ["RM_3", "RM_2", "RM_1"]
        assert ids(reader.sessions(1).sessions) == ["RM_new"]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 30, "\u0661"])
async def test_a_cursor_that_no_page_gave_is_refused(cursor: str, stored: Stored) -> None:
    await write_ended(stored, 1)
    with stored.open() as reader, pytest.raises(BadCursor):
        reader.sessions(3, cursor)


def select(reader: SessionReader, **filters: object) -> list[str]:
    return ids(reader.sessions(filters=Filters(**filters)).sessions)  # pyright: ignore[reportArgumentType]


async def test_a_list_has_what_the_filters_say(stored: Stored) -> None:
    await write_ended(stored)
    with stored.open() as reader:
        assert select(reader, room="team-1") == ["RM_5", "RM_3", "RM_1"]
        assert len(select(reader, room="team-*")) == 7
        assert select(reader, person="person-5") == ["RM_6", "RM_5"]
        assert select(reader, status="active") == []
        assert len(select(reader, status="ended")) == 7
        assert select(reader, since=T0 + 6 * 3_600) == ["RM_6"]
        assert select(reader, until=T0 + 3_600) == ["RM_0"]
        assert select(reader, people=6) == ["RM_6", "RM_5"]
        assert select(reader, quality="lost") == []
        assert len(select(reader, quality="good")) == 7
        assert select(reader, room="team-1", people=4, person="person-5") == ["RM_5"]


async def test_somebody_who_came_just_now_is_found_at_once_by_identity_and_by_name(
    stored: Stored,
) -> None:
    """A checkpoint comes every 20 s; what lists filter by must not wait for it."""
    history = stored.history
    journal = history.begin("atlas", "RM_1", "alice")
    await stored.write()
    info = ParticipantInfo("u-17", "PA_2", history.now, name="Dora [guest]")
    journal.record(ParticipantJoined(history.now, info))
    journal.record(QualityChanged(history.now, "u-17", "PA_2", "poor"))
    history.now += 1.0
    journal.record(Tick(history.now))
    batch = await stored.write()
    assert not batch.checkpoints
    with stored.open() as reader:
        live = ["RM_1"]
        assert select(reader, person="u-17") == select(reader, person="Dora \\[guest]") == live
        assert select(reader, person="Dora*") == select(reader, person="u-?7") == live
        assert select(reader, person="Dora") == select(reader, person="dora*") == []
        assert select(reader, people=2) == select(reader, quality="poor") == live
        assert select(reader, people=3) == select(reader, quality="lost") == []
        assert ids(reader.rooms(Filters(person="u-17"))) == live
        assert reader.rooms(Filters(person="Dora")) == []
    journal.end(history.now, "room_closed")
    await stored.write()
    with stored.open() as reader:
        for person in ("u-17", "Dora \\[guest]", "Dora*", "Alice"):
            assert select(reader, person=person) == ["RM_1"]


async def test_a_page_is_full_though_live_sessions_between_do_not_match(
    stored: Stored,
) -> None:
    for number in range(9):
        who = "alice" if number % 3 == 0 else "bob"
        stored.history.begin("atlas", f"RM_{number}", who)
        stored.history.now += 1.0
    await stored.write()
    with stored.open() as reader:
        first = reader.sessions(2, None, Filters(person="alice"))
        assert ids(first.sessions) == ["RM_6", "RM_3"]
        rest = reader.sessions(2, first.next, Filters(person="alice"))
        assert (ids(rest.sessions), rest.next) == (["RM_0"], None)


@pytest.mark.parametrize("room", ["[team]", "a*b", "what?", "back\\slash", "[", "]", "a[^b]"])
async def test_every_room_is_found_by_its_escaped_name(room: str, stored: Stored) -> None:
    for name in (room, "t", "aXb", "whatX", "back", "a!"):
        stored.history.begin(name, f"RM_{name}").end(stored.history.now, "room_closed")
    await stored.write()
    escaped = "".join(f"\\{char}" if char in "*?[\\" else char for char in room)
    with stored.open() as reader:
        assert select(reader, room=escaped) == [f"RM_{room}"]


async def test_days_have_totals_also_those_without_a_session(stored: Stored) -> None:
    history = stored.history
    for offset, people in ((0, ("alice",)), (60, ("alice", "bob")), (2 * 86_400, ("dora",))):
        history.now = T0 + offset
        journal = history.begin("atlas", f"RM_{offset}", *people)
        history.now += 10.0
        journal.end(history.now, "room_closed")
    await stored.write()
    first = datetime.fromtimestamp(T0, UTC).date()
    with stored.open() as reader:
        days = reader.days(first - timedelta(1), first + timedelta(2))
        assert [(day.date, day.sessions, day.peak) for day in days] == [
            ((first - timedelta(1)).isoformat(), 0, 0),
            (first.isoformat(), 2, 2),
            ((first + timedelta(1)).isoformat(), 0, 0),
            ((first + timedelta(2)).isoformat(), 1, 1),
        ]
        assert [round(day.people_seconds) for day in days] == [0, 32, 0, 10]
        assert reader.days(first, first, Filters(person="bob"))[0].sessions == 1
        assert reader.days(date(1970, 1, 1), date(1970, 1, 1)) == [Day("1970-01-01", 0, 0.0, 0)]


# ---------------------------------------------------------------- one session


async def test_objects_are_those_of_the_session(stored: Stored) -> None:
    history = stored.history
    journal = history.begin()
    history.talk(journal, 3)
    journal.end(history.now, "room_closed")
    entries = tuple(journal.unpublished)
    await stored.write()
    with stored.open() as reader:
        assert reader.sessions().sessions == [session_row(journal.state, history.now)]
        assert reader.session("RM_1") == session_view(journal.state, history.now, entries)


async def test_a_session_is_found_by_its_id_and_by_its_room(stored: Stored) -> None:
    await write_ended(stored)
    with stored.open() as reader:
        for name, expected in (
            ("RM_2", "RM_2"), ("team-1", "RM_5"), ("team-0", "RM_6"), (None, "RM_6"),
        ):  # fmt: skip
            session = reader.session(name)
            assert session is not None
            assert session.id == expected
        assert reader.session("team") is None


async def test_of_a_room_the_live_session_comes_first(stored: Stored) -> None:
    history = stored.history
    history.begin("atlas", "RM_live")
    await stored.write()
    history.now += 60.0
    history.begin("atlas", "RM_ended").end(history.now, "room_closed")
    await stored.write()
    with stored.open() as reader:
        for name in ("atlas", None):
            session = reader.session(name)
            assert session is not None
            assert session.id == "RM_live"


async def test_a_timeline_is_the_same_whole_backwards_and_page_by_page(
    stored: Stored,
) -> None:
    journal = stored.history.begin()
    for _ in range(4):
        stored.history.talk(journal, 5)
        await stored.write()
    with stored.open() as reader:
        session = reader.session("RM_1")
        assert session is not None
        whole = list(session.timeline or ())
        assert len(whole) == len(journal.unpublished)
        with reader.open_session("RM_1") as opened:
            assert opened is not None
            timeline = opened.timeline
            assert timeline is not None
            assert list(timeline) == whole
            assert list(timeline.backwards()) == whole[::-1]
            assert len(timeline) == len(whole)
            pages, cursor = list[object](), None
            while True:
                page = timeline.page(7, cursor)
                assert len(page.entries or ()) <= 7
                pages += page.entries or ()
                cursor = page.next
                if cursor is None:
                    break
            assert pages == whole
            for bad in ("", "x", "-1", "9" * 99, "\u0661"):
                with pytest.raises(BadCursor):
                    timeline.page(1, bad)


# ---------------------------------------------------------------- live sessions, the worker


async def test_a_live_session_is_shown_as_of_now(stored: Stored) -> None:
    history = stored.history
    history.now = time.time() - 100.0
    journal = history.begin()
    await stored.write()
    for _ in range(4):
        history.talk(journal)
        assert not (await stored.write()).checkpoints
    entries = len(journal.unpublished)
    with stored.open() as reader:
        (room,) = reader.rooms()
        (row,) = reader.sessions().sessions
        session = reader.session("RM_1")
    assert session is not None
    for shown in (room, row, session):
        assert shown.data_messages is not None
        assert shown.data_messages.total == 4
        assert 100.0 <= shown.duration < 130.0
    assert len(session.timeline or ()) == entries


async def test_live_sessions_are_given_as_states_the_newest_first(
    stored: Stored,
) -> None:
    history = stored.history
    atlas, borealis = history.begin("atlas", "RM_1"), history.begin("borealis", "RM_2")
    history.begin("cirrus", "RM_3").end(history.now, "room_closed")
    await stored.write()
    history.talk(atlas)
    await stored.write()
    with stored.open() as reader:
        live = reader.live()
        assert [one.state for one in live] == [borealis.state, atlas.state]
        assert [one.seq for one in live] == [borealis.seq, atlas.seq]
        assert ids(reader.rooms()) == ["RM_2", "RM_1"]


async def test_the_worker_is_shown_with_its_last_sign_of_life(stored: Stored) -> None:
    stored.history.begin()
    stored.history.now += 5.0
    await stored.write()
    with stored.open() as reader:
        worker = newest_worker(reader)
        assert worker is not None
        assert (worker.instance, worker.alive_at, worker.running) == ("w", T0 + 5.0, True)
        assert reader.damage() is None
