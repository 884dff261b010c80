"""The live sessions, followed from look to look, are what a fresh reader finds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from actors.journal.session_reader import LiveSession
from bridge.store.schema import FILE
from bridge.store.sql_reader import SqlReader
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import History


def rooms(found: list[LiveSession]) -> list[str]:
    return [one.state.room for one in found]


def same_as_fresh(data_dir: Path, reader: SqlReader) -> list[LiveSession]:
    found = reader.live()
    with open_reader(data_dir) as fresh:
        assert found == fresh.live()
    return found


async def test_what_was_written_since_is_folded_in(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        atlas, borealis = history.begin("atlas", "RM_1"), history.begin("borealis", "RM_2")
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            before = same_as_fresh(tmp_path, reader)
            assert rooms(before) == ["borealis", "atlas"]
            assert same_as_fresh(tmp_path, reader) == before
            history.talk(atlas, 3)
            await history.write_to(archive)
            after = same_as_fresh(tmp_path, reader)
            assert [one.state.messages.total for one in after] == [0, 3]
            assert after[0].state is before[0].state, "nothing of it was read again"
            borealis.end(history.now, "room_closed")
            history.begin("cirrus", "RM_3")
            await history.write_to(archive)
            assert rooms(same_as_fresh(tmp_path, reader)) == ["cirrus", "atlas"]


async def test_lines_that_are_missing_are_made_up_for_by_what_is_kept_later(
    tmp_path: Path,
) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        atlas = history.begin("atlas")
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            assert reader.live()[0].state.messages.total == 0
            history.talk(atlas)
            history.batch()  # never written
            history.talk(atlas)
            await history.write_to(archive)
            assert same_as_fresh(tmp_path, reader)[0].state.messages.total == 0
            atlas.end(history.now, "worker_stopped")
            atlas.attach(history.now, None, None)
            await history.write_to(archive)
            assert same_as_fresh(tmp_path, reader)[0].state.messages.total == 2


async def test_another_worker_s_word_replaces_what_was_known(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.talk(history.begin("atlas"))
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        assert reader.live()[0].state.messages.total == 1
        async with open_store(tmp_path, instance="w") as archive:
            await history.write_to(archive)
            assert same_as_fresh(tmp_path, reader)[0].state.messages.total == 1


async def test_a_session_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.begin("atlas", "RM_1")
        history.begin("borealis", "RM_2")
        await history.write_to(archive)
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(
            "UPDATE states SET state = x'00' WHERE session = (SELECT min(session) FROM sessions)"
        )
    with open_reader(tmp_path) as reader:
        assert rooms(reader.live()) == ["borealis"]
