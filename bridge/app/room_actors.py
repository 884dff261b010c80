"""The actors that watch rooms: put together, and the calls by which other parts reach them.

`start`, the demo on a real server and the demo's simulated rooms all run these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio
from attrs import define, field

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.room_texts import RoomTableTexts
from actors.journal.archive import Archive
from actors.journal.backlog import Backlog
from actors.journal.process_ports import Clock
from actors.journal.store_actor import Flush, StoreActor
from actors.recording.egress_port import EgressPort
from actors.recording.session_access import RoomTableSessions
from actors.rooms.final_summary import Summary
from actors.rooms.manager import RoomManager
from actors.rooms.messages import (
    AgentUploaded,
    Assigned,
    Drain,
    GiveUp,
    HandOver,
    JobReports,
    Recovered,
    Terminated,
    WebhookReceived,
)
from actors.rooms.recovery import ListLiving, Recovery
from actors.rooms.reporter import Reporter
from actors.rooms.room_control import RoomControl
from actors.rooms.room_group import RoomDependencies
from actors.rooms.room_port import RoomJob, RoomPort
from actors.rooms.room_table import RoomTable
from actors.rooms.room_table_view import RoomTableView
from actors.rooms.run_counters import RunCounters
from actors.rooms.server_lookups import DispatchExists, OwnRoomRemoval, RenewJob
from actors.rooms.subscriber import Subscriber, SubscriberFanOut, publish_entries
from actors.runtime import (
    ActorDown,
    ActorSystem,
    ChildSpec,
    GroupSpec,
    Intensity,
    MailboxSpec,
    Ref,
    Restart,
    Service,
)
from actors.session import ClockCompared, SessionState, Suspended, WebhookReport
from actors.session.agent_reports import AgentDispatchListed, AgentReport
from bridge.app.recording_role import start_recorder
from bridge.app.rule_acting import make_acting, start_acting
from bridge.config.limit_list import limits_of
from bridge.config.rule_list import rules_of
from bridge.config.settings import Settings
from bridge.log.session_log import SessionLog

if TYPE_CHECKING:
    from actors.journal.room_leases import RoomLeases, WorkerStatus
    from actors.rooms.lease_keeper import LeaseKeeper

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
    """The actors that watch rooms, as other parts of the program see them."""

    _table: RoomTable
    backlog: Backlog
    manager: Ref[Any]
    reporter: Ref[Any]
    store: Ref[Any]
    _subscriber: SubscriberFanOut
    counters: RunCounters
    """Counts over every entry of every session."""
    clock: Clock
    keeper: LeaseKeeper | None = None
    """Of this worker's leases; None where the store has one worker only."""

    @property
    def table(self) -> RoomTableView:
        """The watched rooms, to be read."""
        return self._table

    def assign(self, job: RoomJob) -> None:
        """Watch the room of this job."""
        self._table.assign(job)
        self.manager.tell(Assigned(job))

    def terminate(self, job_id: str) -> None:
        """LiveKit has ended this job."""
        self.manager.tell(Terminated(job_id))

    def give_up(self, room_sid: str) -> None:
        """Leave this room, which is empty, so that another one has its place."""
        self.manager.tell(GiveUp(room_sid))

    def take_webhook(self, room: str, room_sid: str, event: WebhookReport) -> None:
        """LiveKit has reported this about a room."""
        self.manager.tell(WebhookReceived(room, room_sid, event))

    def take_upload(self, room: str, room_sid: str, report: AgentReport) -> None:
        """An agent has uploaded this about its job in a room."""
        self.manager.tell(AgentUploaded(room, room_sid, report))

    def find_session(self, room_sid: str) -> SessionState | None:
        """The session of a room instance as it is now; None where none is in memory."""
        record = self._table.find_room(room_sid)
        journal = self._table.find_idle(room_sid) if record is None else record.journal
        return None if journal is None else journal.state

    def add_subscriber(self, name: str, subscriber: Subscriber) -> None:
        """Have this one take the entries of all sessions, too."""
        self._subscriber.add(name, subscriber)

    def report_suspension(self, since: float, until: float) -> None:
        """Nothing of this process ran in between: every session has a gap.

        It goes past the manager, so that it comes before the events that wait for a session.
        """
        for session in self.table.sessions:
            session.tell(Suspended(until, since))

    def report_clock_offset(self, at: float, seconds: float) -> None:
        """This machine's clock is so many seconds ahead of the server's."""
        for session in self.table.sessions:
            session.tell(ClockCompared(at, seconds))

    def report_dispatch(self, room_sid: str, event: AgentDispatchListed) -> None:
        """LiveKit's list has this dispatch of a room that is watched."""
        record = self.table.find_room(room_sid)
        if record is not None and record.session is not None:
            record.session.tell(event)

    async def flush(self) -> None:
        """Wait until everything that was recorded by now is on disk, also for a disk that fails."""
        while True:
            if await self.store.ask(Flush, timeout=float("inf")):
                return
            await trio.sleep(FLUSH_AGAIN)

    async def leave_all(self) -> None:
        """Leave every room and close every session, after LiveKit was informed."""
        for tries in range(1, DRAIN_TRIES + 1):
            try:
                await self.manager.ask(Drain, timeout=float("inf"))
                break
            except ActorDown:
                # It crashed while it had the question; after its restart it is asked again.
                if tries == DRAIN_TRIES:
                    raise

    def end_open_sessions(self) -> None:
        """End the sessions that a hurried end left open.  Only when no actor will run any more."""
        publish = partial(publish_entries, subscriber=self._subscriber)
        self._table.end_all(self.clock(), "worker_stopped", publish)

    def summary(self) -> Summary:
        """The Final Summary.  Also right after a hurried end, when no actor runs any more."""
        return self.table.summary(self.clock())

    def open_sessions(self) -> Iterator[SessionState]:
        """Every session that has not ended."""
        return (journal.state for journal in self.table.journals if not journal.ended)

    def watched_sessions(self) -> Iterator[SessionState]:
        """The sessions of the watched rooms, each as it is when the iterator gets to it."""
        journals = [record.journal for record in self.table.records.values()]
        return (journal.state for journal in journals)

    def store_problem(self) -> str | None:
        """Why the store does not work; None while it does.  For anybody to read."""
        health = self.backlog.health
        if health.trouble:
            return "the store cannot be written; the log says why"
        if health.unreadable:
            return "the store cannot be read; the log says why"
        return None if health.written_at is not None else "the store was not written yet"


