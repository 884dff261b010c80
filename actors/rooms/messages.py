"""What the actors of a room and those around them say to each other.

The events of the room itself are `actors.session.events`; here is the rest.
"""

from __future__ import annotations

from typing import Any, Protocol

from attrs import frozen

from actors.journal.journal import Journal
from actors.rooms.room_port import RoomJob
from actors.runtime import Exit, Ref, ReplyTo
from actors.session import EndReason, SessionState, WebhookReport

# -- to a connection


@frozen
class LeaveRoom:
    """Go out of the room; the session ends for `reason` unless the server says another.

    `grace`: seconds to wait for the server's own word first.
    """

    reason: EndReason
    grace: float = 0.0
    session_stays_open: bool = False
    """The room lives on and its session with it, unwatched."""


@frozen
class RosterWanted:
    """The session has to compare itself with the room: offer it a `Resynced`."""


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
    """The manager has lost track of you: tell it `SessionReady` again."""


@frozen
class Snapshot:
    """Ask for the session as it is."""

    reply_to: ReplyTo[SessionState]


# -- to the manager


@frozen
class Assigned:
    """LiveKit gave us this job."""

    job: RoomJob


@frozen
class Terminated:
    """LiveKit wants this job ended.  A hint only: the room's own word may differ."""

    job_id: str


@frozen
class SessionReady:
    """The session of `key` runs, in its first or a later incarnation.

    `journal` is another one than before when the room began another life.
    """

    key: str
    session: Ref[Any]
    connection: Ref[LeaveRoom | RosterWanted]
    journal: Journal


@frozen
class RoomEntered:
    """The connection of `key` is in the room."""

    key: str


@frozen
class RoomGroupEnded:
    """Nothing of the room's actors runs any more."""

    key: str
    end: Exit


@frozen
class Recovered:
    """What the archive kept of earlier runs is in the book (`Book.found`)."""


@frozen
class RoomsVanished:
    """LiveKit does not have these rooms any more: their sessions are over, and where we are
    still in one, nothing will come from it."""

    at: float
    """Unix seconds when LiveKit was asked."""
    room_sids: frozenset[str]


@frozen
class GiveUp:
    """Leave this room, which nobody is in, so that another one has its place."""

    room_sid: str


@frozen
class WebhookReceived:
    """One of LiveKit's webhooks told this of a room, whether we watch it or not."""

    room: str
    room_sid: str
    event: WebhookReport


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
class RoomList:
    """The answer to `ListRooms`."""

    live: tuple[LiveRoom, ...]
    """Rooms whose sessions can be asked."""
    ended: tuple[SessionState, ...]
    """Sessions that ended, oldest first; very old ones are in the summary only."""
    ended_count: int
    """How many ended in this run, the very old ones too."""


@frozen
class ListRooms:
    """Ask for every room of this run."""

    reply_to: ReplyTo[RoomList]


class JobReports(Protocol):
    """What LiveKit has to hear about jobs; the worker fills it."""

    def job_running(self, job_id: str) -> None:
        """We are in the room."""
        ...

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        """It is over: a success, or a failure because of `error`."""
        ...

    def capacity(self, active: int) -> None:
        """How many rooms are held, those still being left included."""
        ...

    async def flush(self) -> None:
        """Wait until what was told is written, or cannot be."""
        ...
