"""One process of a worker that writes to a database."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from actors.journal.archive import ArchiveTrouble
from actors.journal.room_leases import LEASE
from bridge.postgres.database_url import shown_url
from bridge.store.local_journal import LocalJournal


@define
class PostgresRun:
    """One process of a worker, and what it knows beyond its connections."""

    url: str = field(repr=False)
    instance: str
    """The worker's id, the same after a restart."""
    pid: int
    started_at: float
    """Unix seconds."""
    lease: float = LEASE
    """Seconds, see there."""
    before_commit: Callable[[], object] = field(default=lambda: None)
    """Called within the transaction of a batch, in the thread: for tests that stop it there."""
    local: LocalJournal | None = None
    """The journal on this machine; None where it is in the database."""
    has_noted_place: bool = False
    """The database knows where the journal is."""
    fenced_at: float | None = None
    """Unix seconds of the newest batch that renewed the lease, where the journal is local."""
    worker: int = 0
    """The number of its row; 0 before the first connection."""
    epoch: int = 0
    store: str = ""
    """The id of the store."""
    alive_before: float | None = None
    """Unix seconds of the last sign of life of the process before this one."""
    written: set[int] | None = field(factory=set[int])
    """Sessions that this run wrote before those of earlier runs were loaded; None after that."""
    batch: int = 0
    """The newest batch that was written."""
    keys: dict[int, int] = field(factory=dict[int, int])
    """Sessions whose number another worker gave to a session of its own, with their key here."""

    def key(self, session: int) -> int:
        """The session's key in the database."""
        return self.keys.get(session, session)


def run_replaced(run: PostgresRun) -> ArchiveTrouble:
    return ArchiveTrouble(
        f"another process writes to {shown_url(run.url)} as worker {run.instance}: end one of "
        "them, or give each a --worker-name and a --data-dir of its own"
    )