def _report_subscriber_failure(name: str, error: Exception) -> None:
    log.error("subscriber_failed", subscriber=name, error=error, exc_info=error)


_ERRORS: Final = frozenset(
    {
        "store_trouble",
        "store_unreadable",
        "outbox_trouble",
        "outbox_full",
        "outlet_disabled",
        "texts_trouble",
    }
)
"""Announcements that somebody has to act upon."""

_WARNINGS: Final = frozenset(
    {
        "announcement_failed",
        "monitor_message_failed",
        "monitor_refused",
        "monitored_quality_poor",
        "monitored_video_still",
    }
)
"""Announcements of something that is not as it should be."""


def announce(event: str, /, **fields: Any) -> None:
    """Log what the actors announce."""
    write = log.error if event in _ERRORS else log.warning if event in _WARNINGS else log.info
    write(event, **fields)


@define(eq=False)
class RoomActorPorts:
    """The ports of the actors of rooms: LiveKit's side, a store, a clock."""

    port: RoomPort
    renew_job: RenewJob
    dispatch_exists: DispatchExists
    own_room_removal: OwnRoomRemoval
    list_living: ListLiving
    reports: JobReports
    archive: Archive
    worker: str
    """This worker's id, as it stands in a session."""
    control: RoomControl | None = None
    """By which rules act; without it none is carried out."""
    egress: EgressPort | None = None
    """By which rules record; without it none does."""
    more_kinds: Mapping[str, ActKind] = field(factory=dict[str, ActKind])
    """Acts beside those of the two ports, by their words."""
    data_dir: Path | None = None
    """Where bans are stored; None: in the settings' directory."""
    trusted_clock: Callable[[], float | None] = lambda: None
    """Unix seconds where LiveKit's clock and this machine's agree, else None."""
    clock: Clock = time.time
    """The clock of all times of sessions."""
    leases: RoomLeases | None = None
    """Where several workers share a database."""
    lease_status: Callable[[], WorkerStatus] | None = None
    """The facts that other workers may know of this one; goes with `leases`."""


