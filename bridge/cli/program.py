"""The composition root: every part of the running program, put together.

    LiveKit --/agent--> Worker --Assigned--> RoomManager --> one supervisor a room:
       |                  ^                      |             [connection, session]
       |                  `------ job ends ------'                  ^        |
       `------ WebRTC ------> LiveKitRooms (asyncio) --- events ----'        v
    Reconciler --dispatches--> LiveKit          Reporter <--snapshots-- every session

The tree of supervision, under one root: `/rooms/RM_x/{connection,session}`, `/manager`,
`/reporter`, `/worker`, `/reconciler`.  A crash anywhere is logged and restarted here; a
rejected worker (wrong secret) is not a crash: nothing that we restart would mend it.
"""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
import trio
import trio_asyncio
from attrs import define, evolve, field

from actors.rooms.book import Book
from actors.rooms.connection import FindAgain
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, JobReports, Terminated
from actors.rooms.port import RoomJob, RoomPort, RoomUnreachable
from actors.rooms.reporter import ListSessions, Reporter
from actors.rooms.room import Surroundings
from actors.rooms.summary import Summary
from actors.runtime import (
    ActorSystem,
    ChildSpec,
    Crashed,
    EscalatedUp,
    Failed,
    GroupSpec,
    Intensity,
    MailboxSpec,
    Overran,
    Ref,
    Restart,
    Restarting,
    Service,
    Signal,
    open_system,
)
from actors.session import Entry, SessionState, session_row, session_view
from bridge import __version__
from bridge.cli.log import log_entry
from bridge.cli.settings import Settings
from bridge.livekit.api import ApiError, ServerApi
from bridge.livekit.connection import LiveKitRooms
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.protocol import INSTANCE_ATTRIBUTE
from bridge.livekit.reconciler import Reconciler
from bridge.livekit.rejection import WorkerRejected
from bridge.livekit.tokens import ApiKey, room_token
from bridge.livekit.worker import Worker, WorkerConfig

log = structlog.get_logger()

ROOMS_BUDGET: Final = Intensity(restarts=1_000_000, within=1.0)
"""Rooms are temporary: their failures never add up to a failure of the whole."""
MANAGER_MAILBOX: Final = MailboxSpec(capacity=1_000_000)
"""A job or the end of a room must not be lost."""


@define(eq=False)
class RoomActors:
    """The actors that watch rooms, whoever sends them there."""

    book: Book
    manager: Ref[Any]
    reporter: Ref[Any]

    def assign(self, job: RoomJob) -> None:
        """Watch the room of this job."""
        self.book.given[job.job_id] = job
        self.manager.tell(Assigned(job))

    def terminate(self, job_id: str) -> None:
        """LiveKit wants this job ended."""
        self.manager.tell(Terminated(job_id))

    async def sessions(self) -> list[dict[str, Any]]:
        """Every session of this run in the contract's JSON, whole, the ended ones first."""
        found = await self.reporter.ask(ListSessions, timeout=5.0)
        return [
            session_view(one.state, time.time(), one.timeline)
            for one in (*found.rooms.ended, *found.active)
        ]

    async def leave_all(self) -> None:
        """Leave every room and close every session, once LiveKit has heard of it."""
        await self.manager.ask(Drain, timeout=float("inf"))

    def close_books(self) -> None:
        """End what a hurried end left open.  Only when no actor will run any more."""
        for held in self.book.held.values():
            held.journal.end(time.time(), "worker_stopped")
            while held.journal.untold:
                _publish(held.journal.state, held.journal.untold.popleft())

    def summary(self) -> Summary:
        """The Final Summary.  Also right after a hurried end, when no actor runs any more."""
        return self.book.summary(time.time(), live=True)


@define(eq=False)
class Program:
    """The running program: the actors of the rooms, and LiveKit's worker."""

    rooms: RoomActors
    worker: Worker
    rejected: WorkerRejected | None = None
    """LiveKit said no before it ever said yes: nothing can work."""
    over: trio.Event = field(factory=trio.Event)
    """The program cannot go on."""
    closing: str = ""
    """What `drain` waits for."""

    async def drain(self) -> None:
        """Take no more jobs, tell LiveKit, leave every room, close every session."""
        self.closing = "rooms"
        self.worker.drain()
        await self.rooms.leave_all()
        self.closing = "the worker's socket"
        await self.worker.aclose()


