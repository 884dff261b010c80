"""The events of the worker protocol: the meaning of a server's message, or of passed time."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from actors.rooms.room_port import RoomJob
from bridge.livekit.worker.jobs import Offer


@frozen
class Registered:
    """The server accepted our registration."""

    worker_id: str
    server_version: str


@frozen
class JobOffered:
    """An offer that we could accept.  It waits for `WorkerProtocol.answer`."""

    offer: Offer


@frozen
class JobAccepted:
    """We accepted an offer; its assignment may follow."""

    job_id: str
    room: str


@frozen
class JobRefused:
    """We refused an offer."""

    job_id: str
    room: str
    job_type: str
    reason: str


@frozen
class JobAssigned:
    """A job is ours."""

    job: RoomJob


@frozen
class AssignmentRejected:
    """An assignment that we cannot use.  The server gets the report that the job failed."""

    job_id: str
    reason: str


@frozen
class AssignmentOverdue:
    """We accepted an offer and its assignment did not come.  The server chose another worker, or
    got our answer too late."""

    job_id: str
    room: str


@frozen
class JobTerminated:
    """The server wants the job to end.  This is only a hint: sometimes it never comes
    (docs/livekit-facts.md)."""

    job_id: str
    room: str


@frozen
class Malformed:
    """A frame that is not a message of this protocol."""

    size: int
    error: str


@frozen
class Unexpected:
    """A message without meaning here: its type is unknown, or the state is wrong."""

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
    """The server sent nothing for too long: the connection is to be closed."""

    seconds: float


Event: TypeAlias = (
    Registered
    | JobOffered
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
