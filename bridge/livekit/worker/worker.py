"""The worker: keeps a socket to LiveKit open and turns its messages into calls.

`worker_protocol` has the meaning of the messages, `jobs` what we owe LiveKit, `conversation` the
traffic on one socket.  This module has the reconnects.  It knows no actors: it gets two
callables, and a few plain methods tell it what happens to jobs.

Failures:

* The socket is refused, lost, silent, or closed right after it opened: rooms go on.  The next try
  comes after an exponential backoff with full jitter, from the first failure on.  The backoff
  begins anew only after the worker stayed registered for `reset_after` seconds.  So a server
  that closes at once does not get a flood of connections.
* The server refuses the worker (wrong key or secret, clock skew, no `/agent`): before the first
  registration `run` raises `WorkerRejected`, since another try cannot help.  Later the refusal is
  logged and the worker tries again slowly, because rooms depend on it.
* A frame that cannot be read is logged; nothing else changes.
"""

from __future__ import annotations

import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import structlog
import trio
from attrs import Factory, define, field, frozen
from trio_websocket import WebSocketConnection

from actors.rooms.room_port import RoomJob
from actors.runtime import Backoff
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey, worker_token
from bridge.livekit.websocket import CLOSE_TIMEOUT, SocketFailed, SocketRejected, use_websocket
from bridge.livekit.worker.conversation import Conversation
from bridge.livekit.worker.event_log import EventLog
from bridge.livekit.worker.job_kinds import ROOM_JOBS, JobKind
from bridge.livekit.worker.jobs import JobBook, Offer, Reserve, Verb
from bridge.livekit.worker.protocol_events import (
    Event,
    JobAssigned,
    JobOffered,
    JobTerminated,
    Pong,
    Registered,
)
from bridge.livekit.worker.registration import Registration
from bridge.livekit.worker.worker_protocol import WorkerProtocol
from bridge.livekit.worker.worker_rejection import WorkerRejected, rejection_of

log = structlog.get_logger()

LOST_BACKOFF: Final = Backoff(first=0.5, most=10.0, jitter=1.0, reset_after=10.0)
"""For a server that cannot be reached, is silent or closes the connection.  Full jitter: many
workers lose the same server in the same moment."""

REJECTED_BACKOFF: Final = Backoff(first=5.0, most=60.0, jitter=1.0, reset_after=10.0)
"""For a server that refuses a worker which it had accepted before."""


@frozen
class WorkerConfig:
    """The settings of a worker."""

    endpoint: Endpoint
    api_key: ApiKey
    agent_name: str
    max_rooms: int
    version: str
    instance: str
    """An id of this worker that a restart does not change, also of its participants."""
    visible: bool = False
    """Whether participants see the agent."""
    reserve: Reserve = Factory(Reserve)
    kind: JobKind = ROOM_JOBS
    """The jobs for which the worker registers."""


async def _nothing() -> None:
    pass


