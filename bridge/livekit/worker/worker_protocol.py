"""LiveKit's worker protocol without any I/O: bytes in, events out, bytes to send.

One `WorkerProtocol` is one connection to `/agent`.  Three tables are the protocol:

* `JobKind`: the type of jobs for which a connection registers, and what each type implies.
* `REFUSALS`: in its order an offered job is examined.
* `ON_MESSAGE`: the effect of each message of the server in each state.  A message that has no
  row there is reported and changes nothing.

Code that changes a job sends nothing.  `data_to_send` compares the job book with the reports that
this connection has sent.  So no status is forgotten and none is sent twice, and after a
reconnect everything is reported again, because the new connection has sent nothing yet.

The rules of the server that shape this (measured on livekit-server 1.13.5):

* An offer must be answered within 2.7 s, else the job is lost without a message.  So the answer
  is made here, in the same step, and waits on nothing, unless the registration `asks_first`.
* The server goes on offering while the reported load is below 0.7.  It offers to an overloaded
  worker too as long as another worker has room.  Only `WS_FULL` really stops it.
* The server forgets our jobs when the socket closes, and the assignments that are on their way.
* A half-open connection stays for minutes and loses every offer.  So we ping, and close the
  connection to a server that is silent.
* Servers from 1.13.9 on want `draining` and a rising `seq` in each worker status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import ClassVar, Final

from attrs import define, field
from google.protobuf.message import DecodeError
from livekit.protocol import agent, models

from actors.rooms.room_port import RoomJob
from bridge.livekit.worker.job_kinds import JobKind
from bridge.livekit.worker.job_refusals import OfferedJob, offer_of, refusal_of
from bridge.livekit.worker.jobs import (
    MAX_NAME_LENGTH,
    MAX_TOKEN_LENGTH,
    JobBook,
    JobStage,
    Verb,
)
from bridge.livekit.worker.protocol_events import (
    AssignmentOverdue,
    AssignmentRejected,
    Event,
    GoingAway,
    JobAccepted,
    JobAssigned,
    JobOffered,
    JobRefused,
    JobTerminated,
    Malformed,
    Pong,
    Registered,
    Silent,
    Unexpected,
)
from bridge.livekit.worker.registration import PING_INTERVAL, Registration

ASSIGNMENT_TIMEOUT: Final = 5.0
"""Seconds for which an accepted job reserves its place while its assignment does not come."""

STATUS_INTERVAL: Final = 2.5
"""Seconds between worker statuses when nothing changes."""

MAX_LOAD: Final = 0.65
"""The load of a worker that has one place left, safely below the server's limit of 0.7."""


class ConnectionState(Enum):
    """The states of a connection to `/agent`."""

    REGISTERING = auto()
    REGISTERED = auto()


SILENCE_LIMIT: Final[Mapping[ConnectionState, float]] = {
    ConnectionState.REGISTERING: 5.0,
    ConnectionState.REGISTERED: 2 * PING_INTERVAL,
}
"""Seconds after which a connection counts as dead: without an answer to our registration,
later without any message."""


_STATUS: Final[Mapping[JobStage, agent.JobStatus]] = {
    JobStage.RUNNING: agent.JobStatus.JS_RUNNING,
    JobStage.SUCCEEDED: agent.JobStatus.JS_SUCCESS,
    JobStage.FAILED: agent.JobStatus.JS_FAILED,
}


def _fault_of(token: str) -> str:
    if not token:
        return "its token is missing"
    return "its token is too long" if len(token) > MAX_TOKEN_LENGTH else ""


def _job_type(job: agent.Job) -> str:
    # A type newer than our protocol library has no name.
    value = agent.JobType.DESCRIPTOR.values_by_number.get(job.type)
    return value.name if value is not None else str(job.type)


# ------------------------------------------------------------------------ protocol