async def start_room_actors(
    settings: Settings, system: ActorSystem, ports: RoomActorPorts
) -> RoomActors:
    """Start the store, the supervisor of all rooms, their manager and the reporter.

    When this returns, the sessions of earlier runs are loaded, unless the archive fails.
    """
    table, backlog, root = RoomTable(), Backlog(), system.supervisor
    counters = RunCounters()
    subscriber = SubscriberFanOut(
        {"counters": counters, "log": SessionLog()}, report_failure=_report_subscriber_failure
    )

    def tell_manager(message: HandOver | Recovered) -> None:
        manager.tell(message)

    keeper = _make_keeper(ports, table, backlog, tell_manager)
    rules, limits = rules_of(settings), limits_of(settings)
    directory = settings.data_dir if ports.data_dir is None else ports.data_dir
    acting, bans = make_acting(rules, limits, directory, clock=ports.clock, announce=announce)
    dependencies = RoomDependencies(
        port=ports.port,
        renew_job=ports.renew_job,
        dispatch_exists=ports.dispatch_exists,
        own_room_removal=ports.own_room_removal,
        backlog=backlog,
        clock=ports.clock,
        subscriber=subscriber,
        observe_lag=counters.observe_lag,
        announce=announce,
        worker=ports.worker,
        agent_name=settings.agent_name,
        person_key=settings.person_key,
        start_rules=acting.start_rules,
        leases=keeper,
    )
    # Started first, so that it stops last and writes what the others record at their end.
    store: Ref[Any] = root.start_child(
        ChildSpec(
            "store",
            lambda: StoreActor(
                backlog,
                ports.archive,
                journals=lambda: table.journals,
                clock=ports.clock,
                announce=announce,
                trusted_clock=ports.trusted_clock,
                fenced=_ignore if keeper is None else keeper.on_fenced,
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
            lambda: RoomManager(table, rooms, ports.reports, dependencies),
            significant=True,
            mailbox=MANAGER_MAILBOX,
        )
    )
    sessions = RoomTableSessions(table, backlog, manager, store)
    kinds = ACT_KINDS
    if ports.egress is not None:
        kinds = start_recorder(root, ports.egress, sessions, settings, clock=ports.clock)
    if ports.control is not None and (rules or limits):
        kinds = {**kinds, **ports.more_kinds}
        texts, url = RoomTableTexts(table), settings.database_url
        start_acting(acting, bans, root, ports.control, texts, sessions, kinds, url)
    recovery = Recovery(
        ports.archive,
        table,
        table.load,
        manager,
        ports.list_living,
        clock=ports.clock,
        announce=announce,
    )
    await recovery.load_once()
    root.start_child(ChildSpec("recovery", lambda: Service(recovery.run)))
    if keeper is not None:
        root.start_child(ChildSpec("leases", lambda: Service(keeper.run), significant=True))
    reporter: Ref[Any] = root.start_child(
        ChildSpec(
            "reporter",
            lambda: Reporter(
                manager,
                announce=announce,
                clock=ports.clock,
                status_every=settings.status_every,
                report_every=settings.report_every,
            ),
        )
    )
    return RoomActors(
        table, backlog, manager, reporter, store, subscriber, counters, ports.clock, keeper
    )


def _ignore(_: object) -> None:
    pass


def _make_keeper(
    ports: RoomActorPorts,
    table: RoomTable,
    backlog: Backlog,
    tell_manager: Callable[[HandOver | Recovered], object],
) -> LeaseKeeper | None:
    if ports.leases is None or ports.lease_status is None:
        return None
    from actors.rooms.lease_keeper import LeaseKeeper

    return LeaseKeeper(
        ports.leases,
        table,
        backlog,
        tell_manager,
        worker=ports.worker,
        status=ports.lease_status,
        announce=announce,
    )
