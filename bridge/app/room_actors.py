"""The actors that watch rooms, whoever sends them there: put together, and spoken to.

The demo's simulated rooms, the demo on a real server and `start` all run these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
import trio
from attrs import define

from actors.journal.archive import Archive
from actors.journal.backlog import Backlog
from actors.journal.process_ports import Clock
from actors.journal.store_actor import Flush, StoreActor
from actors.rooms.connection_actor import FindAgain, Undo
from actors.rooms.final_summary import Summary
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, GiveUp, JobReports, Terminated, WebhookReceived
from actors.rooms.recovery import ListLiving, Recovery
from actors.rooms.reporter import Reporter
from actors.rooms.room_group import RoomDependencies
from actors.rooms.room_port import RoomJob, RoomPort
from actors.rooms.room_table import RoomTable
from actors.rooms.run_counters import RunCounters
from actors.rooms.session_actor import Publish
from actors.runtime import (
    ActorDown,
    ActorSystem,
    ChildSpec,
    Crashed,
    Failed,
    GroupEscalated,
    GroupSpec,
    Intensity,
    MailboxSpec,
    Overran,
    Ref,
    Restart,
    Restarting,
    Service,
    Signal,
)
from actors.session import ClockCompared, Entry, SessionState, Suspended, WebhookReport
from bridge.config.settings import Settings
from bridge.log.session_log import SessionLog

log = structlog.get_logger()

ROOMS_BUDGET: Final = Intensity(restarts=1_000_000, within=1.0)
"""Rooms are temporary: their failures never add up to a failure of the whole."""
MANAGER_MAILBOX: Final = MailboxSpec(capacity=1_000_000)
"""A job or the end of a room must not be lost."""
DRAIN_TRIES: Final = 5
"""Crashes of the manager that a drain survives."""
FLUSH_AGAIN: Final = 0.2
"""Seconds between two tries to have everything written."""


@define(eq=False)
class RoomActors:
    """The actors that watch rooms, whoever sends them there."""

    table: RoomTable
    backlog: Backlog
    manager: Ref[Any]
    reporter: Ref[Any]
    store: Ref[Any]
    publish: Publish
    tally: RunCounters
    """Counts over everything that was published."""
    clock: Clock

    def assign(self, job: RoomJob) -> None:
        """Watch the room of this job."""
        self.table.pending_jobs[job.job_id] = job
        self.manager.tell(Assigned(job))

    def terminate(self, job_id: str) -> None:
        """LiveKit wants this job ended."""
        self.manager.tell(Terminated(job_id))

    def give_up(self, room_sid: str) -> None:
        """Leave this room, which nobody is in, so that another one has its place."""
        self.manager.tell(GiveUp(room_sid))

    def said(self, room: str, room_sid: str, event: WebhookReport) -> None:
        """LiveKit said this of a room."""
        self.manager.tell(WebhookReceived(room, room_sid, event))

    def suspended(self, since: float, until: float) -> None:
        """Nothing of us ran in between: every session has a gap.

        Told past the manager, so that it comes before whatever is queued for a session.
        """
        for session in self.table.sessions:
            session.tell(Suspended(until, since))

    def clock_offset(self, at: float, seconds: float) -> None:
        """This machine's clock is that far ahead of the server's."""
        for session in self.table.sessions:
            session.tell(ClockCompared(at, seconds))

    async def flush(self) -> None:
        """Wait until everything that was recorded by now is kept, also for a disk in trouble."""
        while True:
            if await self.store.ask(Flush, timeout=float("inf")):
                return
            await trio.sleep(FLUSH_AGAIN)

    async def leave_all(self) -> None:
        """Leave every room and close every session, once LiveKit has heard of it."""
        for tries in range(1, DRAIN_TRIES + 1):
            try:
                await self.manager.ask(Drain, timeout=float("inf"))
                break
            except ActorDown:
                # It crashed with the question in hand, and goes on when it is back.
                if tries == DRAIN_TRIES:
                    raise

    def close_books(self) -> None:
        """End what a hurried end left open.  Only when no actor will run any more."""
        held = (held.journal for held in self.table.records.values())
        for journal in (*held, *self.table.unwatched.values()):
            journal.end(self.clock(), "worker_stopped")
            while journal.unpublished:
                self.publish(journal.state, journal.unpublished.popleft())

    def summary(self) -> Summary:
        """The Final Summary.  Also right after a hurried end, when no actor runs any more."""
        return self.table.summary(self.clock())


_SIGNALS: Final[Mapping[type[Signal], Callable[[Any], object]]] = {
    Crashed: lambda s: log.error(
        "actor_crashed",
        actor=s.actor,
        generation=s.generation,
        message=type(s.message).__name__ if s.message is not None else None,
        error=s.error,
        exc_info=s.error,
    ),
    Restarting: lambda s: log.warning(
        "actor_restarting", actor=s.actor, attempt=s.attempt, after=round(s.delay, 3)
    ),
    Failed: lambda s: log.error("actor_failed", actor=s.actor, restarts=s.restarts, error=s.error),
    GroupEscalated: lambda s: log.error(
        "supervisor_escalated", actor=s.supervisor, child=s.child, error=s.error
    ),
    Overran: lambda s: log.warning(
        "actor_overran", actor=s.actor, after=s.after, awaiting=s.awaiting
    ),
}
"""What the log says of the runtime.  Starts, ends and dead letters are data, not news."""


def on_signal(signal: Signal) -> None:
    """Log what the runtime reports."""
    say = _SIGNALS.get(type(signal))
    if say is not None:
        say(signal)


def _announce(event: str, /, **fields: Any) -> None:
    log.info(event, **fields)


_LOUD: Final = frozenset({"store_trouble", "store_unreadable"})
"""What somebody has to do something about."""


def announce(event: str, /, **fields: Any) -> None:
    """Log what the actors announce."""
    (log.error if event in _LOUD else log.info)(event, **fields)


@define(eq=False)
class Ports:
    """What the actors of rooms need of the world around them."""

    port: RoomPort
    find_again: FindAgain
    undo: Undo
    list_living: ListLiving
    reports: JobReports
    archive: Archive
    worker: str
    """Who we are, as it stands in a session."""
    trusted_clock: Callable[[], float | None] = lambda: None
    """Unix seconds where LiveKit's clock and this machine's agree, else None."""
    clock: Clock = time.time
    """The clock of all times of sessions."""


async def start_room_actors(settings: Settings, system: ActorSystem, outside: Ports) -> RoomActors:
    """Start the store, the supervisor of all rooms, their manager and the reporter.

    When this returns, what earlier runs left is known, unless the archive is in trouble.
    """
    table, backlog, root = RoomTable(), Backlog(), system.supervisor
    tell, tally = SessionLog(), RunCounters()

    def publish(state: SessionState, entry: Entry) -> None:
        tally.take(state, entry)
        tell(state, entry)

    around = RoomDependencies(
        port=outside.port,
        find_again=outside.find_again,
        undo=outside.undo,
        backlog=backlog,
        clock=outside.clock,
        publish=publish,
        heard=tally.heard,
        announce=announce,
        worker=outside.worker,
        agent_name=settings.agent_name,
        person_key=settings.person_key,
    )
    # The first to start is the last to stop: it writes what the others say in the end.
    store: Ref[Any] = root.start_child(
        ChildSpec(
            "store",
            lambda: StoreActor(
                backlog,
                outside.archive,
                journals=lambda: table.journals,
                clock=outside.clock,
                announce=announce,
                trusted_clock=outside.trusted_clock,
            ),
            restart=Restart.PERMANENT,
            significant=True,
        )
    )
    rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=ROOMS_BUDGET))
    await rooms.running()
    manager: Ref[Any] = root.start_child(
        ChildSpec(
            "manager",
            lambda: RoomManager(table, rooms, outside.reports, around),
            significant=True,
            mailbox=MANAGER_MAILBOX,
        )
    )
    recovery = Recovery(
        outside.archive,
        table,
        manager,
        outside.list_living,
        clock=outside.clock,
        announce=announce,
    )
    await recovery.load_once()
    root.start_child(ChildSpec("recovery", lambda: Service(recovery.run)))
    reporter: Ref[Any] = root.start_child(
        ChildSpec(
            "reporter",
            lambda: Reporter(
                manager,
                announce=announce,
                clock=outside.clock,
                status_every=settings.status_every,
                report_every=settings.report_every,
            ),
        )
    )
    return RoomActors(table, backlog, manager, reporter, store, publish, tally, outside.clock)