@define(eq=False)
class WorkerProtocol:
    """One connection.  All times are seconds on one monotonic clock, given by the caller."""

    registration: Registration
    book: JobBook
    now: float
    """When the connection was opened; later, when it was last used."""
    seq: Iterator[int]
    """Numbers of worker statuses, rising over all connections of a worker."""
    state: ConnectionState = field(default=ConnectionState.REGISTERING, init=False)
    worker_id: str = field(default="", init=False)
    _unsent: list[agent.WorkerMessage] = field(factory=list[agent.WorkerMessage], init=False)
    _received_at: float = field(init=False)
    _ping_at: float = field(init=False)
    _status_at: float = field(default=float("inf"), init=False)
    _status: tuple[bool, int, bool] | None = field(default=None, init=False)
    """Full, job count, draining: as last sent."""

    def __attrs_post_init__(self) -> None:
        self._received_at = self.now
        self._ping_at = self.now + PING_INTERVAL
        self._unsent.append(self.registration.as_message())

    @property
    def _kind(self) -> JobKind:
        return self.registration.kind

    @property
    def unsent(self) -> int:
        """The number of messages that are still to be sent."""
        return len(self._unsent)

    # -------------------------------------------------------- messages of the server

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take one websocket message."""
        self.now = now
        if self.state is ConnectionState.REGISTERED:
            self._received_at = now
        if isinstance(data, str):
            return [Malformed(len(data), "a text frame, this protocol is binary")]
        try:
            message = agent.ServerMessage.FromString(data)
        except DecodeError as error:
            return [Malformed(len(data), f"not a ServerMessage: {error}")]
        kind = message.WhichOneof("message")
        handler = self.ON_MESSAGE[self.state].get(kind or "")
        if handler is None:
            return [Unexpected(kind or "unknown", self.state.name.lower())]
        return handler(self, message)

    def _on_register(self, message: agent.ServerMessage) -> list[Event]:
        self.state, self._received_at = ConnectionState.REGISTERED, self.now
        self.worker_id = message.register.worker_id
        self._ping_at = self.now  # At once: the answer has the server's time.
        return [Registered(self.worker_id, message.register.server_info.version)]

    def _on_availability(self, message: agent.ServerMessage) -> list[Event]:
        job = message.availability.job
        if len(job.id) > MAX_NAME_LENGTH:
            return [self._too_long()]
        refusal = refusal_of(OfferedJob(job, self._kind, self.book))
        if refusal is not None:
            self._unsent.append(
                agent.WorkerMessage(
                    availability=agent.AvailabilityResponse(
                        job_id=job.id, available=False, terminate=refusal.for_all
                    )
                )
            )
            if refusal.quiet:
                return []
            reason = refusal.reason.format(kind=self._kind.name)
            return [JobRefused(job.id, job.room.name, _job_type(job), reason)]
        offer = offer_of(job, self._kind)
        self.book.accept(offer, self.now + ASSIGNMENT_TIMEOUT)
        if self.registration.asks_first:
            return [JobOffered(offer)]
        self._accept(job.id)
        return [JobAccepted(job.id, job.room.name)]

    def _accept(self, job_id: str) -> None:
        self._unsent.append(self.registration.acceptance(job_id))

    def answer(self, job_id: str, *, available: bool) -> list[Event]:
        """Answer an offer that this connection gave as `JobOffered`."""
        job = self.book.get(job_id)
        if job is None or job.stage is not JobStage.ACCEPTED:
            return []
        if available:
            self._accept(job_id)
            return [JobAccepted(job_id, job.offer.room)]
        self.book.forget(job_id)
        self._unsent.append(
            agent.WorkerMessage(
                availability=agent.AvailabilityResponse(job_id=job_id, available=False)
            )
        )
        return []  # Expected where there are several workers: not worth a line of the log.

    def _on_assignment(self, message: agent.ServerMessage) -> list[Event]:
        assignment = message.assignment
        job_id = assignment.job.id
        if len(job_id) > MAX_NAME_LENGTH:
            return [self._too_long()]
        job = self.book.get(job_id)
        if job is not None and job.stage is not JobStage.ACCEPTED:
            return [AssignmentRejected(job_id, "we already have it")]
        fault = _fault_of(assignment.token)
        if job is None or fault:
            reason = fault if job else "we did not accept it, or too long ago"
            self.book.forget(job_id)
            self._report_job(job_id, JobStage.FAILED, f"bad assignment: {reason}")
            return [AssignmentRejected(job_id, reason)]
        self.book.move(job_id, Verb.ASSIGN)
        return [
            JobAssigned(
                RoomJob(
                    job_id=job_id,
                    room=job.offer.room,
                    room_sid=job.offer.room_sid,
                    url=self.registration.room_url,
                    token=assignment.token,
                    identity=self._kind.identity(job_id),
                    created_at=job.offer.created_at,
                    dispatch_id=job.offer.dispatch_id,
                    explicit=job.offer.explicit,
                    participant_sid=job.offer.participant_sid,
                    participant_identity=job.offer.participant_identity,
                    metadata=assignment.job.metadata,
                )
            )
        ]

    def _too_long(self) -> Unexpected:
        """Such an offer gets no answer, because the answer would have to carry the id."""
        what = f"a job with an id of more than {MAX_NAME_LENGTH} characters"
        return Unexpected(what, self.state.name.lower())

    def _on_termination(self, message: agent.ServerMessage) -> list[Event]:
        job_id = message.termination.job_id
        job = self.book.get(job_id)
        if job is None and not self._kind.reports_success:
            return []  # It ended here already, and LiveKit does not know that.
        if job is None or self.book.forget(job_id):
            return [Unexpected("termination of a job we do not have", self.state.name.lower())]
        return [JobTerminated(job_id, job.offer.room)]

    def _on_pong(self, message: agent.ServerMessage) -> list[Event]:
        pong = message.pong
        if not (pong.timestamp and pong.last_timestamp):
            return []  # It shows that the server is there, and has no time.
        return [Pong(pong.last_timestamp / 1000, pong.timestamp / 1000)]

    def _on_go_away(self, message: agent.ServerMessage) -> list[Event]:
        return [GoingAway(message.go_away.reason)]

    ON_MESSAGE: ClassVar[Mapping[ConnectionState, Mapping[str, Callable[..., list[Event]]]]] = {
        ConnectionState.REGISTERING: {
            "register": _on_register,
            "pong": _on_pong,
            "go_away": _on_go_away,
        },
        ConnectionState.REGISTERED: {
            "availability": _on_availability,
            "assignment": _on_assignment,
            "termination": _on_termination,
            "pong": _on_pong,
            "go_away": _on_go_away,
        },
    }
    """The effect of a message in each state.  A message without a row is reported and changes
