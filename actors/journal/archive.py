"""The border between sessions and the disk: what an archive must offer.

SQLite fills this port (`bridge.store`), and a simulated disk that can be full, locked,
slow or torn (`actors.simulation`).  One contract suite in the tests runs over both.

What is kept of a session is its journal, a `JournalRow` a record, and now and then the
session itself as it was after one of them, a `Checkpoint`.  A session is got back by
folding the lines after its newest checkpoint into it.
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from attrs import frozen

from actors.session import SessionState

RECENT: Final = 600.0
"""Seconds after its end for which LiveKit's webhooks may still speak of a session."""


@frozen
class JournalRow:
    """One record of one session's journal, encoded (`actors.session.codec`)."""

    session: int
    seq: int
    """From 0 on, without a gap unless lines were given up (`Checkpoint.lost`)."""
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
    """Lines that were given up in all, because the archive could not take them for too long."""


@frozen
class Batch:
    """What is to be written in one go.  Of each session the lines are in order."""

    lines: tuple[JournalRow, ...]
    checkpoints: tuple[Checkpoint, ...]
    alive_at: float
    """Unix seconds: all that was recorded until then is in this batch or an earlier one."""


@frozen
class StoredSession:
    """A session as the archive has it."""

    session: int
    seq: int
    """Of the last record that is in `state`."""
    state: SessionState
    lost: int


@frozen
class RecoveredSessions:
    """What an earlier run of this worker left."""

    sessions: tuple[StoredSession, ...]
    """Those that are open, of those that ended without their room the newest ones, and all
    that ended in the last `RECENT` seconds before `alive_at`."""
    alive_at: float | None
    """Unix seconds of the newest batch; None in a new archive."""


@frozen
class Removal:
    """The things that were dropped."""

    sessions: int = 0
    bytes: int = 0
    """Of lines."""

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
    """It cannot be read or written now, and may be later.  The text says why and what to do."""


class ArchiveLost(ArchiveTrouble):
    """What it had is gone from it, and it begins anew.

    Every session that lives has to be written whole again: lines alone are of no use.
    """

    def __init__(self, text: str, *, lines_are_kept: bool = False) -> None:
        """`lines_are_kept`: all that was written could be rescued."""
        super().__init__(text)
        self.lines_are_kept = lines_are_kept


class Archive(Protocol):
    """Where sessions are kept.  One writer at a time."""

    async def load(self) -> RecoveredSessions:
        """What earlier runs left; nothing of what this one wrote.  Raises `ArchiveTrouble`."""
        ...

    async def write(self, batch: Batch) -> None:
        """Keep all of it, durably by the time this returns, or nothing.

        The same batch again changes nothing.  Raises `ArchiveTrouble`; may be cancelled,
        and it is then not known whether it was kept.
        """
        ...

    async def verify(self, most: float = inf) -> None:
        """Read through what is kept, as whoever reads it does; may take long.

        Nothing is read where more than `most` bytes are kept.
        Raises `ArchiveLost` where it is damaged, and `ArchiveTrouble` where it cannot be read.
        """
        ...

    async def prune(self, now: float | None) -> PruneStep:
        """Drop some of what is older, or more, than is to be kept; quick.

        `now` is Unix seconds by a clock that others confirm; None where there is none: then
        nothing is dropped for its age.  Raises `ArchiveTrouble`.
        """
        ...
