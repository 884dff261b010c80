"""The live sessions, followed: whoever looks each second reads only what is new.

A first look takes every live session as it was kept last with the lines after it folded in.
From then on the states stay in memory, and a look folds the lines that were written since.
Where that does not fit together (a line is missing or cannot be read, another worker took
over), the session is taken from the file again, as any other reader would.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from typing import Final, final

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import SessionState, fold
from actors.session.codec import Unreadable, decode_record
from bridge.store.journal_rows import newest_lines, unpack
from bridge.store.replay import replay


@frozen
class LiveSession:
    """One live session as of its newest line."""

    number: int
    """Its key in the store."""
    state: SessionState
    seq: int
    """Of that line."""
    lost: int
    """Lines of it that were given up."""


@final
class LiveSessions:
    """What one connection has seen so far."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db
        self._known: dict[int, tuple[SessionState, int]] = {}
        """States with the number of their newest line."""
        self._run = self._batch = -1
        """The newest run, and the newest row of the journal that was read."""

    def look(self) -> list[LiveSession]:
        """Every one that can be read, the newest first.  Within one transaction."""
        rows = self._db.execute(
            "SELECT session, seq, lines_lost FROM sessions WHERE ended_at IS NULL "
            "ORDER BY place DESC"
        ).fetchall()
        lost = {session: lines_lost for session, _, lines_lost in rows}
        run, batch = self._db.execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM runs), "
            "(SELECT coalesce(max(batch), 0) FROM journal)"
        ).fetchone()
        before = self._known if run == self._run else {}
        self._known = {session: before[session] for session, _, _ in rows if session in before}
        self._follow()
        self._run, self._batch = run, batch
        behind = [
            session
            for session, seq, _ in rows
            if session not in self._known or self._known[session][1] < seq
        ]
        self._take(behind)
        return [
            LiveSession(session, *self._known[session], lost[session])
            for session in lost
            if session in self._known
        ]

    def _follow(self) -> None:
        """Fold what was written since; forget whom that does not fit."""
        if not self._known:
            return
        rows = self._db.execute(
            "SELECT lines FROM journal WHERE batch > ? ORDER BY batch", (self._batch,)
        )
        for (row,) in rows:
            try:
                lines = unpack(row)
            except Unreadable:
                self._known.clear()
                return
            for line in lines:
                self._fold(line)

    def _fold(self, line: JournalRow) -> None:
        state, seq = self._known.get(line.session, (None, 0))
        if state is None or line.seq <= seq:
            return
        try:
            if line.seq != seq + 1:
                raise Unreadable(f"line {seq + 1} is missing")
            state, _ = fold(state, decode_record(line.kind, line.body))
        except Exception:  # noqa: BLE001 - whatever a line does, the others are right
            del self._known[line.session]
        else:
            self._known[line.session] = (state, line.seq)

    def _take(self, sessions: Collection[int]) -> None:
        """From the file, and not at all where that cannot be read."""
        newest = newest_lines(self._db, frozenset(sessions)) if sessions else {}
        for session in sessions:
            self._known.pop(session, None)
            with suppress(ValueError):
                found = replay(self._db, session, newest.get(session, ()))
                self._known[session] = (found.state, found.seq)
