"""The disk, as recording and acts wait for it: until then nothing is carried out."""

from __future__ import annotations

from typing import Any, cast

import trio
import trio.testing

from actors.recording.session_access import RoomTableSessions
from actors.rooms.room_table import RoomTable
from actors.runtime import Ref
from tests.store.stored_history import History


class _Store:
    """A store that writes at once what may be written."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def ask(self, _: object, timeout: float) -> bool:
        await trio.lowlevel.checkpoint()
        self._history.batch()
        return timeout > 0


async def test_a_session_without_its_lease_carries_nothing_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The owner of its room watches it too, and carries out the same."""
    history, table = History(), RoomTable()
    journal = history.begin("atlas", "RM_1")
    table.add_idle(journal)
    store = cast("Ref[Any]", _Store(history))
    sessions = RoomTableSessions(table, history.backlog, store, store)
    history.backlog.fence([journal.number])
    with trio.move_on_after(5.0) as waiting:
        await sessions.store("RM_1")
    assert waiting.cancelled_caught
    history.backlog.unfence(journal.number)
    await sessions.store("RM_1")
    assert history.backlog.empty
    history.backlog.discard([journal])
    with trio.move_on_after(5.0) as waiting:
        await sessions.store("RM_1")
    assert waiting.cancelled_caught
    table.forget(journal)
    await sessions.store("RM_1")
