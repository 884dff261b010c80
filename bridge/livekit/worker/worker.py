"""The worker: keeps the socket to LiveKit open and turns its messages into calls.

What the protocol means is in `protocol`, what we owe LiveKit in `jobs`; here are the
clock, the log and the way back after a failure.  It knows no actors: it is given two
callables and is told what happens by a few plain methods.

Failure story:

* The socket is refused, lost, silent or closed right after it opened: rooms go on,
  the next try comes after an exponential backoff with full jitter, from the first
  failure on.  The backoff begins anew only after the worker stayed registered for
  `reset_after` seconds, so a server that closes at once is not hammered.
* The server says no (wrong key or secret, clock skew, no `/agent`): before the first
  registration `run` raises `WorkerRejected`, since trying again cannot help; later it
  is logged and tried again slowly, because rooms depend on us.
* A frame that cannot be read is logged; nothing else changes.
"""

from __future__ import annotations

import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import structlog
import trio
from attrs import Factory, define, field, frozen
from trio_websocket import ConnectionClosed, WebSocketConnection

from actors.rooms.room_port import RoomJob
from actors.runtime import Backoff, first_of
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey, worker_token
from bridge.livekit.websocket import (
    CLOSE_TIMEOUT,
    SocketFailed,
    SocketRejected,
    use_websocket,
)
from bridge.livekit.worker import worker_protocol
from bridge.livekit.worker.jobs import JobBook, Reserve, Verb
from bridge.livekit.worker.rejection import WorkerRejected, rejection
from bridge.livekit.worker.worker_protocol import Connection, Event, Registration, WorkerProtocol

log = structlog.get_logger()

LOST_BACKOFF: Final = Backoff(first=0.5, most=10.0, jitter=1.0, reset_after=10.0)
"""For a server that cannot be reached, is silent or closes the connection.  Full jitter: many
workers lose the same server in the same moment."""

REJECTED_BACKOFF: Final = Backoff(first=5.0, most=60.0, jitter=1.0, reset_after=10.0)
"""For a server that refuses a worker which it had accepted before."""


MOST_UNSENT: Final = 1_000
"""Answers that wait for a server that does not read them, from which on we do not read either."""

LINES: Final = 10
"""Lines of one event that are logged within `LINES_WITHIN`; the others are one line."""

LINES_WITHIN: Final = 10.0
"""Seconds."""


@define(eq=False)
class LineBudget:
    """Of an event that comes in a flood (offers that are refused, assignments that never
    come), the log has the first lines and then how many there were."""

    _began: dict[str, float] = field(factory=dict[str, float], init=False)
    _count: dict[str, int] = field(factory=dict[str, int], init=False)

    def admits(self, name: str, now: float) -> bool:
        """Whether this event is to be logged.  `now`: seconds on trio's clock."""
        self.tell_left_out(now)
        self._began.setdefault(name, now)
        self._count[name] = self._count.get(name, 0) + 1
        return self._count[name] <= LINES

    def tell_left_out(self, now: float) -> None:
        """Log how many lines of each event were left out, once their time is over."""
        for name in [name for name, at in self._began.items() if now - at >= LINES_WITHIN]:
            left_out = self._count.pop(name) - LINES
            seconds = round(now - self._began.pop(name), 1)
            if left_out > 0:
                log.warning("worker_lines_left_out", of=name, lines=left_out, seconds=seconds)


LOGGED: Final[Mapping[type[Event], tuple[str, str]]] = {
    worker_protocol.JobAccepted: ("debug", "job_accepted"),
    worker_protocol.JobRefused: ("warning", "job_refused"),
    worker_protocol.AssignmentRejected: ("error", "job_assignment_rejected"),
    worker_protocol.AssignmentOverdue: ("warning", "job_assignment_overdue"),
    worker_protocol.JobTerminated: ("info", "job_terminated"),
    worker_protocol.Malformed: ("error", "worker_frame_malformed"),
    worker_protocol.Unexpected: ("warning", "worker_message_unexpected"),
    worker_protocol.GoingAway: ("info", "server_going_away"),
}
"""Level and name under which an event of the protocol is logged, with its own fields."""


