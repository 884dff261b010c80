"""LiveKit's worker protocol, without any I/O: bytes in, events out, bytes to send.

One `WorkerProtocol` is one connection to `/agent`.  Two tables are the protocol:
`REFUSALS`, in whose order an offered job is examined, and `ON_MESSAGE`, which says
what each message of the server does in each state; a message that has no row there is
reported and changes nothing.  What we have to say is not queued by whoever changes
something: `data_to_send` compares the job book with what this connection has heard.
So a status can be neither forgotten nor told twice, and after a reconnect everything
is told again because the new connection has heard nothing.

The rules of the server that shape this (measured on livekit-server 1.13.5):

* An offer must be answered within 2.7 s or the job is lost without a word, so the
  answer is made here, in the same step, and waits on nothing.
* It goes on offering while the reported load is below 0.7, and to an overloaded
  worker too as long as another one has room: only `WS_FULL` really stops it.
* It forgets our jobs when the socket goes, and the assignments under way with them.
* A half-open connection is kept for minutes and swallows offers: we ping, and give up
  a server that is silent.
* Servers from 1.13.9 on want `draining` and a rising `seq` in each worker status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import ClassVar, Final, TypeAlias

from attrs import Factory, define, field, frozen
from google.protobuf.message import DecodeError
from livekit.protocol import agent, models

from actors.rooms.room_port import RoomJob
from bridge.livekit.worker.jobs import LONGEST, LONGEST_TOKEN, Job, JobBook, JobStage, Offer, Verb

ASSIGNMENT_TIMEOUT: Final = 5.0
"""Seconds an acceptance holds its place while its assignment does not come."""

STATUS_EVERY: Final = 2.5
"""Seconds between worker statuses when nothing changes."""

PING_EVERY: Final = 5.0
"""Seconds between pings."""


LOAD_CEILING: Final = 0.65
"""The load of a worker that has one place left, safely below the server's limit of 0.7."""

OUR_DISPATCH: Final = '{"by":"room-actors"}'
"""Metadata of the dispatches that a reconciler makes.  Their jobs carry it: they are there
to have a room watched, so where it is, a second one is pointless.  The dispatches of
people are never treated so."""


class Connection(Enum):
    """The states of a connection."""

    REGISTERING = auto()
    REGISTERED = auto()


SILENCE_LIMIT: Final[Mapping[Connection, float]] = {
    Connection.REGISTERING: 5.0,
    Connection.REGISTERED: 2 * PING_EVERY,
}
"""Seconds after which a connection counts as dead: without an answer to our registration,
then without a word of any kind."""


def identity(job_id: str) -> str:
    """Our participant's identity in the room of a job."""
    return f"agent-{job_id}"


@frozen
class Registration:
    """Who we are to LiveKit."""

    agent_name: str
    version: str
    room_url: str
    """What rooms are joined with: an assignment's own `url` is always empty."""
    visible: bool = False
    """Whether participants see the agent."""
    attributes: Mapping[str, str] = Factory(dict[str, str])
    """Our participant's attributes in each room, `INSTANCE_ATTRIBUTE` among them."""


# ------------------------------------------------------------------------- events


@frozen
class Registered:
    worker_id: str
    server_version: str


@frozen
class JobAccepted:
    job_id: str
    room: str


@frozen
class JobRefused:
    job_id: str
    room: str
    job_type: str
    reason: str


@frozen
class JobAssigned:
    job: RoomJob


@frozen
class AssignmentRejected:
    """An assignment we cannot use: the server was told that the job failed."""

    job_id: str
    reason: str


@frozen
class AssignmentOverdue:
    """We said yes and nothing came: the server chose another worker, or heard us too late."""

    job_id: str
    room: str


@frozen
class JobTerminated:
    """The server wants the job to end.  Only a hint: in the first seconds of a job it may never
    come (docs/livekit-facts.md#job-termination)."""

    job_id: str
    room: str


@frozen
class Malformed:
    """A frame that is no message of this protocol."""

    size: int
    error: str


