"""The ports from the HTTP side to its program.  They are the same for each role.

A role fills these ports: `start` from its worker, tests and benchmarks from simulated rooms.  The
HTTP side may look through them at any time.  It passes LiveKit's webhooks on, and orders of
announcements.  It can change nothing else.  Nothing here imports the HTTP side, which a worker
with `--http off` does not load.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from attrs import field, frozen

from actors.journal.backlog import Backlog
from actors.journal.feed import Feed
from actors.journal.session_reader import WorkerRow
from actors.rooms.run_counters import RunCounters
from actors.runtime import ActorSystem
from actors.session import SessionState
from bridge.livekit.heartbeat import Heartbeat
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook

if TYPE_CHECKING:
    # Not at run time: a worker without an endpoint, or that announces nothing, does not load them.
    from actors.outlets.outbox_port import Parked
    from actors.outlets.outlet_counts import OutletCounts
    from actors.publishing.announcements import Announcements
    from bridge.app.upload_role import AgentUploads
    from bridge.outlets.outbox_view import OutletFacts

ReadinessChecks: TypeAlias = Mapping[str, Callable[[], str | None]]
"""By part: why it is not ready, None if it is.  Quick, and without a secret."""


@frozen
class WorkerSnapshot:
    """A worker as it is at one moment."""

    name: str
    """The id of this worker (`bridge.app.worker_id`)."""
    livekit_id: str
    """LiveKit's id of its registration; empty while it has none."""
    livekit_url: str
    agent_name: str
    version: str
    registered: bool
    draining: bool
    max_rooms: int
    watched_rooms: int
    entering: int
    """Jobs that are not entered yet."""
    takes_jobs: bool
    """There is a free place."""
    rooms_without_place: Sequence[str] = ()
    """Names of rooms that are known and not entered."""


class WatchedOutlet(Protocol):
    """One endpoint that gets webhooks."""

    @property
    def name(self) -> str: ...
    @property
    def shown_url(self) -> str:
        """Without path and query."""
        ...

    @property
    def counts(self) -> OutletCounts: ...
    @property
    def is_ours(self) -> bool:
        """This worker delivers to it."""
        ...

    @property
    def worker(self) -> str:
        """The instance of the worker that does, where another one does."""
        ...


@frozen
class OutboxPort:
    """The outbox of a program, or of all workers of a database.  Its functions raise
    `OutboxTrouble`."""

    facts: Callable[[], Awaitable[Sequence[OutletFacts]]]
    """The endpoints."""
    parked: Callable[[], Awaitable[Sequence[tuple[str, Parked]]]]
    """Deliveries that wait or were given up, with their endpoint's name."""


@frozen
class WebPorts:
    """The HTTP side's view of its program.  All functions are called in the loop and are quick."""

    worker: Callable[[], WorkerSnapshot] | None
    """None: the program watches nothing."""
    checks: ReadinessChecks
    open_sessions: Callable[[], Iterable[SessionState]]
    """Sessions that have not ended, also those of rooms that are not watched at this moment."""
    watched_sessions: Callable[[], Iterable[SessionState]]
    """Sessions of the rooms that are watched."""
    take_webhook: Callable[[TranslatedWebhook], object] | None
    """None: LiveKit's webhooks are not taken."""
    backlog: Backlog
    counters: RunCounters
    system: ActorSystem
    clock: ServerClock = field(factory=ServerClock)
    """The clock of the sessions' times."""
    heartbeat: Heartbeat = field(factory=Heartbeat)
    shown_sessions: Callable[[], Iterable[SessionState]] | None = None
    """Open sessions of all workers of the store; None where there are only those above."""
    workers: Callable[[], Sequence[WorkerRow]] = tuple
    """All workers of the store, where there may be several."""
    feed: Feed | None = None
    """The feed that others of the program follow too; None where nobody does."""
    alert_rules: Collection[str] | None = None
    """Names of the rules that make alerts; None where they are not known."""
    outlets: Callable[[], Sequence[WatchedOutlet]] = tuple
    """The endpoints that get webhooks."""
    outbox: OutboxPort | None = None
    """None where no endpoint is configured."""
    announcements: Callable[[], Awaitable[Announcements]] | None = None
    """The announcements of the program; None where it makes none."""
    uploads: AgentUploads | None = None
    """Takes what voice agents upload; None where that is not wanted."""
