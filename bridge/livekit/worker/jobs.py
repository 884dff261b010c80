"""The book of our jobs: what we promised LiveKit, what we hold, and what it must still hear.

It outlives the websocket.  The server forgets a worker's jobs with its socket, the
rooms go on regardless, so each new connection tells them again.

A job's life is this table; a verb that is not in it for a job's stage does nothing,
which is what makes an end be told once and never both ways::

    accept ─▶ ACCEPTED ─assign─▶ ASSIGNED ─run─▶ RUNNING ─succeed─▶ SUCCEEDED
                 │ forget            └──────succeed, fail──┴─fail──▶ FAILED
                 ▼
                (gone: the assignment did not come within its time, or the socket went)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Final

from attrs import Factory, define, field, frozen


class JobStage(Enum):
    """Where a job stands between LiveKit and us."""

    ACCEPTED = auto()
    """We said yes and hold a place for it; the server may still choose another worker."""
    ASSIGNED = auto()
    """Ours; the room is being entered."""
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()


class Verb(Enum):
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

HELD: Final = frozenset({JobStage.ASSIGNED, JobStage.RUNNING})
"""The stages in which a job is ours and takes a place."""

MOST_JOBS_OF_ROOM: Final = 20
"""Jobs for one room that we hold or are promised.  They share a place, so it bounds them; a
room has one job, and few more after outages or where somebody dispatches on purpose."""

LONGEST: Final = 1_024
"""Characters of an id, and of the name of a room (LiveKit's own limit is 256)."""

LONGEST_TOKEN: Final = 256 << 10
"""Characters of a job's token, which carries our attributes."""

UNDER_WAY: Final = frozenset({JobStage.ACCEPTED, JobStage.ASSIGNED})

ENDED: Final = frozenset({JobStage.SUCCEEDED, JobStage.FAILED})


@frozen
class Offer:
    """What LiveKit says of a job when it asks whether we take it."""

    job_id: str
    room: str
    room_sid: str
    dispatch_id: str
    created_at: float | None
    """Unix seconds of the room's creation."""
    explicit: bool = False
    """Somebody dispatched us on purpose, no reconciler did."""

    @property
    def room_key(self) -> str:
        """The room's SID; its name where the offer told no SID (servers are that old)."""
        return self.room_sid or self.room


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
        """Whether a room of this name gets them."""
        return fnmatchcase(room, self.pattern)


def _none() -> int:
    return 0


@define(eq=False)
class JobBook:
    """Every job between our yes and the moment LiveKit heard of its end."""

    max_rooms: int
    """Places."""
    stragglers: Callable[[], int] = _none
    """Connections to rooms that are not ours any more and are not closed yet: each takes
    a place still, and the open files of one."""
    reserve: Reserve = Factory(Reserve)
    draining: bool = False
    """No new job is taken any more."""
    _jobs: dict[str, Job] = field(factory=dict[str, Job], init=False)
    _untold: dict[str, None] = field(factory=dict[str, None], init=False)
    """Jobs whose stage the server has not heard on this connection, in order."""
    _active: int = field(default=0, init=False)

    # ------------------------------------------------------------------ places

    def count_active(self, places: int) -> None:
        """Say how many rooms are watched, as whoever watches them counts them.

        That can be more than there are jobs: a room whose job is over and whose session
        is still being closed.
        """
        self._active = places

    @property
    def used(self) -> int:
        """Places that are taken or promised."""
        held, promised = set[str](), set[str]()
        for job in self._jobs.values():
            # A second job for a room takes no second place.
            rooms = held if job.stage in HELD else promised
            if job.stage not in ENDED:
                rooms.add(job.offer.room_key)
        return max(self._active, len(held)) + self.stragglers() + len(promised - held)

    @property
    def free(self) -> int:
        """Places for which another job can be taken now."""
        return 0 if self.draining else max(0, self.max_rooms - self.used)

    @property
    def full(self) -> bool:
        return self.used >= self.max_rooms

    def kept_from(self, room: str) -> int:
        """Places that a room of this name must leave free, because they are reserved."""
        if not self.reserve.places or self.reserve.fits(room):
            return 0
        taken = {
            job.offer.room_key
            for job in self._jobs.values()
            if job.stage not in ENDED and self.reserve.fits(job.offer.room)
        }
        return max(0, self.reserve.places - len(taken))

    def has_place_for(self, room: str) -> bool:
        return self.used + self.kept_from(room) < self.max_rooms

    # ------------------------------------------------------------------- jobs

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    @property
    def held(self) -> tuple[str, ...]:
        """The ids of the jobs that are ours now."""
        return tuple(job_id for job_id, job in self._jobs.items() if job.stage in HELD)

    @property
    def under_way(self) -> int:
        """Jobs that we hold or were promised and whose rooms are not entered yet."""
        return sum(job.stage in UNDER_WAY for job in self._jobs.values())

    def rooms(self, but: str = "") -> frozenset[str]:
        """The keys of the rooms for which we hold or were promised a job other than `but`."""
        return frozenset(
            job.offer.room_key
            for job_id, job in self._jobs.items()
            if job_id != but and job.stage not in ENDED
        )

    def has_many_for(self, room_key: str) -> bool:
        """Whether a room has as many jobs of ours as there may be."""
        count = sum(job.offer.room_key == room_key for job in self._jobs.values())
        return count >= MOST_JOBS_OF_ROOM

    def accept(self, offer: Offer, expires_at: float) -> None:
        """Hold a place for `offer` until its assignment comes.  Saying it twice is once."""
        self._jobs[offer.job_id] = Job(offer, JobStage.ACCEPTED, expires_at)

    def move(self, job_id: str, verb: Verb, error: str = "") -> bool:
        """Take a job one step along `MOVES`; False if there is no such step for it."""
        job = self._jobs.get(job_id)
        if job is None or (stage := MOVES.get((job.stage, verb))) is None:
            return False
        job.stage, job.expires_at, job.error = stage, None, error
        if verb is not Verb.ASSIGN:
            self._untold[job_id] = None
        return True

    def forget(self, job_id: str) -> bool:
        """Give up a job that was accepted and never assigned."""
        job = self._jobs.get(job_id)
        if job is None or job.stage is not JobStage.ACCEPTED:
            return False
        del self._jobs[job_id]
        return True

    def expire(self, now: float) -> list[Offer]:
        """Give up every acceptance whose assignment is overdue."""
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

    # ------------------------------------------------------------- what is told

    def disconnected(self) -> None:
        """The server forgot what we promised it; what we hold is told it again."""
        for job_id in [i for i, job in self._jobs.items() if job.stage is JobStage.ACCEPTED]:
            del self._jobs[job_id]
        for job_id, job in self._jobs.items():
            if job.stage is JobStage.RUNNING:
                self._untold.setdefault(job_id)

    @property
    def all_told(self) -> bool:
        return not self._untold

    def take_untold(self) -> list[tuple[str, JobStage, str]]:
        """Job id, stage and error of what the server must hear now; an end leaves the book."""
        told: list[tuple[str, JobStage, str]] = []
        for job_id in self._untold:
            job = self._jobs[job_id]
            told.append((job_id, job.stage, job.error))
            if job.stage in ENDED:
                del self._jobs[job_id]
        self._untold.clear()
        return told
