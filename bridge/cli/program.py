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
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import structlog
import trio
import trio_asyncio
from attrs import define, evolve, field

from actors.rooms.book import Book
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, Terminated
from actors.rooms.port import RoomJob, RoomPort, RoomUnreachable
from actors.rooms.reporter import ListSessions, Reporter
from actors.rooms.room import Surroundings
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
from actors.session import Entry, SessionState, session_view
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
class Program:
    """The running program, as a command or the demo sees it."""

    settings: Settings
    system: ActorSystem
    book: Book
    worker: Worker
    manager: Ref[Any]
    reporter: Ref[Any]
    rejected: WorkerRejected | None = None
    """LiveKit said no before it ever said yes: nothing can work."""
    over: trio.Event = field(factory=trio.Event)
    """The program cannot go on."""

    async def wait_registered(self) -> None:
        """Return once LiveKit knows us."""
        await self.worker.wait_registered()

    async def sessions(self) -> list[dict[str, Any]]:
        """Every session of this run in the contract's JSON, whole, the ended ones first."""
        found = await self.reporter.ask(ListSessions, timeout=5.0)
        return [self._view(state) for state in (*found.rooms.ended, *found.active)]

    def _view(self, state: SessionState) -> dict[str, Any]:
        journals = [held.journal for held in self.book.held.values()] + list(self.book.ended)
        timeline: list[Entry] = []
        for journal in journals:
            if journal.state.room_sid == state.room_sid:
                timeline = list(journal.timeline)
        return session_view(state, time.time(), timeline)

    async def drain(self) -> None:
        """Take no more jobs, tell LiveKit, leave every room, close every session."""
        self.worker.drain()
        await self.manager.ask(Drain, timeout=float("inf"))
        await self.worker.aclose()

    def close_books(self) -> None:
        """End what a hurried end left open.  Only when no actor will run any more."""
        for held in self.book.held.values():
            held.journal.end(time.time(), "worker_stopped")
            while held.journal.untold:
                _publish(held.journal.state, held.journal.untold.popleft())

    def summary(self) -> Mapping[str, float]:
        """The Final Summary.  Also right after a hurried end, when no actor runs any more."""
        return self.book.summary(time.time(), live=True).as_dict()


def _publish(state: SessionState, entry: Entry) -> None:
    log_entry(
        log, entry, room=state.room, room_sid=state.room_sid or None, job_id=state.job_ids[-1]
    )


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


def _on_signal(signal: Signal) -> None:
    say = _SIGNALS.get(type(signal))
    if say is not None:
        say(signal)


def _announce(event: str, /, **fields: Any) -> None:
    log.info(event, **fields)


def instance_of(settings: Settings) -> str:
    """An id of this worker that its restart does not change: this machine and data directory."""
    name = f"{socket.gethostname()}:{settings.data_dir}"
    return hashlib.sha256(name.encode()).hexdigest()[:12]


@asynccontextmanager
async def open_program(settings: Settings) -> AsyncGenerator[Program, None]:
    """Run everything for the length of a block.  Without `drain` its end is a hurried one."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(trio_asyncio.open_loop())
        port = await stack.enter_async_context(LiveKitRooms(settings.log_payloads))
        endpoint = Endpoint.parse(settings.url)
        api_key = ApiKey(settings.api_key, settings.api_secret)
        api = await stack.enter_async_context(ServerApi(endpoint, api_key))
        system = await stack.enter_async_context(open_system(on_signal=_on_signal))
        yield await _start_everything(settings, system, port, api, api_key, endpoint)


async def _start_everything(
    settings: Settings,
    system: ActorSystem,
    port: RoomPort,
    api: ServerApi,
    api_key: ApiKey,
    endpoint: Endpoint,
) -> Program:
    book, instance, rng = Book(), instance_of(settings), random.Random()
    worker = Worker(
        WorkerConfig(
            endpoint=endpoint,
            api_key=api_key,
            agent_name=settings.agent_name,
            max_rooms=settings.max_rooms,
            version=__version__,
            instance=instance,
            visible=settings.visible,
        ),
        on_assignment=lambda job: manager.tell(Assigned(job)),
        on_termination=lambda job_id: manager.tell(Terminated(job_id)),
        rng=rng,
    )

    async def find_again(job: RoomJob) -> RoomJob | None:
        try:
            rooms = await api.list_rooms([job.room])
        except ApiError as error:
            raise RoomUnreachable(str(error)) from None
        if not any(room.sid == job.room_sid or not job.room_sid for room in rooms):
            return None
        token = room_token(
            api_key,
            room=job.room,
            identity=job.identity,
            agent_name=settings.agent_name,
            visible=settings.visible,
            attributes={INSTANCE_ATTRIBUTE: instance},
        )
        return evolve(job, token=token)

    around = Surroundings(
        port=port,
        find_again=find_again,
        clock=time.time,
        publish=_publish,
        announce=_announce,
        worker=instance,
        agent_name=settings.agent_name,
    )
    root = system.supervisor
    rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=ROOMS_BUDGET))
    await rooms.running()
    manager: Ref[Any] = root.start_child(
        ChildSpec(
            "manager", lambda: RoomManager(book, rooms, worker, around), mailbox=MANAGER_MAILBOX
        )
    )
    reporter: Ref[Any] = root.start_child(
        ChildSpec(
            "reporter",
            lambda: Reporter(
                manager,
                announce=_announce,
                clock=time.time,
                status_every=settings.status_every,
                report_every=settings.report_every,
            ),
        )
    )
    program = Program(settings, system, book, worker, manager, reporter)

    async def run_worker() -> None:
        try:
            await worker.run()
        except WorkerRejected as rejected:
            program.rejected = rejected
            program.over.set()

    root.start_child(ChildSpec("worker", lambda: Service(run_worker), restart=Restart.TRANSIENT))
    if settings.agent_name and settings.watch:
        reconciler = Reconciler(
            api=api,
            worker=worker,
            agent_name=settings.agent_name,
            instance=instance,
            watch=settings.watch,
            held=lambda: book.rooms,
            excluded=lambda _name, sid: sid in book.declined,
            rng=rng,
        )
        root.start_child(
            ChildSpec("reconciler", lambda: Service(reconciler.run), restart=Restart.TRANSIENT)
        )
    return program
