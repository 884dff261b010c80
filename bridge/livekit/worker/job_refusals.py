"""Why an offered job is refused: `REFUSALS`, a table that is examined in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from livekit.protocol import agent, models

from actors.monitoring.monitoring_request import wanted_identity
from bridge.livekit.worker.job_kinds import JobKind
from bridge.livekit.worker.jobs import MAX_NAME_LENGTH, Job, JobBook, JobStage, Offer

OUR_DISPATCH: Final = '{"by":"room-actors"}'
"""Metadata of the dispatches that a reconciler makes.  Their jobs carry it.  Such a job exists
only so that a room is watched; in a room that is watched already it is pointless.  A dispatch of
somebody else is never treated so."""


@frozen
class OfferedJob:
    """An offered job and the state in which it is examined."""

    job: agent.Job
    kind: JobKind
    """The kind for which the connection is registered."""
    book: JobBook

    @property
    def offer(self) -> Offer:
        """The job as the book has it."""
        return offer_of(self.job, self.kind)

    @property
    def known(self) -> Job | None:
        """The job in the book, if it was offered before."""
        return self.book.get(self.job.id)


@frozen
class JobRefusal:
    """A reason to refuse a job, and for whom."""

    reason: str
    """`{kind}` stands for the name of the connection's job kind."""
    applies: Callable[[OfferedJob], bool]
    for_all: bool = False
    """The job is over: LiveKit offers it to no other worker either."""
    quiet: bool = False
    """It is expected, and not worth a line of the log."""


REFUSALS: Final = (
    # Offered in the instant before the server reads that the worker is full.
    JobRefusal(
        "a placeholder takes no jobs", lambda offered: not offered.kind.takes_jobs, quiet=True
    ),
    JobRefusal("not a {kind} job", lambda offered: offered.job.type != offered.kind.type),
    JobRefusal("the job has no id", lambda offered: not offered.job.id),
    JobRefusal("the job has no room", lambda offered: not offered.job.room.name),
    JobRefusal(
        "the name or SID of its room is too long", lambda offered: _is_long(offered.job.room)
    ),
    JobRefusal(
        "the job has no participant, or one with a SID or an identity that is too long",
        lambda offered: (
            offered.kind.target == "participant"
            and not (
                0 < len(offered.job.participant.sid) <= MAX_NAME_LENGTH
                and 0 < len(offered.job.participant.identity) <= MAX_NAME_LENGTH
            )
        ),
    ),
    JobRefusal(
        "its metadata asks for another participant",
        lambda offered: (
            offered.kind.target == "participant"
            and wanted_identity(offered.job.metadata)
            not in (None, offered.job.participant.identity)
        ),
        quiet=True,
    ),
    JobRefusal("we already have it", lambda offered: _is_ours(offered.known)),
    JobRefusal(
        "its room is watched already",
        lambda offered: (
            offered.kind.target == "room"
            and is_for_watching(offered.job)
            and offered.job.room.sid in offered.book.keys(offered.kind, without=offered.job.id)
        ),
        for_all=True,
    ),
    JobRefusal("the worker is draining", lambda offered: offered.book.draining),
    JobRefusal(
        "its {kind} has too many jobs",
        lambda offered: offered.known is None and offered.book.has_many_for(offered.offer),
    ),
    JobRefusal(
        "the worker has too many {kind} jobs",
        lambda offered: offered.known is None and offered.book.has_all_of(offered.kind),
    ),
    JobRefusal(
        "all places are taken",
        lambda offered: _needs_place(offered) and offered.book.full,
    ),
    JobRefusal(
        "the places that are left are reserved",
        lambda offered: (
            _needs_place(offered) and not offered.book.has_place_for(offered.job.room.name)
        ),
    ),
)
"""In this order.  An offer that we accepted and that comes again is accepted again."""


def refusal_of(offered: OfferedJob) -> JobRefusal | None:
    """The first reason to refuse a job; None where it is accepted."""
    return next((refusal for refusal in REFUSALS if refusal.applies(offered)), None)


def offer_of(job: agent.Job, kind: JobKind) -> Offer:
    """The facts of an offered job, as the book keeps them."""
    room = job.room
    # Servers before 1.8 send whole seconds only.
    created_at = room.creation_time_ms / 1000 or float(room.creation_time)
    return Offer(
        job_id=job.id,
        room=room.name,
        room_sid=room.sid,
        dispatch_id=job.dispatch_id,
        created_at=created_at or None,
        explicit=not is_for_watching(job),
        kind=kind,
        participant_sid=job.participant.sid if kind.target == "participant" else "",
        participant_identity=job.participant.identity if kind.target == "participant" else "",
    )


def is_for_watching(job: agent.Job) -> bool:
    """True if a reconciler asked for this job, by a dispatch or a claim, and nobody else did."""
    return job.metadata == OUR_DISPATCH or not job.dispatch_id


def _is_long(room: models.Room) -> bool:
    return len(room.name) > MAX_NAME_LENGTH or len(room.sid) > MAX_NAME_LENGTH


def _is_ours(job: Job | None) -> bool:
    return job is not None and job.stage is not JobStage.ACCEPTED


def _needs_place(offered: OfferedJob) -> bool:
    return offered.kind.takes_place and offered.known is None