@frozen
class Unexpected:
    """A message that means nothing here: unknown to us, or in the wrong state."""

    message: str
    state: str


@frozen
class GoingAway:
    """The server announced that it will close."""

    reason: str


@frozen
class Pong:
    """The server answered a ping."""

    sent_at: float
    """When the ping was made, on the clock of the connection (cut to milliseconds)."""
    server_time: float
    """Unix seconds, the server's own (cut to milliseconds)."""


@frozen
class Silent:
    """The server has not said a word for too long: give the connection up."""

    seconds: float


Event: TypeAlias = (
    Registered
    | JobAccepted
    | JobRefused
    | JobAssigned
    | AssignmentRejected
    | AssignmentOverdue
    | JobTerminated
    | Malformed
    | Unexpected
    | GoingAway
    | Pong
    | Silent
)


# ------------------------------------------------------------------------ offers


@frozen
class Refusal:
    """A reason to say no, and to whom."""

    reason: str
    applies: Callable[[agent.Job, JobBook], bool]
    for_all: bool = False
    """The job is done with, and offered to no other worker either."""


REFUSALS: Final = (
    Refusal("not a room job", lambda job, _: job.type != agent.JobType.JT_ROOM),
    Refusal("the job has no id", lambda job, _: not job.id),
    Refusal("the job has no room", lambda job, _: not job.room.name),
    Refusal("the name or SID of its room is too long", lambda job, _: _is_long(job.room)),
    Refusal("we already have it", lambda job, book: _is_ours(book.get(job.id))),
    Refusal(
        "its room is watched already",
        lambda job, book: _for_watching_only(job) and job.room.sid in book.rooms(but=job.id),
        for_all=True,
    ),
    Refusal("the worker is draining", lambda _, book: book.draining),
    Refusal(
        "its room has too many jobs",
        lambda job, book: book.get(job.id) is None and book.has_many_for(_offer(job).room_key),
    ),
    Refusal("all places are taken", lambda job, book: book.get(job.id) is None and book.full),
    Refusal(
        "the places that are left are reserved",
        lambda job, book: book.get(job.id) is None and not book.has_place_for(job.room.name),
    ),
)
"""Why an offered job is refused, in this order.  One we said yes to and that is offered
again gets the same yes."""


def _is_long(room: models.Room) -> bool:
    return len(room.name) > LONGEST or len(room.sid) > LONGEST


def _for_watching_only(job: agent.Job) -> bool:
    """Whether nobody asked for this job but a reconciler: by a dispatch or by a claim."""
    return job.metadata == OUR_DISPATCH or not job.dispatch_id


def _fault_of(token: str) -> str:
    if not token:
        return "its token is missing"
    return "its token is too long" if len(token) > LONGEST_TOKEN else ""


def _is_ours(job: Job | None) -> bool:
    return job is not None and job.stage is not JobStage.ACCEPTED


def _refusal(job: agent.Job, book: JobBook) -> Refusal | None:
    return next((refusal for refusal in REFUSALS if refusal.applies(job, book)), None)


def _job_type(job: agent.Job) -> str:
    # A type newer than our protocol library has no name.
    value = agent.JobType.DESCRIPTOR.values_by_number.get(job.type)
    return value.name if value is not None else str(job.type)


_STATUS: Final[Mapping[JobStage, agent.JobStatus]] = {
    JobStage.RUNNING: agent.JobStatus.JS_RUNNING,
    JobStage.SUCCEEDED: agent.JobStatus.JS_SUCCESS,
    JobStage.FAILED: agent.JobStatus.JS_FAILED,
}


# ------------------------------------------------------------------------ protocol


