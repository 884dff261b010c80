"""The live sessions, followed: a reader that looks every second reads only what is new.

The first look replays every live session.  Then the states stay in memory, and each look folds
the journal rows that were written since.  Where they do not fit (a row is missing or cannot be
read, or another worker took over), the next look replays the session from the file.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final, final

from actors.journal.archive import JournalRow
from actors.journal.session_reader import LiveSession
from actors.session import SessionState
from actors.session.codec import Unreadable
from bridge.store.journal_rows import newest_rows, unpack
from bridge.store.read_connection import Mark, ReadConnection
from bridge.store.replay import fold_row, replay


@final
class LiveSessions:
    """The live sessions as one connection has read them so far."""

    def __init__(self, db: ReadConnection) -> None:
        self._db: Final = db
        self._states: dict[int, tuple[SessionState, int]] = {}
        """States, each with the number of its newest row."""
        self._writers: object = None
        """Another value after a writer began anew."""
        self._mark: Mark = {}
        """The end of the journal as of the last look."""

    def look(self) -> list[LiveSession]:
        """All that can be read, the newest first.  Call it within one transaction."""
        sessions = self._db.execute(
            "SELECT session, seq, lines_lost FROM sessions WHERE ended_at IS NULL "
            "ORDER BY place DESC"
        ).fetchall()
        writers, mark = self._db.journal_end()
        before = self._states if writers == self._writers else {}
        self._states = {number: before[number] for number, _, _ in sessions if number in before}
        self._follow()
        self._writers, self._mark = writers, mark
        self._replay(
            [
                number
                for number, seq, _ in sessions
                if number not in self._states or self._states[number][1] < seq
            ]
        )
        return [
            LiveSession(number, *self._states[number], lost)
            for number, _, lost in sessions
            if number in self._states
        ]

    def _follow(self) -> None:
        """Fold the rows that were written since.  It forgets a session that they do not fit."""
        if not self._states:
            return
        for packed in self._db.packs_after(self._mark):
            try:
                rows = unpack(packed)
            except Unreadable:
                self._states.clear()
                return
            for row in rows:
                self._fold(row)

    def _fold(self, row: JournalRow) -> None:
        state, seq = self._states.get(row.session, (None, 0))
        if state is None or row.seq <= seq:
            return
        try:
            self._states[row.session] = (fold_row(state, seq, row), row.seq)
        except Exception:  # noqa: BLE001 - whatever a row does, the other sessions are right
            del self._states[row.session]

    def _replay(self, sessions: Collection[int]) -> None:
        """Read these from the file; leave out those that cannot be read."""
        newest = newest_rows(self._db, frozenset(sessions)) if sessions else {}
        for session in sessions:
            self._states.pop(session, None)
            with suppress(ValueError):
                replayed = replay(self._db, session, newest.get(session, ()))
                self._states[session] = (replayed.state, replayed.seq)
