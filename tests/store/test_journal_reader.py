"""Whole journals out of a store: from its chunks and its newest rows, and with a hole in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.journal.archive import Batch, Checkpoint
from actors.journal.session_filters import Filters
from actors.session import SessionState, fold
from bridge.store.journal_reader import JournalIncomplete, StoredJournal, open_journal_reader
from bridge.store.sqlite_archive import open_store
from tests.store.store_directory import execute
from tests.store.stored_history import T0, History


async def store(data_dir: Path) -> dict[str, SessionState]:
    """Three sessions: one ended, one live with a checkpoint and rows after it, one just begun."""
    history = History()
    async with open_store(data_dir, instance="earlier") as archive:
        ended = history.begin("atlas", "RM_ended")
        history.talk(ended, 50)
        ended.end(history.now, "room_closed")
        live = history.begin("atlas", "RM_live")
        history.talk(live, 20)
        batch = await history.write_to(archive)
        await archive.write(
            Batch((), (Checkpoint(live.number, live.seq, live.state, 0),), batch.alive_at)
        )
        history.talk(live, 5)
        young = history.begin("borneo", "RM_young")
        await history.write_to(archive)
    return {one.state.room_sid: one.state for one in (ended, live, young)}


def read(data_dir: Path, filters: Filters = Filters()) -> dict[str, SessionState | None]:  # noqa: B008
    states = dict[str, SessionState | None]()
    with open_journal_reader(data_dir) as reader:
        for journal in reader.journals(filters):
            state = None
            for record in reader.records(journal):
                state, _ = fold(state, record)
            states[journal.room_sid] = state
    return states


async def test_a_journal_that_is_read_folds_to_the_state_that_was_stored(tmp_path: Path) -> None:
    states = await store(tmp_path)
    assert read(tmp_path) == states


async def test_sessions_are_chosen_by_room_and_time_the_oldest_first(tmp_path: Path) -> None:
    await store(tmp_path)
    assert list(read(tmp_path, Filters(room="a*"))) == ["RM_ended", "RM_live"]
    assert list(read(tmp_path, Filters(since=T0 + 1))) == ["RM_live", "RM_young"]
    assert list(read(tmp_path, Filters(status="ended"))) == ["RM_ended"]


@pytest.mark.parametrize(
    "statement, reason",
    [
        ("DELETE FROM chunks", "its events are not stored any more"),
        ("UPDATE chunks SET lines = x'00'", "row 0 cannot be read"),
    ],
)
async def test_a_journal_that_is_not_whole_says_why(
    tmp_path: Path, statement: str, reason: str
) -> None:
    await store(tmp_path)
    execute(tmp_path, statement)
    with open_journal_reader(tmp_path) as reader:
        ended: StoredJournal = reader.journals(Filters())[0]
        with pytest.raises(JournalIncomplete, match=reason):
            list(reader.records(ended))