@frozen
class WorkerConfig:
    """What a worker is."""

    endpoint: Endpoint
    api_key: ApiKey
    agent_name: str
    max_rooms: int
    version: str
    instance: str
    """An id of this worker that a restart does not change.  Our participants carry it,
    so that those left over from before a crash are known for what they are."""
    visible: bool = False
    """Whether participants see the agent."""
    reserve: Reserve = Factory(Reserve)


def _none() -> int:
    return 0


async def _nothing() -> None:
    pass


@define(eq=False)
class Worker:
    """One worker, registered at one LiveKit server for room jobs.

    `on_assignment` gets each job that is ours, `on_termination` the id of a job the
    server wants ended.  Both are called on the trio thread between two awaits: they
    must not block, and what they raise ends `run`.
    """

    config: WorkerConfig
    on_assignment: Callable[[RoomJob], object]
    on_termination: Callable[[str], object]
    rng: random.Random = Factory(random.Random)
    clock: ServerClock = Factory(ServerClock)
    """LiveKit's clock.  Its answers to our pings are fed to it."""
    ask_time: Callable[[], Awaitable[object]] = _nothing
    """Has the server tell its time.  Awaited before the socket is opened while the time is
    not known: so no job comes before it is."""
    stragglers: Callable[[], int] = _none
    """Connections to rooms that are not ours any more and are not closed yet."""
    _book: JobBook = field(init=False)
    _seq: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)
    _tls: ssl.SSLContext | None = field(default=None, init=False)
    _protocol: WorkerProtocol | None = field(default=None, init=False)
    _registered_at: float | None = field(default=None, init=False)
    """On trio's clock, of this connection; None while it is not registered."""
    _wake: trio.Event = field(factory=trio.Event, init=False)
    """Set: the writer has something to look at."""
    _moved: trio.Event = field(factory=trio.Event, init=False)
    """Set when a job may have come into or out of its room; then another event."""
    _flushes: list[trio.Event] = field(factory=list[trio.Event], init=False)
    """Set as soon as what there was to write when they came is written, or cannot be."""
    _budget: LineBudget = field(factory=LineBudget, init=False)
    _registered: trio.Event = field(factory=trio.Event, init=False)
    _accepted_once: bool = field(default=False, init=False)
    """LiveKit knew us once: a later no is not about our settings."""
    _closing: trio.Event = field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _ended: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._book = JobBook(self.config.max_rooms, self.stragglers, self.config.reserve)

    # ------------------------------------------------------------- what is known

    @property
    def registered(self) -> bool:
        """Whether LiveKit knows us right now."""
        return self._registered.is_set()

    @property
    def worker_id(self) -> str:
        """The id LiveKit gave to this connection, "" while there is none."""
        return self._protocol.worker_id if self._protocol is not None else ""

    @property
    def draining(self) -> bool:
        return self._book.draining

    @property
    def free(self) -> int:
        """How many jobs we would take right now."""
        return self._book.free if self.registered else 0

    @property
    def kept_for_people(self) -> int:
        """Places that rooms with nobody in them leave free."""
        return max(1, self.config.max_rooms // 10)

    def kept_from(self, room: str) -> int:
        """Places that a room of this name must leave free, because they are reserved."""
        return self._book.kept_from(room)

    def reserved_for(self, room: str) -> bool:
        """Whether a room of this name gets the reserved places."""
        return self.config.reserve.fits(room)

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of the jobs that are ours and have not ended."""
        return self._book.held

    @property
    def rooms(self) -> frozenset[str]:
        """The SIDs of the rooms for which we hold, or were just promised, a job; the name
        of a room where LiveKit told no SID."""
        return self._book.rooms()

    @property
    def identities(self) -> frozenset[str]:
        """Who we are in the rooms of our jobs."""
        return frozenset(map(worker_protocol.identity, self._book.held))

    @property
    def under_way(self) -> int:
        """Jobs whose rooms are still to be entered."""
        return self._book.under_way

    async def wait_registered(self) -> None:
        """Return as soon as LiveKit knows us."""
        await self._registered.wait()

    async def wait_under_way(self, most: int) -> None:
        """Return as soon as no more than `most` rooms are still to be entered."""
        while self._book.under_way > most:
            await self._moved.wait()

    # ------------------------------------------------------------ what we are told

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        """Get a job for this room at once, whatever other workers there are.

        It comes by `on_assignment` within milliseconds like any other, unless there is no
        place, the room is ours already, or the connection breaks: then nothing comes.
        """
        if self._protocol is not None:
            self._protocol.claim(room, room_sid, created_at)
            self._poke()

    def job_running(self, job_id: str) -> None:
        """The room of this job is being watched."""
        if self._book.move(job_id, Verb.RUN):
            self._poke()

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        """The job is over, with `error` if it failed.  Only the first end counts.

        `error` goes to the server: it must hold no secret.
        """
        if self._book.move(job_id, Verb.SUCCEED if error is None else Verb.FAIL, error or ""):
            self._poke()

    def capacity(self, active: int) -> None:
        """How many places are really taken, where that can be more than there are jobs
        (a room joined without one, a connection that is still being closed)."""
        self._book.count_active(active)
        self._poke()

    def drain(self) -> None:
        """Take no more jobs.  Those we have go on."""
        if not self._book.draining:
            self._book.draining = True
            log.info("worker_draining", jobs=len(self._book.held))
            self._poke()

    async def flush(self) -> None:
        """Wait until what was told above is written, or cannot be: there is no connection, or
        the server reads nothing for `CLOSE_TIMEOUT`.  What comes meanwhile is not waited for."""
        if self._protocol is not None:
            written = trio.Event()
            self._flushes.append(written)
            self._poke()
            with trio.move_on_after(CLOSE_TIMEOUT):
                await written.wait()

    async def aclose(self) -> None:
        """Tell success for every job that is still ours, close the socket, end `run`.

        Takes at most `3 * CLOSE_TIMEOUT`; may be called where `run` never was.
        """
        self.drain()
        for job_id in self._book.held:
            self.job_ended(job_id)
        await self.flush()
        self._closing.set()
        if self._protocol is not None:
            with trio.move_on_after(2 * CLOSE_TIMEOUT):
                await self._ended.wait()
        self._scope.cancel()

    def _poke(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()
        if self._protocol is not None:
            self._wake.set()

    # ---------------------------------------------------------------- the socket

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a worker until `aclose`.  Reports as started, with its id, once registered.

        Raises `WorkerRejected` if LiveKit says no before it ever said yes.  May be run
        again after a crash: the jobs are still known.
        """
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        try:
            with self._scope:
                await self._keep_connected(task_status)
        finally:
            self._ended.set()

    async def _keep_connected(self, task_status: trio.TaskStatus[str]) -> None:
        failures, started = 0, False

        def accepted(worker_id: str) -> None:
            nonlocal started
            self._accepted_once = True
            if not started:
                started = True
                task_status.started(worker_id)

        while not self._closing.is_set():
            rejected = False
            self._registered_at = None
            try:
                error = await self._connect(accepted)
            except WorkerRejected as refusal:
                if not self._accepted_once:
                    raise
                rejected, error = True, str(refusal)
            except (SocketFailed, SocketRejected) as failure:
                error = str(failure)
            if self._closing.is_set():
                return
            was_registered = self._registered_at is not None
            backoff = REJECTED_BACKOFF if rejected else LOST_BACKOFF
            stable = (
                self._registered_at is not None
                and trio.current_time() - self._registered_at >= backoff.reset_after
            )
            failures = 1 if stable else failures + 1
            delay = backoff.delay(failures, self.rng)
            self._log_failure(error, was_registered, rejected, failures, delay)
            with trio.move_on_after(delay):
                await self._closing.wait()

    def _log_failure(
        self, error: str, was_registered: bool, rejected: bool, failures: int, delay: float
    ) -> None:
        keys: dict[str, Any] = {"error": error, "attempt": failures, "retry_in": round(delay, 3)}
        if rejected:
            log.error("worker_rejected", **keys)
        elif was_registered and failures == 1:
            log.warning("worker_disconnected", jobs=len(self._book.held), **keys)
        elif failures & (failures - 1) == 0:
            # The 1st, 2nd, 4th, 8th ... failure: an outage of a night is a page, not a book.
            log.warning("worker_connect_failed", **keys)

    async def _connect(self, accepted: Callable[[str], None]) -> str:
        """One connection from its beginning to its end; why it ended."""
        config = self.config
        if config.endpoint.secure and self._tls is None:
            self._tls = ssl.create_default_context()

        if not self.clock.known:
            await self.ask_time()
        sent_at = self.clock.steady()

        async def converse(socket: WebSocketConnection) -> str:
            return await self._converse(socket, accepted)

        try:
            return await use_websocket(
                config.endpoint,
                f"{config.endpoint.path}/agent",
                [("Authorization", f"Bearer {worker_token(config.api_key)}")],
                converse,
                ssl_context=self._tls,
            )
        except SocketRejected as error:
            known = self.clock.known
            self.clock.observe_date(error.headers, sent_at)
            refusal = rejection(error.status, error.headers, error.body, time.time())
            if refusal is not None and refusal.reason == "clock_skew" and not known:
                raise  # It tells the server's time: the next token is made by that.
            if refusal is not None:
                raise refusal from None
            raise

    async def _converse(self, socket: WebSocketConnection, accepted: Callable[[str], None]) -> str:
        self._protocol = connection = WorkerProtocol(
            registration=Registration(
                agent_name=self.config.agent_name,
                version=self.config.version,
                room_url=self.config.endpoint.room_url,
                visible=self.config.visible,
                attributes={INSTANCE_ATTRIBUTE: self.config.instance},
            ),
            book=self._book,
            now=trio.current_time(),
            seq=self._seq,
        )
        try:
            return await first_of(
                lambda: self._read(socket, connection, accepted),
                lambda: self._write(socket, connection),
                self._until_closing,
            )
        finally:
            self._protocol = None
            self._registered = trio.Event()
            self._book.disconnected()
            self._poke()
            self._end_flushes(self._flushes)

    def _end_flushes(self, flushes: list[trio.Event]) -> None:
        for written in flushes:
            written.set()

    async def _until_closing(self) -> str:
        await self._closing.wait()
        return "closed by us"

    async def _read(
        self,
        socket: WebSocketConnection,
        connection: WorkerProtocol,
        accepted: Callable[[str], None],
    ) -> str:
        while True:
            try:
                data = await socket.get_message()
            except ConnectionClosed as closed:
                return _why(closed)
            for event in connection.receive(data, trio.current_time()):
                self._handle(event)
                if isinstance(event, worker_protocol.Registered):
                    accepted(event.worker_id)
            self._poke()
            if connection.unsent > MOST_UNSENT:
                await self.flush()

    async def _write(self, socket: WebSocketConnection, connection: WorkerProtocol) -> str:
        while True:
            self._wake = trio.Event()
            for event in connection.tick(trio.current_time()):
                if isinstance(event, worker_protocol.Silent):
                    state = "answer" if connection.state is Connection.REGISTERED else "register"
                    return f"the server did not {state} for {event.seconds:.0f} s"
                self._handle(event)
                self._poke()
            self._budget.tell_left_out(trio.current_time())
            flushes, self._flushes = self._flushes, []
            try:
                for data in connection.data_to_send():
                    await socket.send_message(data)
            except ConnectionClosed as closed:
                return _why(closed)
            finally:
                self._end_flushes(flushes)
            with trio.move_on_at(connection.deadline):
                await self._wake.wait()

    def _handle(self, event: Event) -> None:
        if (logged := LOGGED.get(type(event))) is not None:
            level, name = logged
            if self._budget.admits(name, trio.current_time()):
                getattr(log, level)(name, **attrs.asdict(event))
        if isinstance(event, worker_protocol.Registered):
            self._registered_at = trio.current_time()
            self._registered.set()
            log.info(
                "worker_registered",
                worker_id=event.worker_id,
                server_version=event.server_version,
                agent_name=self.config.agent_name,
                jobs=len(self._book.held),
            )
        elif isinstance(event, worker_protocol.Pong):
            took = trio.current_time() - event.sent_at
            self.clock.observe(self.clock.steady() - took, event.server_time)
        elif isinstance(event, worker_protocol.JobAssigned):
            self.on_assignment(event.job)
        elif isinstance(event, worker_protocol.JobTerminated):
            self.on_termination(event.job_id)


def _why(closed: ConnectionClosed) -> str:
    code = closed.reason.code if closed.reason is not None else 1006
    return f"the server closed the connection ({code})"