nothing."""

    # ------------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When `tick` must be called at the latest."""
        return min(
            self._status_at,
            self._ping_at,
            self._received_at + SILENCE_LIMIT[self.state],
            self.book.next_expiry,
        )

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
        self.now = now
        silent = now - self._received_at
        if silent >= SILENCE_LIMIT[self.state]:
            return [Silent(silent)]
        if now >= self._ping_at:
            self._ping_at = now + PING_INTERVAL
            self._unsent.append(
                agent.WorkerMessage(ping=agent.WorkerPing(timestamp=int(now * 1000)))
            )
        return [AssignmentOverdue(offer.job_id, offer.room) for offer in self.book.expire(now)]

    # ------------------------------------------------------------ messages to the server

    def data_to_send(self) -> list[bytes]:
        """Everything that the server must get now, one websocket message each.

        The status "full" goes before the acceptance that took the last place.  In between the
        server could offer us one job more, and without another worker that job would be lost.
        """
        if self.state is ConnectionState.REGISTERED:
            answers, self._unsent = self._unsent, []
            for job_id, stage, error in self.book.take_unreported(self._kind):
                self._report_job(job_id, stage, error)
            self._report_worker()
            self._unsent += answers
        data = [message.SerializeToString() for message in self._unsent]
        self._unsent.clear()
        return data

    def claim(self, name: str, sid: str, created_at: float | None) -> None:
        """Have the server offer a job for this room to us and to no other worker.

        This is the message `SimulateJob`, which `livekit-agents simulate-job` also sends.  The
        offer, its assignment and its token are like any other.  They name the room as we name
        it here, and there is no dispatch.  The server does not look the room up.
        """
        if self.state is ConnectionState.REGISTERED:
            room = models.Room(name=name, sid=sid, creation_time_ms=round((created_at or 0) * 1000))
            self._unsent.append(
                agent.WorkerMessage(simulate_job=agent.SimulateJobRequest(room=room))
            )

    def _report_job(self, job_id: str, stage: JobStage, error: str = "") -> None:
        self._unsent.append(
            agent.WorkerMessage(
                update_job=agent.UpdateJobStatus(job_id=job_id, status=_STATUS[stage], error=error)
            )
        )

    def _report_worker(self) -> None:
        book = self.book
        used, places = book.used, book.max_rooms
        if not self._kind.takes_place:
            # Such jobs are bounded by refusals: what a full worker is not offered is lost.
            used, places = len(book.active(self._kind)), 0
        full = not self._kind.takes_jobs or book.draining or 0 < places <= used
        status = (full, used, book.draining)
        if status == self._status and self.now < self._status_at:
            return
        self._status = status
        self._status_at = self.now + STATUS_INTERVAL
        self._unsent.append(
            agent.WorkerMessage(
                update_worker=agent.UpdateWorkerStatus(
                    status=agent.WorkerStatus.WS_FULL if full else agent.WorkerStatus.WS_AVAILABLE,
                    load=1.0 if full else MAX_LOAD * used / places if places else 0.0,
                    job_count=used,
                    draining=book.draining,
                    seq=next(self.seq),
                )
            )
        )
