"""A timeline that is larger than memory is read and shown in pieces."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from actors.journal.session_reader import BadCursor
from actors.session import EntryView, MetadataChanged
from bridge.cli import reading_tables
from bridge.store import timeline_reader as timeline_module
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from bridge.store.timeline_reader import StoredTimeline
from tests.session.session_story import Story, as_json
from tests.store.stored_history import History


async def write_session(data_dir: Path, pieces: int, each: int, size: int = 10) -> None:
    """Write a session of so many chunks, with a last piece that is only in the journal."""
    history = History()
    async with open_store(data_dir, instance="w") as archive:
        journal = history.begin()
        await history.write_to(archive)
        for number in range(pieces):
            for _ in range(each):
                history.now += 0.05
                text = os.urandom(size).hex()
                journal.record(MetadataChanged(history.now, "alice", text))
            if number < pieces - 1:
                history.backlog.rewrite((journal,), history.now, rows_are_kept=True)
            await history.write_to(archive)


@contextmanager
def opened(data_dir: Path) -> Iterator[StoredTimeline]:
    with open_reader(data_dir) as reader, reader.open_session() as session:
        assert session is not None
        assert isinstance(session.timeline, StoredTimeline)
        yield session.timeline


async def test_it_is_the_same_whole_backwards_and_page_by_page(tmp_path: Path) -> None:
    await write_session(tmp_path, 5, 40)
    with open_reader(tmp_path) as reader:
        session = reader.session()
    assert session is not None
    whole = list(session.timeline or ())
    with opened(tmp_path) as timeline:
        assert len(timeline) == len(whole) == 5 * 40 + 5
        assert list(timeline) == whole
        assert list(timeline.backwards()) == whole[::-1]
        for limit in (1, 7, 40, 1_000):
            entries, cursor = list[object](), None
            while True:
                page = timeline.page(limit, cursor)
                assert page.entries is not None
                assert len(page.entries) <= limit
                entries += page.entries
                cursor = page.next
                if cursor is None:
                    break
                assert len(page.entries) == limit
            assert entries == whole


async def test_a_page_is_bounded_in_bytes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_session(tmp_path, 3, 20, 500)
    monkeypatch.setattr(timeline_module, "PAGE_BYTES", 10_000)
    with opened(tmp_path) as timeline:
        entries, cursor, pages = 0, None, 0
        while pages == 0 or cursor is not None:
            page = timeline.page(1_000, cursor)
            assert page.entries
            assert len(msgspec.json.encode(page.entries)) < 20_000
            entries, cursor, pages = entries + len(page.entries), page.next, pages + 1
        assert entries == 65
        assert pages > 5


@pytest.mark.parametrize("cursor", ["", "1", ".", "1.", "x.1", "1.1.1", "-1.0", "9" * 99 + ".0"])
async def test_a_cursor_that_no_page_gave_is_refused(cursor: str, tmp_path: Path) -> None:
    await write_session(tmp_path, 1, 1)
    with opened(tmp_path) as timeline, pytest.raises(BadCursor):
        timeline.page(1, cursor)


async def test_going_through_it_or_printing_it_takes_memory_for_a_piece(tmp_path: Path) -> None:
    await write_session(tmp_path, 12, 500, 1_000)
    text = 12 * 500 * 2_000
    with opened(tmp_path) as timeline:
        for use in (
            lambda: sum(1 for _ in timeline),
            lambda: sum(1 for _ in timeline.backwards()),
            lambda: reading_tables.write_json(len, Story().session(), timeline),
        ):
            tracemalloc.start()
            try:
                use()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < text / 2, "of 12 MB"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_in_pieces_is_the_json_of_the_whole(count: int) -> None:
    entry = EntryView(at="now", event="participant_attributes", changed={"a": "]\n}"})
    session = replace(Story().session(), timeline=(entry,) * count)
    out = io.StringIO()
    reading_tables.write_json(out.write, session, iter(session.timeline or ()))
    assert out.getvalue() == json.dumps(as_json(session), indent=1) + "\n"