def _publish(state: SessionState, entry: Entry) -> None:
    """Log an entry; the last one of a session carries all its numbers (in the JSON log)."""
    about: dict[str, Any] = {
        "room": state.room,
        "room_sid": state.room_sid or None,
        "job_id": state.job_ids[-1],
    }
    if entry.event == "session_ended":
        about["session"] = session_row(state, entry.at)
    log_entry(log, entry, **about)


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
    EscalatedUp: lambda s: log.error(
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


def instance_of(settings: Settings) -> str:
    """An id of this worker that its restart does not change: this machine and data directory."""
    name = f"{socket.gethostname()}:{settings.data_dir}"
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def surroundings(
    settings: Settings, port: RoomPort, find_again: FindAgain, worker: str
) -> Surroundings:
    """What every room is given: the way in, the clock, the log."""
    return Surroundings(
        port=port,
        find_again=find_again,
        clock=time.time,
        publish=_publish,
        announce=_announce,
        worker=worker,
        agent_name=settings.agent_name,
    )


async def start_room_actors(
    settings: Settings, system: ActorSystem, around: Surroundings, reports: JobReports
) -> RoomActors:
    """Start the supervisor of all rooms, their manager and the reporter."""
    book, root = Book(), system.supervisor
    rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=ROOMS_BUDGET))
    await rooms.running()
    manager: Ref[Any] = root.start_child(
        ChildSpec(
            "manager",
            lambda: RoomManager(book, rooms, reports, around),
            significant=True,
            mailbox=MANAGER_MAILBOX,
        )
    )
    reporter: Ref[Any] = root.start_child(
        ChildSpec(
            "reporter",
            lambda: Reporter(
                manager,
                announce=around.announce,
                clock=around.clock,
                status_every=settings.status_every,
                report_every=settings.report_every,
            ),
        )
    )
    return RoomActors(book, manager, reporter)


@asynccontextmanager
async def open_program(settings: Settings) -> AsyncGenerator[Program, None]:
    """Run everything for the length of a block.  Without `drain` its end is a hurried one."""
    endpoint = Endpoint.parse(settings.url)
    api_key = ApiKey(settings.api_key, settings.api_secret)
    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms(settings.log_payloads) as port,
        ServerApi(endpoint, api_key) as api,
        open_system(on_signal=on_signal) as system,
    ):
        yield await _start_everything(settings, system, port, api)


async def _start_everything(
    settings: Settings, system: ActorSystem, port: RoomPort, api: ServerApi
) -> Program:
    instance, rng = instance_of(settings), random.Random()
    config = WorkerConfig(
        endpoint=api.endpoint,
        api_key=api.api_key,
        agent_name=settings.agent_name,
        max_rooms=settings.max_rooms,
        version=__version__,
        instance=instance,
        visible=settings.visible,
    )
    worker = Worker(
        config,
        on_assignment=lambda job: rooms.assign(job),  # noqa: PLW0108 (made below)
        on_termination=lambda job_id: rooms.terminate(job_id),  # noqa: PLW0108
        rng=rng,
    )
    around = surroundings(settings, port, _finder(api, config), instance)
    rooms = await start_room_actors(settings, system, around, worker)
    program = Program(rooms, worker)

    async def run_worker() -> None:
        try:
            await worker.run()
        except WorkerRejected as rejected:
            program.rejected = rejected
            program.over.set()
        await trio.sleep_forever()

    services = {"worker": run_worker}
    if settings.agent_name and settings.watch:
        book = rooms.book
        services["reconciler"] = Reconciler(
            api=api,
            worker=worker,
            agent_name=settings.agent_name,
            instance=instance,
            watch=settings.watch,
            held=lambda: book.rooms,
            excluded=lambda _name, sid: sid in book.declined,
            rng=rng,
        ).run
    for name, function in services.items():
        # Significant: a part that cannot be kept alive ends the program, loudly.
        system.supervisor.start_child(ChildSpec(name, partial(Service, function), significant=True))
    return program


def _finder(api: ServerApi, config: WorkerConfig) -> FindAgain:
    """How a lost room is found again: by LiveKit's list, and with a token of our own."""

    async def find_again(job: RoomJob) -> RoomJob | None:
        try:
            rooms = await api.list_rooms([job.room])
        except ApiError as error:
            raise RoomUnreachable(str(error)) from None
        if not any(room.sid == job.room_sid or not job.room_sid for room in rooms):
            return None
        token = room_token(
            config.api_key,
            room=job.room,
            identity=job.identity,
            agent_name=config.agent_name,
            visible=config.visible,
            attributes={INSTANCE_ATTRIBUTE: config.instance},
        )
        return evolve(job, token=token)

    return find_again