@define(eq=False)
class Worker:
    """One worker, registered at one LiveKit server for the jobs of one kind.

    `on_assignment` gets each job that is ours, `on_termination` the id of a job that the
    server wants to end.  Both are called on the trio thread between two awaits.  They must not
    block; an exception of theirs ends `run`.
    """

    config: WorkerConfig
    on_assignment: Callable[[RoomJob], object]
    on_termination: Callable[[str], object]
    rng: random.Random = Factory(random.Random)
    clock: ServerClock = Factory(ServerClock)
    """LiveKit's clock, which gets its answers to our pings."""
    ask_time: Callable[[], Awaitable[object]] = _nothing
    """Asks the server for its time.  It is awaited before the socket is opened, while the time
    is unknown.  So the time is known before the first job comes."""
    book: JobBook | None = None
    """Shared by the workers of one process, one for each kind; None for a book of its own."""
    on_offer: Callable[[Offer, Callable[[bool], None]], object] | None = None
    """Gets each offered job and calls back, within 2.7 s, whether it is taken.  None: all are."""
    _book: JobBook = field(init=False)
    _seq: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)
    _tls: ssl.SSLContext | None = field(default=None, init=False)
    _conversation: Conversation | None = field(default=None, init=False)
    _registered_at: float | None = field(default=None, init=False)
    """On trio's clock, of this connection; None while it is not registered."""
    _jobs_changed: trio.Event = field(factory=trio.Event, init=False)
    """Set when a job may have changed its stage; then replaced by another event."""
    _events: EventLog = field(factory=EventLog, init=False)
    _registered: trio.Event = field(factory=trio.Event, init=False)
    _accepted_once: bool = field(default=False, init=False)
    """LiveKit accepted us once: a later refusal is not about our settings."""
    _started: trio.TaskStatus[str] | None = field(default=None, init=False)
    """Gets the id of the worker at the first registration of a run."""
    _closing: trio.Event = field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _ended: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._book = self.book or JobBook(self.config.max_rooms, reserve=self.config.reserve)

    # -------------------------------------------------------------------- state

    @property
    def registered(self) -> bool:
        """True if the worker is registered now."""
        return self._registered.is_set()

    @property
    def worker_id(self) -> str:
        """The id that LiveKit gave to this connection, "" while there is none."""
        return self._conversation.protocol.worker_id if self._conversation is not None else ""

    @property
    def draining(self) -> bool:
        """True if the worker takes no new jobs."""
        return self._book.draining

    @property
    def free(self) -> int:
        """The number of jobs that the worker would take now."""
        return self._book.free if self.registered else 0

    @property
    def places_for_people(self) -> int:
        """Places that empty rooms leave free for rooms with people."""
        return max(1, self.config.max_rooms // 10)

    def reserved_from(self, room: str) -> int:
        """Places that a room of this name must leave free, because they are reserved."""
        return self._book.reserved_from(room)

    def reserved_for(self, room: str) -> bool:
        """True if a room of this name gets the reserved places."""
        return self.config.reserve.fits(room)

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of the jobs that are ours and have not ended."""
        return self._book.active(self.config.kind)

    @property
    def rooms(self) -> frozenset[str]:
        """The SIDs of the rooms for which we have, or just accepted, a job; the name of a room
        for which LiveKit sent no SID."""
        return self._book.keys()

    @property
    def identities(self) -> frozenset[str]:
        """Our identities in the rooms of our jobs."""
        return frozenset(map(self.config.kind.identity, self.jobs))

    @property
    def pending_entries(self) -> int:
        """Jobs whose rooms are still to be entered."""
        return self._book.pending_entries

    async def wait_registered(self) -> None:
        """Return as soon as the worker is registered."""
        await self._registered.wait()

    async def wait_pending_entries(self, most: int) -> None:
        """Return as soon as no more than `most` rooms are still to be entered."""
        while self._book.pending_entries > most:
            await self._jobs_changed.wait()

    # ------------------------------------------------------------------- commands

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        """Get a job for this room at once, also where there are other workers.

        The job comes by `on_assignment` within milliseconds like any other.  Nothing comes if
        there is no place, if the room is ours already, or if the connection breaks.
        """
        if self._conversation is not None:
            self._conversation.protocol.claim(room, room_sid, created_at)
            self._on_change()

    def job_running(self, job_id: str) -> None:
        """The room of this job is being watched."""
        if self._book.move(job_id, Verb.RUN):
            self._on_change()

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        """The job is over, with `error` if it failed.  Only the first end counts.

        `error` is sent to the server and must hold no secret.
        """
        if self._book.move(job_id, Verb.SUCCEED if error is None else Verb.FAIL, error or ""):
            self._on_change()

    def capacity(self, active: int) -> None:
        """Set how many rooms are watched.  That can be more than there are jobs: a room whose
        job has ended may still be closing."""
        self._book.count_watched(active)
        self._on_change()

    def drain(self) -> None:
        """Take no more jobs.  The jobs that we have go on."""
        if not self._book.draining:
            self._book.draining = True
            log.info("worker_draining", jobs=len(self.jobs))
        self._on_change()

    async def flush(self) -> None:
        """Wait until the reports so far are written, or cannot be."""
        if self._conversation is not None:
            await self._conversation.flush()

    async def aclose(self) -> None:
        """Report success for every job that is still ours, close the socket, end `run`.

        Takes at most `3 * CLOSE_TIMEOUT`.  May be called where `run` was never called."""
        self.drain()
        for job_id in self.jobs:
            self.job_ended(job_id)
        await self.flush()
        self._closing.set()
        if self._conversation is not None:
            with trio.move_on_after(2 * CLOSE_TIMEOUT):
                await self._ended.wait()
        self._scope.cancel()

    def _on_change(self) -> None:
        """Jobs may have changed: wake the writer, and whoever waits for entries."""
        changed, self._jobs_changed = self._jobs_changed, trio.Event()
        changed.set()
        if self._conversation is not None:
            self._conversation.wake_writer()

    # ----------------------------------------------------------------- the socket

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a worker until `aclose`.  Reports as started, with its id, once registered.

        Raises `WorkerRejected` if LiveKit refuses the worker before it ever accepted it.  May be
        run again after a crash: the jobs are still known.
        """
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        self._started = task_status
        try:
            with self._scope:
                await self._stay_connected()
        finally:
            self._ended.set()

    async def _stay_connected(self) -> None:
        failures = 0
        while not self._closing.is_set():
            rejected = False
            self._registered_at = None
            try:
                error = await self._connect()
            except WorkerRejected as rejection:
                if not self._accepted_once:
                    raise
                rejected, error = True, str(rejection)
            except (SocketFailed, SocketRejected) as failure:
                error = str(failure)
            if self._closing.is_set():
                return
            backoff = REJECTED_BACKOFF if rejected else LOST_BACKOFF
            was_registered = self._registered_at is not None
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
        if not self.config.kind.takes_jobs:
            return  # The other workers log it.
        if rejected:
            log.error("worker_rejected", **keys)
        elif was_registered and failures == 1:
            log.warning("worker_disconnected", jobs=len(self.jobs), **keys)
        elif failures & (failures - 1) == 0:
            # The 1st, 2nd, 4th, 8th ... failure: a night without the server is a page of log.
            log.warning("worker_connect_failed", not_logged=max(0, failures // 2 - 1), **keys)

    async def _connect(self) -> str:
        """One connection from its beginning to its end; why it ended."""
        config = self.config
        if config.endpoint.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        if not self.clock.known:
            await self.ask_time()
        sent_at = self.clock.steady()
        try:
            return await use_websocket(
                config.endpoint,
                f"{config.endpoint.path}/agent",
                [("Authorization", f"Bearer {worker_token(config.api_key)}")],
                self._converse,
                ssl_context=self._tls,
            )
        except SocketRejected as error:
            known = self.clock.known
            self.clock.observe_date(error.headers, sent_at)
            rejection = rejection_of(error.status, error.headers, error.body, time.time())
            if rejection is not None and rejection.reason == "clock_skew" and not known:
                raise  # The answer has the server's time: the next token uses it.
            if rejection is not None:
                raise rejection from None
            raise

    async def _converse(self, socket: WebSocketConnection) -> str:
        protocol = WorkerProtocol(
            registration=Registration(
                agent_name=self.config.kind.dispatched_as(self.config.agent_name),
                version=self.config.version,
                room_url=self.config.endpoint.room_url,
                visible=self.config.visible,
                attributes={INSTANCE_ATTRIBUTE: self.config.instance},
                kind=self.config.kind,
                asks_first=self.on_offer is not None,
            ),
            book=self._book,
            now=trio.current_time(),
            seq=self._seq,
        )
        conversation = Conversation(
            socket, protocol, self._events, on_event=self._handle, on_change=self._on_change
        )
        self._conversation = conversation
        try:
            return await conversation.run(self._closing)
        finally:
            self._conversation = None
            self._registered = trio.Event()
            self._book.disconnected(self.config.kind)
            self._on_change()
            conversation.end_flushes()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Registered):
            self._on_registered(event)
        elif isinstance(event, Pong):
            took = trio.current_time() - event.sent_at
            self.clock.observe(self.clock.steady() - took, event.server_time)
        elif isinstance(event, JobOffered):
            assert self.on_offer is not None
            assert self._conversation is not None
            self.on_offer(event.offer, partial(self._conversation.answer, event.offer.job_id))
        elif isinstance(event, JobAssigned):
            self.on_assignment(event.job)
        elif isinstance(event, JobTerminated):
            self.on_termination(event.job_id)

    def _on_registered(self, event: Registered) -> None:
        self._registered_at = trio.current_time()
        self._accepted_once = True
        self._registered.set()
        log.log(
            self.config.kind.log_level,
            "worker_registered",
            worker_id=event.worker_id,
            server_version=event.server_version,
            agent_name=self.config.kind.dispatched_as(self.config.agent_name),
            jobs=len(self.jobs),
        )
        if self._started is not None:
            self._started.started(event.worker_id)
            self._started = None
