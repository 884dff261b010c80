"""The contract of a feed, for the one on disk and the one in memory; and positions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.journal.archive import ArchiveTrouble
from actors.journal.feed import POSITION_LENGTH, BadPosition, Feed, FeedEntry, Position
from actors.journal.shared_feed import SharedFeed
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_feed import PostgresFeed
from bridge.store.retention import REPLAY
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_feed import SqliteFeed
from tests.store.memory_feed import MemoryFeed
from tests.store.stored_history import History, prune_all

START = Position({})


@define(eq=False)
class FeedOnDisk:
    """A worker's file, and the feed over it."""

    archive: SqliteArchive
    history: History = field(factory=History)
    _changed: trio.Event = field(factory=trio.Event)

    @property
    def feed(self) -> Feed:
        return SqliteFeed(self.archive.path.parent, lambda: self._changed)

    async def write(self) -> None:
        await self.history.write_to(self.archive)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def drop_old(self) -> None:
        """Drop the entries that are older than `REPLAY`, but for the newest batch."""
        await prune_all(self.archive, None)


@define(eq=False)
class FeedInDatabase:
    """A worker's batches in PostgreSQL, and the feed over them."""

    archive: PostgresArchive
    url: str
    history: History = field(factory=History)
    _changed: trio.Event = field(factory=trio.Event)

    @property
    def feed(self) -> Feed:
        return PostgresFeed(self.url, lambda: self._changed)

    async def write(self) -> None:
        await self.history.write_to(self.archive)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def drop_old(self) -> None:
        """Drop the entries that are older than `REPLAY`, but for the newest batch."""
        await prune_all(self.archive, None)


@define(eq=False)
class FeedInMemory:
    feed: MemoryFeed = field(factory=MemoryFeed)
    history: History = field(factory=History)

    async def write(self) -> None:
        self.feed.add(self.history.batch())

    async def drop_old(self) -> None:
        self.feed.drop_all_but_the_newest_batch()


class FeedForSeveral:
    """A feed that several follow, over another one.  It keeps little in memory."""

    def __init__(self, below: FeedOnDisk | FeedInDatabase | FeedInMemory) -> None:
        self.feed = SharedFeed(below.feed, entries=5)
        self.history = below.history
        self.write = below.write
        self.drop_old = below.drop_old


Written: TypeAlias = FeedOnDisk | FeedInDatabase | FeedInMemory | FeedForSeveral


@pytest.fixture(params=["sqlite", "postgresql", "in memory", "shared, sqlite", "shared, in memory"])
async def written(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Written, None]:
    """A feed to which a worker writes."""
    shared = request.param.startswith("shared")
    if request.param.endswith("in memory"):
        yield FeedForSeveral(FeedInMemory()) if shared else FeedInMemory()
        return
    if request.param == "postgresql":
        url = request.getfixturevalue("database_url")
        async with open_database_store(url, instance="w") as archive:
            yield FeedInDatabase(archive, url)
        return
    async with open_store(tmp_path, instance="w") as archive:
        on_disk = FeedOnDisk(archive)
        yield FeedForSeveral(on_disk) if shared else on_disk


async def read_on(feed: Feed, position: Position, limit: int) -> tuple[list[FeedEntry], Position]:
    """All entries after a position, page by page, and the position after them."""
    entries: list[FeedEntry] = []
    while (page := await feed.after(position, limit)).entries:
        assert len(page.entries) <= limit
        entries += page.entries
        for entry in page.entries:
            position |= entry.position
    return entries, position


async def test_a_follower_gets_every_entry_once_and_in_order(
    written: Written,
) -> None:
    history, position, entries = written.history, START, list[FeedEntry]()
    journals = [history.begin(f"room-{n}", f"RM_{n}") for n in range(3)]
    for turn in range(10):
        for journal in journals:
            history.talk(journal, turn % 3)
        await written.write()
        more, position = await read_on(written.feed, position, limit=4)
        entries += more
    for journal in journals:
        own = [one for one in entries if one.room_sid == journal.state.room_sid]
        assert [one.entry for one in own] == list(journal.unpublished)
        assert {one.room for one in own} == {journal.state.room}
    texts = [str(one.position) for one in entries]
    assert len(set(texts)) == len(texts)


