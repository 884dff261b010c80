"""The book of our jobs: accepted offers, assigned jobs, and stages that LiveKit must still get.

The book outlives the websocket.  The server forgets a worker's jobs when the socket closes, and
the rooms go on regardless.  So each new connection reports all jobs again.

The stages of a job are a table.  A verb that has no row for the stage of a job does nothing.
Therefore an end is reported once, and never as both success and failure::

    accept ─▶ ACCEPTED ─assign─▶ ASSIGNED ─run─▶ RUNNING ─succeed─▶ SUCCEEDED
                 │ forget            └──────succeed, fail──┴─fail──▶ FAILED
                 ▼
                (removed: the assignment did not come in time, or the socket closed)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Final

from attrs import Factory, define, field, frozen

from bridge.livekit.worker.job_kinds import ROOM_JOBS, JobKind


class JobStage(Enum):
    """Where a job stands between LiveKit and us."""

    ACCEPTED = auto()
    """We accepted the offer and reserve a place.  The server may still choose another worker."""
    ASSIGNED = auto()
    """The job is ours; its room is being entered."""
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()


class Verb(Enum):
    """An action that moves a job from one stage to the next."""

    ASSIGN = auto()
    RUN = auto()
    SUCCEED = auto()
    FAIL = auto()


MOVES: Final[Mapping[tuple[JobStage, Verb], JobStage]] = {
    (JobStage.ACCEPTED, Verb.ASSIGN): JobStage.ASSIGNED,
    (JobStage.ASSIGNED, Verb.RUN): JobStage.RUNNING,
    (JobStage.ASSIGNED, Verb.SUCCEED): JobStage.SUCCEEDED,
    (JobStage.ASSIGNED, Verb.FAIL): JobStage.FAILED,
    (JobStage.RUNNING, Verb.SUCCEED): JobStage.SUCCEEDED,
    (JobStage.RUNNING, Verb.FAIL): JobStage.FAILED,
}

ACTIVE: Final = frozenset({JobStage.ASSIGNED, JobStage.RUNNING})
"""The stages in which a job is ours and takes a place."""

PENDING: Final = frozenset({JobStage.ACCEPTED, JobStage.ASSIGNED})
"""The stages in which the room of a job is not entered yet."""

ENDED: Final = frozenset({JobStage.SUCCEEDED, JobStage.FAILED})

MAX_JOBS_PER_KEY: Final = 20
"""Accepted and active jobs with one key, for room jobs: of one room.  They share a place, so the
places do not bound them.  A room has one job, and a few more after outages or where somebody
dispatches on purpose."""

MAX_NAME_LENGTH: Final = 1_024
"""Characters of an id, and of the name of a room (LiveKit's own limit is 256)."""

MAX_TOKEN_LENGTH: Final = 256 << 10
"""Characters of a job's token, which carries our attributes."""


@frozen
class Offer:
    """The facts about a job with which LiveKit asks whether we take it."""

    job_id: str
    room: str
    room_sid: str
    dispatch_id: str
    created_at: float | None
    """Unix seconds of the room's creation."""
    explicit: bool = False
    """Somebody dispatched us on purpose; the dispatch is not one of a reconciler."""
    kind: JobKind = ROOM_JOBS
    participant_sid: str = ""
    """The participant that the job is about; "" for a job about a room."""
    participant_identity: str = ""

    @property
    def room_key(self) -> str:
        """The room's SID; its name where the offer has no SID (very old servers)."""
        return self.room_sid or self.room

    @property
    def key(self) -> str:
        """Under which key the book counts the job."""
        return self.kind.key(self.room_key, self.participant_sid)


@define
class Job:
    """One job in the book."""

    offer: Offer
    stage: JobStage
    expires_at: float | None = None
    """Until when its assignment may come, on trio's clock; None once it came."""
    error: str = ""
    """Why it failed."""


@frozen
class Reserve:
    """Places that only the rooms of one pattern get."""

    places: int = 0
    pattern: str = ""

    def fits(self, room: str) -> bool:
        """True if a room of this name gets them."""
        return fnmatchcase(room, self.pattern)


def _none() -> int:
    return 0


@define(eq=False)
class JobBook:
    """Every job from our acceptance until LiveKit has the report of its end."""

    max_rooms: int
    """Places."""
    abandoned_connections: Callable[[], int] = _none
    """Connections to rooms that are not ours any more and are not closed yet.  Each still takes
    a place, and the open files of one."""
    reserve: Reserve = Factory(Reserve)
    draining: bool = False
    """No new job is taken any more."""
    _jobs: dict[str, Job] = field(factory=dict[str, Job], init=False)
    _unreported: dict[str, None] = field(factory=dict[str, None], init=False)
    """Jobs whose stage was not sent on the current connection of their kind, in order."""
    _watched: int = field(default=0, init=False)

    # ------------------------------------------------------------------ places

    def count_watched(self, rooms: int) -> None:
        """Set how many rooms are watched, by the count of the room manager.

        That can be more than there are jobs: the session of a room whose job has ended may
        still be closing.
        """
        self._watched = rooms

    @property
    def used(self) -> int:
        """Places that are taken or promised."""
        active, promised = set[tuple[int, str]](), set[tuple[int, str]]()
        for job in self._open_jobs():
            # A second job with the same key takes no second place.
            if job.offer.kind.takes_place:
                keys = active if job.stage in ACTIVE else promised
                keys.add((job.offer.kind.type, job.offer.key))
        watched = max(self._watched, len(active))
        return watched + self.abandoned_connections() + len(promised - active)

    @property
    def free(self) -> int:
        """Places for which another job can be taken now."""
        return 0 if self.draining else max(0, self.max_rooms - self.used)

    @property
    def full(self) -> bool:
        """True if no place is left."""
        return self.used >= self.max_rooms

    def reserved_from(self, room: str) -> int:
        """Places that a room of this name must leave free, because they are reserved."""
        if not self.reserve.places or self.reserve.fits(room):
            return 0
        taken = {
            job.offer.room_key
            for job in self._open_jobs()
            if job.offer.kind.takes_place and self.reserve.fits(job.offer.room)
        }
        return max(0, self.reserve.places - len(taken))

    def has_place_for(self, room: str) -> bool:
        """True if a room of this name may take a place now."""
        return self.used + self.reserved_from(room) < self.max_rooms

    # ------------------------------------------------------------------- jobs

    def get(self, job_id: str) -> Job | None:
        """The job with this id, if it is in the book."""
        return self._jobs.get(job_id)

    def _open_jobs(self) -> Iterator[Job]:
        """The jobs that have not ended."""
        return (job for job in self._jobs.values() if job.stage not in ENDED)

    def active(self, kind: JobKind = ROOM_JOBS) -> tuple[str, ...]:
        """The ids of the jobs of one kind that are ours now."""
        return tuple(
            job_id
            for job_id, job in self._jobs.items()
            if job.stage in ACTIVE and job.offer.kind is kind
        )

    @property
    def pending_entries(self) -> int:
        """Accepted and assigned jobs whose rooms are not entered yet."""
        return sum(
            job.stage in PENDING and job.offer.kind.takes_place for job in self._jobs.values()
        )

    def keys(self, kind: JobKind = ROOM_JOBS, *, without: str = "") -> frozenset[str]:
        """The keys of the accepted and active jobs of one kind, without the job `without`."""
        return frozenset(
            job.offer.key
            for job in self._open_jobs()
            if job.offer.job_id != without and job.offer.kind is kind
        )

    def has_many_for(self, offer: Offer) -> bool:
        """True if there are as many jobs with the key of this offer as there may be."""
        same = (
            job.offer.kind is offer.kind and job.offer.key == offer.key
            for job in self._jobs.values()
        )
        return sum(same) >= MAX_JOBS_PER_KEY

    def has_all_of(self, kind: JobKind) -> bool:
        """True if there are as many jobs of a kind that takes no places as there may be."""
        count = sum(job.offer.kind is kind for job in self._jobs.values())
        return kind.max_jobs is not None and count >= kind.max_jobs

    def accept(self, offer: Offer, expires_at: float) -> None:
        """Reserve a place for `offer` until its assignment comes.  A repetition changes nothing."""
        self._jobs[offer.job_id] = Job(offer, JobStage.ACCEPTED, expires_at)

    def move(self, job_id: str, verb: Verb, error: str = "") -> bool:
        """Take a job one step along `MOVES`; False if there is no such step for it."""
        job = self._jobs.get(job_id)
        if job is None or (stage := MOVES.get((job.stage, verb))) is None:
            return False
        job.stage, job.expires_at, job.error = stage, None, error
        if stage is JobStage.SUCCEEDED and not job.offer.kind.reports_success:
            self._unreported.pop(job_id, None)
            del self._jobs[job_id]
        elif verb is not Verb.ASSIGN:
            self._unreported[job_id] = None
        return True

    def forget(self, job_id: str) -> bool:
        """Remove a job that was accepted and never assigned."""
        job = self._jobs.get(job_id)
        if job is None or job.stage is not JobStage.ACCEPTED:
            return False
        del self._jobs[job_id]
        return True

    def expire(self, now: float) -> list[Offer]:
        """Remove every accepted job whose assignment is overdue."""
        overdue = [
            job.offer
            for job in self._jobs.values()
            if job.expires_at is not None and job.expires_at <= now
        ]
        for offer in overdue:
            del self._jobs[offer.job_id]
        return overdue

    @property
    def next_expiry(self) -> float:
        """When `expire` has something to do, infinity if never."""
        return min(
            (job.expires_at for job in self._jobs.values() if job.expires_at is not None),
            default=float("inf"),
        )

    # -------------------------------------------------------- reports to the server

    def disconnected(self, kind: JobKind = ROOM_JOBS) -> None:
        """The connection of one kind closed.  The server forgot what we accepted there; the jobs
        that run are to be reported again."""
        for job_id, job in list(self._jobs.items()):
            if job.offer.kind is kind and job.stage is JobStage.ACCEPTED:
                del self._jobs[job_id]
            elif job.offer.kind is kind and job.stage is JobStage.RUNNING:
                self._unreported.setdefault(job_id)

    def take_unreported(self, kind: JobKind = ROOM_JOBS) -> list[tuple[str, JobStage, str]]:
        """Job id, stage and error of what the server must get now.  A job that ended leaves the
        book."""
        reports: list[tuple[str, JobStage, str]] = []
        for job_id in list(self._unreported):
            job = self._jobs[job_id]
            if job.offer.kind is not kind:
                continue
            reports.append((job_id, job.stage, job.error))
            del self._unreported[job_id]
            if job.stage in ENDED:
                del self._jobs[job_id]
        return reports