@define(eq=False)
class WorkerProtocol:
    """One connection.  All times are seconds on one monotonic clock, given by the caller."""

    registration: Registration
    book: JobBook
    now: float
    """When the connection was opened, then when it was last used."""
    seq: Iterator[int]
    """Numbers of worker statuses, rising over all connections of a worker."""
    state: Connection = field(default=Connection.REGISTERING, init=False)
    worker_id: str = field(default="", init=False)
    _out: list[agent.WorkerMessage] = field(factory=list[agent.WorkerMessage], init=False)
    _heard_at: float = field(init=False)
    _ping_at: float = field(init=False)
    _status_at: float = field(default=float("inf"), init=False)
    _status: tuple[bool, int, bool] | None = field(default=None, init=False)
    """Full, job count, draining: as last told."""

    def __attrs_post_init__(self) -> None:
        self._heard_at = self.now
        self._ping_at = self.now + PING_EVERY
        self._out.append(
            agent.WorkerMessage(
                register=agent.RegisterWorkerRequest(
                    type=agent.JobType.JT_ROOM,
                    agent_name=self.registration.agent_name,
                    version=self.registration.version,
                    ping_interval=round(PING_EVERY),
                    # A field that is not set is false as soon as any of them is.
                    allowed_permissions=models.ParticipantPermission(
                        can_subscribe=True,
                        can_publish=False,
                        can_publish_data=False,
                        can_update_metadata=False,
                        hidden=not self.registration.visible,
                        agent=True,
                    ),
                )
            )
        )

    @property
    def unsent(self) -> int:
        """Messages that are still to be sent."""
        return len(self._out)

    # -------------------------------------------------------------- what comes

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take one websocket message."""
        self.now = now
        if self.state is Connection.REGISTERED:
            self._heard_at = now
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
        self.state, self._heard_at = Connection.REGISTERED, self.now
        self.worker_id = message.register.worker_id
        self._ping_at = self.now  # At once: the answer tells the server's time.
        return [Registered(self.worker_id, message.register.server_info.version)]

    def _on_availability(self, message: agent.ServerMessage) -> list[Event]:
        job = message.availability.job
        if len(job.id) > LONGEST:
            return [self._too_long()]
        refusal = _refusal(job, self.book)
        if refusal is not None:
            self._out.append(
                agent.WorkerMessage(
                    availability=agent.AvailabilityResponse(
                        job_id=job.id, available=False, terminate=refusal.for_all
                    )
                )
            )
            return [JobRefused(job.id, job.room.name, _job_type(job), refusal.reason)]
        self.book.accept(_offer(job), self.now + ASSIGNMENT_TIMEOUT)
        self._out.append(
            agent.WorkerMessage(
                availability=agent.AvailabilityResponse(
                    job_id=job.id,
                    available=True,
                    participant_identity=identity(job.id),
                    participant_name=self.registration.agent_name,
                    participant_attributes=dict(self.registration.attributes),
                )
            )
        )
        return [JobAccepted(job.id, job.room.name)]

    def _on_assignment(self, message: agent.ServerMessage) -> list[Event]:
        assignment = message.assignment
        job_id = assignment.job.id
        if len(job_id) > LONGEST:
            return [self._too_long()]
        job = self.book.get(job_id)
        if job is not None and job.stage is not JobStage.ACCEPTED:
            return [AssignmentRejected(job_id, "we already have it")]
        fault = _fault_of(assignment.token)
        if job is None or fault:
            reason = fault if job else "we did not accept it, or too long ago"
            self.book.forget(job_id)
            self._tell_job(job_id, JobStage.FAILED, f"bad assignment: {reason}")
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
                    identity=identity(job_id),
                    created_at=job.offer.created_at,
                    dispatch_id=job.offer.dispatch_id,
                    explicit=job.offer.explicit,
                )
            )
        ]

    def _too_long(self) -> Unexpected:
        """No answer: it would have to name the job."""
        what = f"a job with an id of more than {LONGEST} characters"
        return Unexpected(what, self.state.name.lower())

    def _on_termination(self, message: agent.ServerMessage) -> list[Event]:
        job_id = message.termination.job_id
        job = self.book.get(job_id)
        if job is None or self.book.forget(job_id):
            return [Unexpected("termination of a job we do not have", self.state.name.lower())]
        return [JobTerminated(job_id, job.offer.room)]

    def _on_pong(self, message: agent.ServerMessage) -> list[Event]:
        pong = message.pong
        if not (pong.timestamp and pong.last_timestamp):
            return []  # That it was heard is all there is to it.
        return [Pong(pong.last_timestamp / 1000, pong.timestamp / 1000)]

    def _on_go_away(self, message: agent.ServerMessage) -> list[Event]:
        return [GoingAway(message.go_away.reason)]

    ON_MESSAGE: ClassVar[Mapping[Connection, Mapping[str, Callable[..., list[Event]]]]] = {
        Connection.REGISTERING: {
            "register": _on_register,
            "pong": _on_pong,
            "go_away": _on_go_away,
        },
        Connection.REGISTERED: {
            "availability": _on_availability,
            "assignment": _on_assignment,
            "termination": _on_termination,
            "pong": _on_pong,
            "go_away": _on_go_away,
        },
    }
    """What a message does in each state.  What has no row is reported and changes nothing."""

    # ------------------------------------------------------------ what time does

    @property
    def deadline(self) -> float:
        """When `tick` must be called at the latest."""
        return min(
            self._status_at,
            self._ping_at,
            self._heard_at + SILENCE_LIMIT[self.state],
            self.book.next_expiry,
        )

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
        self.now = now
        silent = now - self._heard_at
        if silent >= SILENCE_LIMIT[self.state]:
            return [Silent(silent)]
        if now >= self._ping_at:
            self._ping_at = now + PING_EVERY
            self._out.append(agent.WorkerMessage(ping=agent.WorkerPing(timestamp=int(now * 1000))))
        return [AssignmentOverdue(offer.job_id, offer.room) for offer in self.book.expire(now)]

    # --------------------------------------------------------------- what goes

    def data_to_send(self) -> list[bytes]:
        """Everything the server must hear now, one websocket message each.

        That we are full comes before the yes that made us so: in between the server could
        offer us one job more, and where no other worker has a place that job is lost.
        """
        if self.state is Connection.REGISTERED:
            answers, self._out = self._out, []
            for job_id, stage, error in self.book.take_untold():
                self._tell_job(job_id, stage, error)
            self._tell_worker()
            self._out += answers
        data = [message.SerializeToString() for message in self._out]
        self._out.clear()
        return data

    def claim(self, name: str, sid: str, created_at: float | None) -> None:
        """Have the server offer us, and nobody else, a job for this room.

        `SimulateJob` is what `livekit-agents simulate-job` is made of: the offer, its
        assignment and its token are like any other, with the room as we name it here and
        without a dispatch.  The room is not looked up.
        """
        if self.state is Connection.REGISTERED:
            room = models.Room(name=name, sid=sid, creation_time_ms=round((created_at or 0) * 1000))
            self._out.append(agent.WorkerMessage(simulate_job=agent.SimulateJobRequest(room=room)))

    def _tell_job(self, job_id: str, stage: JobStage, error: str = "") -> None:
        self._out.append(
            agent.WorkerMessage(
                update_job=agent.UpdateJobStatus(job_id=job_id, status=_STATUS[stage], error=error)
            )
        )

    def _tell_worker(self) -> None:
        book = self.book
        used = book.used
        full = book.draining or used >= book.max_rooms
        status = (full, used, book.draining)
        if status == self._status and self.now < self._status_at:
            return
        self._status = status
        self._status_at = self.now + STATUS_EVERY
        self._out.append(
            agent.WorkerMessage(
                update_worker=agent.UpdateWorkerStatus(
                    status=agent.WorkerStatus.WS_FULL if full else agent.WorkerStatus.WS_AVAILABLE,
                    load=1.0 if full else LOAD_CEILING * used / book.max_rooms,
                    job_count=used,
                    draining=book.draining,
                    seq=next(self.seq),
                )
            )
        )


def _offer(job: agent.Job) -> Offer:
    room = job.room
    # Servers before 1.8 tell whole seconds only.
    created_at = room.creation_time_ms / 1000 or float(room.creation_time)
    return Offer(
        job_id=job.id,
        room=room.name,
        room_sid=room.sid,
        dispatch_id=job.dispatch_id,
        created_at=created_at or None,
        explicit=not _for_watching_only(job),
    )