async def test_the_newest_position_has_every_entry_so_far_and_none_that_comes(
    written: Written,
) -> None:
    history = written.history
    journal = history.begin()
    await written.write()
    newest = await written.feed.newest()
    _, position = await read_on(written.feed, START, 100)
    assert position <= newest
    assert (await written.feed.after(newest, 100)).entries == ()
    count = len(journal.unpublished)
    history.talk(journal)
    await written.write()
    page = await written.feed.after(newest, 100)
    assert [one.entry for one in page.entries] == list(journal.unpublished)[count:]
    assert not page.gap


async def test_a_new_feed_begins_with_its_first_entry(
    written: Written,
) -> None:
    begin = await written.feed.newest()
    assert (await written.feed.after(begin, 100)).entries == ()
    written.history.begin()
    await written.write()
    page = await written.feed.after(begin, 100)
    assert [one.entry.event for one in page.entries][:1] == ["session_started"]


async def test_a_change_wakes_a_follower_that_took_the_event_before_it_read(
    written: Written,
) -> None:
    changed = written.feed.changed
    written.history.begin()
    await written.write()
    with trio.fail_after(60):
        await changed.wait()
    assert not written.feed.changed.is_set()


async def test_entries_that_were_dropped_are_a_gap_for_those_who_lack_them_only(
    written: Written,
) -> None:
    before = await written.feed.newest()
    written.history.begin()
    await written.write()
    written.history.now += 2 * REPLAY
    written.history.begin("borealis", "RM_2")
    await written.write()
    await written.drop_old()
    page = await written.feed.after(before, 100)
    assert ({one.room for one in page.entries}, page.gap) == ({"borealis"}, True)
    rest = await written.feed.after(before | page.entries[0].position, 100)
    assert (rest.entries, rest.gap) == (page.entries[1:], False)


async def test_places_of_writers_that_a_feed_does_not_know_are_ignored(
    written: Written,
) -> None:
    journal = written.history.begin()
    await written.write()
    known = await written.feed.newest()
    written.history.talk(journal)
    await written.write()
    more = Position.at(9, 9, "elsewhere")
    assert await written.feed.after(known | more, 100) == await written.feed.after(known, 100)


# ---------------------------------------------------------------- on disk


async def test_a_batch_that_cannot_be_read_is_a_gap_and_the_next_ones_are_read(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path, instance="w") as archive:
        on_disk = FeedOnDisk(archive)
        journal = on_disk.history.begin()
        await on_disk.write()
        before = await on_disk.feed.newest()
        for _ in range(2):
            on_disk.history.talk(journal)
            await on_disk.write()
        with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
            db.execute(
                "UPDATE journal SET lines = x'c1' "
                "WHERE batch = (SELECT min(batch) FROM journal WHERE batch >= ?)",
                (before.place()[0],),
            )
        page = await on_disk.feed.after(before, 100)
        assert page.gap
        assert [one.entry.event for one in page.entries] == ["data_message", "quality_changed"][:1]


async def test_a_store_that_cannot_be_read_is_trouble_and_somebody_is_told_why(
    tmp_path: Path,
) -> None:
    reasons: list[str] = []
    feed = SqliteFeed(tmp_path / "none", trio.Event, reasons.append)
    with pytest.raises(ArchiveTrouble, match="no sessions are kept"):
        await feed.newest()
    assert len(reasons) == 1


# ---------------------------------------------------------------- several followers


async def test_what_is_new_is_read_once_for_all_who_follow() -> None:
    below = FeedInMemory()
    feed, journal = SharedFeed(below.feed), below.history.begin()
    followers = [START] * 4
    entries: list[list[FeedEntry]] = [[] for _ in followers]
    for _ in range(10):
        below.history.talk(journal)
        await below.write()
        reads = feed.reads
        for number, position in enumerate(followers):
            page = await feed.after(position, 100)
            entries[number] += page.entries
            for entry in page.entries:
                followers[number] |= entry.position
        assert feed.reads == reads + 1
    assert entries[0] == entries[1] == entries[2] == entries[3]
    assert [one.entry for one in entries[0]] == list(journal.unpublished)


