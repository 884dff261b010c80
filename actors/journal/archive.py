"""The border between sessions and the disk: what an archive must offer.

SQLite (`bridge.store`) and PostgreSQL (`bridge.postgres`) fill this port, and a simulated disk that
can be full, locked, slow or torn (`actors.simulation`).  One contract suite in the tests runs over
all three.

The archive has a session's journal, a `JournalRow` for each record, and now and then a
`Checkpoint`: the session as it was after one of them.  A session is read by folding the rows
after its newest checkpoint into that.
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from attrs import frozen

from actors.session import SessionState

RECENT: Final = 600.0
"""Seconds after the end of a session in which webhooks may still report about it."""


@frozen
class JournalRow:
    """One record of one session's journal, encoded (`actors.session.codec`)."""

    session: int
    seq: int
    """From 0 on, without a gap unless rows were given up (`Checkpoint.lost`)."""
    at: float
    """Unix seconds of the record."""
    kind: str
    body: bytes
    entries: bytes
    """The timeline entries that the record led to, encoded; empty where there were none."""


@frozen
class Checkpoint:
    """A session as it is after all its records up to `seq`."""

    session: int
    seq: int
    state: SessionState
    lost: int
    """Rows that were given up in all, because the archive could not take them for too long."""


@frozen
class Batch:
    """Rows and checkpoints for one transaction.  The rows of each session are in order."""

    rows: tuple[JournalRow, ...]
    checkpoints: tuple[Checkpoint, ...]
    alive_at: float
    """Unix seconds: everything recorded until then is in this batch or an earlier one."""
    released: tuple[int, ...] = ()
    """Sessions of rooms that this worker owns no longer, once the batch is written.  Each has a
    checkpoint in the batch.  An archive of one writer has no owners and does nothing with it."""


@frozen
class StoredSession:
    """A session as it is in the archive."""

    session: int
    seq: int
    """Sequence number of the last record that is folded into `state`."""
    state: SessionState
    lost: int
    seen_until: float | None = None
    """Unix seconds until when the former owner of its room saw it, where workers share a database;
    else None."""


@frozen
class RecoveredSessions:
    """Sessions that earlier runs of this worker stored."""

    sessions: tuple[StoredSession, ...]
    """The open ones, the newest of those that ended before their room, and all that ended in
    the last `RECENT` seconds before `alive_at`."""
    alive_at: float | None
    """Unix seconds of the newest batch; None in a new archive."""


@frozen
class Removal:
    """The sizes of one step of dropping."""

    sessions: int = 0
    bytes: int = 0
    """Of rows."""

    def __add__(self, other: Removal) -> Removal:
        return Removal(self.sessions + other.sessions, self.bytes + other.bytes)

    def __bool__(self) -> bool:
        return bool(self.sessions or self.bytes)


NOTHING: Final = Removal()


@frozen
class PruneStep:
    """The result of one step of pruning."""

    more: bool = False
    """There may be more to drop."""
    by_age: Removal = NOTHING
    by_size: Removal = NOTHING


class ArchiveTrouble(Exception):
    """The archive cannot be read or written for now.  The text says why and what to do."""


class ArchiveLost(ArchiveTrouble):
    """The archive lost its content and begins anew.

    Every session in memory must be written whole again: rows alone are of no use.
    """

    def __init__(self, text: str, *, rows_are_kept: bool = False) -> None:
        """`rows_are_kept`: all rows could be rescued."""
        super().__init__(text)
        self.rows_are_kept = rows_are_kept


class Fenced(ArchiveTrouble):
    """Nothing of the batch was written: it has sessions of rooms that this worker does not own.

    Another worker acquired them meanwhile, or there is another session of the same room.  The
    batch without these sessions can be written.  Each of them must be acquired
    (`actors.journal.room_leases`) before more of it can be written, or given up.
    """

    def __init__(self, text: str, sessions: frozenset[int]) -> None:
        """`sessions`: their numbers in the batch."""
        super().__init__(text)
        self.sessions = sessions


class Archive(Protocol):
    """The store of sessions, as one of its writers sees it."""

    async def load(self) -> RecoveredSessions:
        """The sessions of earlier runs, without those of this one.  Raises `ArchiveTrouble`."""
        ...

    async def write(self, batch: Batch) -> None:
        """Store all of it, durably when this returns, or nothing.

        The same batch again changes nothing.  Raises `ArchiveTrouble`, and `Fenced` where
        several workers write; may be cancelled, and then it is not known whether it was stored.
        """
        ...

    async def verify(self, most: float = inf) -> None:
        """Read through the archive as a reader does; may take long.

        Reads nothing if the archive has more than `most` bytes.
        Raises `ArchiveLost` if it is damaged, and `ArchiveTrouble` if it cannot be read.
        """
        ...

    async def prune(self, now: float | None) -> PruneStep:
        """Drop some of the sessions that exceed the retention by age or size; quick.

        `now` is Unix seconds by a clock that others confirm; without one it is None, and then
        nothing is dropped for its age.  Raises `ArchiveTrouble`.
        """
        ...
