"""The messages between the actors of rooms and the manager.

The events of a room itself are in `actors.session.events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from actors.journal.journal import Journal
from actors.rooms.room_port import RoomJob, SendOutcome
from actors.runtime import Exit, Ref, ReplyTo
from actors.session import EndReason, RoomEvent, SessionState, WebhookReport
from actors.session.agent_reports import AgentReport

# -- to a connection


@frozen
class LeaveRoom:
    """Leave the room.  The session ends for `reason`."""

    reason: EndReason
    session_stays_open: bool = False
    """The room goes on, and its session stays open, unwatched."""
    to_another: bool = False
    """Another worker goes on with the session: all of our jobs for the room are over."""


@frozen
class VerifyDispatch:
    """LiveKit has ended the job: leave the room if its dispatch was deleted."""


@frozen
class RosterWanted:
    """The session has to compare itself with the room: offer it a `Resynced`."""


@frozen
class MeasureVideo:
    """Ask for the frames that came of these videos since their subscription, by SID; the other
    videos need not be received.  Empty where nothing could be measured."""

    track_sids: frozenset[str]
    reply_to: ReplyTo[Mapping[str, int]]


@frozen
class SendRoomText:
    """Send a text stream from our connection.  Answered with the outcome."""

    text: str
    topic: str
    identities: tuple[str, ...]
    """Who gets it; empty for everybody."""
    reply_to: ReplyTo[SendOutcome]


ConnectionMessage: TypeAlias = (
    LeaveRoom | VerifyDispatch | RosterWanted | MeasureVideo | SendRoomText
)


# -- to a session


@frozen
class JobAttached:
    """Another job of ours is for the same room."""

    job_id: str


@frozen
class EndSession:
    """Nothing more will come from the room: end the session."""

    at: float
    reason: EndReason


@frozen
class ReannounceSession:
    """A new incarnation of the manager does not know this session: send `SessionReady` again."""


@frozen
class RulesDue:
    """Time has come to where it alone may decide something for a rule."""

    at: float
    """Unix seconds."""


@frozen
class Snapshot:
    """Ask for the session's state."""

    reply_to: ReplyTo[SessionState]


# -- to the manager


@frozen
class Assigned:
    """LiveKit gave us this job."""

    job: RoomJob


@frozen
class Terminated:
    """LiveKit has ended this job.  Only a hint: it does not say why."""

    job_id: str


@frozen
class SessionReady:
    """The session of `key` runs, in its first or a later incarnation.

    `journal` is another one than before if the next instance of the room began.
    """

    key: str
    session: Ref[Any]
    connection: Ref[ConnectionMessage]
    journal: Journal


@frozen
class RoomEntered:
    """The connection of `key` is in the room."""

    key: str


@frozen
class RoomGroupEnded:
    """No actor of the room runs any more."""

    key: str
    end: Exit


@frozen
class Recovered:
    """The sessions of earlier runs are in the table (`RoomTable.load`)."""


@frozen
class RoomsVanished:
    """LiveKit does not have these rooms any more.  Their sessions are over; a room that we are
    still in will send nothing."""

    at: float
    """Unix seconds when LiveKit was asked."""
    room_sids: frozenset[str]


@frozen
class GiveUp:
    """Leave this empty room, so that another one gets its place."""

    room_sid: str


@frozen
class HandOver:
    """Another worker goes on with the sessions of these rooms: leave the rooms, and give up the
    leases with the last batch."""

    room_sids: frozenset[str]


@frozen
class WebhookReceived:
    """A webhook of LiveKit reported this of a room.  We may watch the room or not."""

    room: str
    room_sid: str
    event: WebhookReport


@frozen
class Reported:
    """A part of this program reports something to a session: to its actor, or to the manager
    where none runs.  Answered with the state after it; not answered where the other one has it."""

    room_sid: str
    event: RoomEvent
    reply_to: ReplyTo[SessionState]


@frozen
class AgentUploaded:
    """An agent uploaded this about its job in a room, which we may watch or not."""

    room: str
    """Empty where the upload does not name it: then no session is made of it."""
    room_sid: str
    event: AgentReport


@frozen
class Drain:
    """End every session; answered when the last room is left."""

    reply_to: ReplyTo[None]


@frozen
class LiveRoom:
    """One live room as the manager knows it."""

    room: str
    room_sid: str
    session: Ref[Any]


@frozen
class ListedRooms:
    """The answer to `ListRooms`."""

    live: tuple[LiveRoom, ...]
    """Rooms whose sessions can be asked."""
    ended: tuple[SessionState, ...]
    """Sessions that ended, oldest first; very old ones are in the summary only."""
    ended_count: int
    """How many ended in this run, with the very old ones."""


@frozen
class ListRooms:
    """Ask for every room of this run."""

    reply_to: ReplyTo[ListedRooms]


class JobReports(Protocol):
    """Reports about jobs to LiveKit.  The worker implements it."""

    def job_running(self, job_id: str) -> None:
        """We are in the room."""
        ...

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        """The job is over: a success, or a failure because of `error`."""
        ...

    def capacity(self, active: int) -> None:
        """The number of rooms in the table, with those that are being left."""
        ...

    async def flush(self) -> None:
        """Wait until all reports are sent, or cannot be."""
        ...