async def test_one_who_is_far_behind_reads_alone_and_moves_nobody_else() -> None:
    below = FeedInMemory()
    feed, journal = SharedFeed(below.feed, entries=3), below.history.begin()
    quick = START
    for _ in range(10):
        below.history.talk(journal)
        await below.write()
        _, quick = await read_on(feed, quick, 100)
    slow = list[FeedEntry]()
    position = START
    while (page := await feed.after(position, 2)).entries:
        slow += page.entries
        for entry in page.entries:
            position |= entry.position
        reads = feed.reads
        assert (await feed.after(quick, 100)).entries == ()
        assert feed.reads == reads + 1
    assert [one.entry for one in slow] == list(journal.unpublished)


async def test_a_gap_is_told_to_each_who_follows() -> None:
    below = FeedInMemory()
    feed = SharedFeed(below.feed)
    begin = await feed.newest()
    below.history.begin()
    await below.write()
    below.history.now += 2 * REPLAY
    below.history.begin("borealis", "RM_2")
    await below.write()
    await below.drop_old()
    for _ in range(3):
        assert (await feed.after(begin, 100)).gap


# ---------------------------------------------------------------- several writers


@pytest.mark.parametrize("shared", [False, True])
async def test_entries_of_several_writers_are_each_given_once_whatever_their_numbers(
    shared: bool,
) -> None:
    """The clock of one writer is years behind: its batches have lower numbers and come later."""
    below, first, second = MemoryFeed(), History(), History()
    feed: Feed = SharedFeed(below, entries=7) if shared else below
    one, other = first.begin("one", "RM_1"), second.begin("two", "RM_2")
    position, rooms = START, list[str]()
    for turn in range(6):
        if turn % 3:
            first.talk(one)
            below.add(first.batch(), "w1")
        second.talk(other, turn)
        below.add(second.batch(), "w2")
        entries, position = await read_on(feed, position, 2)
        rooms += [entry.room for entry in entries]
    assert rooms.count("one") == len(one.unpublished)
    assert rooms.count("two") == len(other.unpublished)
    assert position == Position.parse(str(position))
    assert position <= await feed.newest()


# ---------------------------------------------------------------- positions

positions = st.builds(
    Position,
    st.dictionaries(
        st.sampled_from(["", "w1", "w-2", "w.3"]),
        st.tuples(st.integers(0, 9), st.integers(0, 9)),
        max_size=3,
    ),
)


@given(positions, positions, positions)
def test_positions_are_sets(a: Position, b: Position, c: Position) -> None:
    assert a <= a | b
    assert b <= a | b
    assert a & b <= a
    assert a & b <= b
    assert (a | b) | c == a | (b | c)
    if a <= c and b <= c:
        assert a | b <= c
    if c <= a and c <= b:
        assert c <= a & b


@given(positions)
def test_a_position_is_its_text(position: Position) -> None:
    if position.places:
        assert Position.parse(str(position)) == position


def test_an_id_of_a_store_with_one_writer_is_batch_and_number() -> None:
    """Clients remember such ids."""
    assert Position.parse("1790000000000000-3") == Position.at(1_790_000_000_000_000, 3)
    assert str(Position.at(1_790_000_000_000_000, 3)) == "1790000000000000-3"
    assert str(Position.at(2, 1, "w1") | Position.at(5, 9, "w0")) == "w0:5-9,w1:2-1"


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "-1-1", "1-", "\u0661-1", f"{'9' * 30}-1", "1-1,", ",", "1-1,2-2", "a:1-1,a:1-2",
        ":1-1", "a b:1-1", f"{'x' * 65}:1-1", ",".join(f"w{n}:1-1" for n in range(POSITION_LENGTH)),
    ],
)  # fmt: skip
def test_a_text_that_no_position_has_is_refused(text: str) -> None:
    with pytest.raises(BadPosition):
        Position.parse(text)
