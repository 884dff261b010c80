"""The sessions, as recording needs them: read their state, report to them, have it on the disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, final

from actors.journal.backlog import Backlog
from actors.journal.journal import JournalView
from actors.journal.store_actor import Flush
from actors.rooms.messages import Reported
from actors.rooms.room_table_view import RoomTableView
from actors.runtime import ActorError, Ref, sleep
from actors.session import RoomEvent, SessionState

ANSWER_WITHIN: Final = 5.0
"""Seconds for a session to take a report."""
AGAIN: Final = 0.2
"""Seconds between two tries: a session's actor was restarting, or the disk was in trouble."""


class SessionAccess(Protocol):
    """The recorder's access to sessions."""

    async def ready(self) -> None:
        """Wait until the sessions of earlier runs are in memory."""
        ...

    def find(self, room_sid: str) -> SessionState | None:
        """The session of a room instance as it is now; None where none is in memory."""
        ...

    def all(self) -> Iterable[SessionState]:
        """Every session in memory."""
        ...

    async def report(self, room_sid: str, report: RoomEvent) -> SessionState | None:
        """Have a report folded; the state after it.  None where there is no such session."""
        ...

    async def store(self, room_sid: str) -> None:
        """Wait until everything that this session recorded by now is on the disk: for ever, where
        the disk takes nothing.  Also for the lease of its room: until then another worker carries
        out what it intends."""
        ...


@final
class RoomTableSessions(SessionAccess):
    """The sessions of the room table, whose writers are asked by message."""

    def __init__(
        self, table: RoomTableView, backlog: Backlog, manager: Ref[Any], store: Ref[Any]
    ) -> None:
        self._table = table
        self._backlog = backlog
        self._manager = manager
        self._store = store

    async def ready(self) -> None:
        await self._backlog.ready.wait()

    def find(self, room_sid: str) -> SessionState | None:
        journal = self._journal(room_sid)
        return None if journal is None else journal.state

    def _journal(self, room_sid: str) -> JournalView | None:
        record = self._table.find_room(room_sid)
        return self._table.find_idle(room_sid) if record is None else record.journal

    def all(self) -> Iterable[SessionState]:
        return [journal.state for journal in self._table.journals]

    async def report(self, room_sid: str, report: RoomEvent) -> SessionState | None:
        while self.find(room_sid) is not None:
            record = self._table.find_room(room_sid)
            writer = self._manager if record is None else record.session
            try:
                if writer is not None:
                    state: SessionState = await writer.ask(
                        lambda reply_to: Reported(room_sid, report, reply_to), timeout=ANSWER_WITHIN
                    )
                    return state
            except ActorError:
                pass  # A report can come twice: the fold takes the second one for none.
            await sleep(AGAIN)
        return None

    async def store(self, room_sid: str) -> None:
        while True:
            journal = self._journal(room_sid)
            before = None if journal is None else (journal.number, journal.seq)
            try:
                if await self._store.ask(Flush, timeout=float("inf")) and (
                    journal is None or before is None or self._has_stored(journal, *before)
                ):
                    return
            except ActorError:
                pass
            await sleep(AGAIN)

    def _has_stored(self, journal: JournalView, number: int, seq: int) -> bool:
        """True if the flush had the records up to `seq`.  It leaves out those of a session that the
        database refused."""
        same = journal.number == number and not journal.foreign
        return same and self._backlog.has_stored(number, seq)
