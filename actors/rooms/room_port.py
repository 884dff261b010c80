"""The border between a session and a room: what a room connection must offer.

Two things fill this port: LiveKit's SDK (`bridge.livekit.rooms.livekit_rooms`) and the
simulated room (`actors.simulation.simulated_rooms`).  One contract suite in the tests runs
over both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeAlias

from attrs import field, frozen

from actors.session.events import RoomEvent
from actors.session.room_info import Roster


@frozen
class RoomJob:
    """One assignment from LiveKit: watch this room."""

    job_id: str
    room: str
    room_sid: str
    url: str
    token: str = field(repr=False)
    identity: str
    """Our own participant identity in the room."""
    created_at: float | None = None
    """Unix seconds of the room's creation at the server."""
    explicit: bool = False
    """Somebody dispatched us to this room on purpose: we stay even if it is empty."""
    spare_token: str = field(default="", repr=False)
    """Another token, for a server that refuses `token` although the room exists."""
    dispatch_id: str = ""
    participant_sid: str = ""
    """The participant whom the job is about; "" for a job about the room."""
    participant_identity: str = ""
    metadata: str = field(default="", repr=False)
    """The dispatch's metadata, as somebody wrote it."""


class RoomError(Exception):
    """A room could not be entered, or was lost.  The text says why and holds no secret."""


class RoomRefused(RoomError):
    """The server refused (bad or expired token, missing grant): the same try will fail again."""


class RoomUnreachable(RoomError):
    """The server could not be reached or did not answer in time: worth another try."""


OfferEvent: TypeAlias = Callable[[RoomEvent], object]
"""Takes an event at once: never raises, never waits.  Called on the trio thread."""


SendOutcome: TypeAlias = Literal["sent", "not sent", "unknown"]
"""The outcome of a text that we send.  `unknown`: it may have been sent, the SDK
did not answer in time or failed after it had taken the text."""


class OpenRoom(Protocol):
    """A room that we are in."""

    def roster(self) -> Roster:
        """Everybody who is in the room now.  Synchronous: nothing can happen in between."""
        ...

    async def video_frames(self, track_sids: frozenset[str]) -> Mapping[str, int]:
        """The frames that came of these videos since their subscription, by SID.

        From the first call on these videos are received, in their smallest layer, and others no
        more.  A track of which nothing came has 0.  Empty where nothing could be measured.  Takes
        milliseconds, at most a few seconds; never raises.
        """
        ...

    async def send_text(
        self, text: str, *, topic: str, identities: Sequence[str] = ()
    ) -> SendOutcome:
        """Send a text stream to everybody in the room, or to `identities`.

        A hidden participant's text has no sender.  Nothing is sent while the connection is down,
        or where our token does not allow it.  Takes milliseconds, at most a few seconds; never
        raises.
        """
        ...

    async def closed(self) -> str | None:
        """Wait until we are out of the room for good.  Gives the reason; None if none was given.

        By then `Disconnected` has been offered.
        """
        ...


class RoomPort(Protocol):
    """The way into rooms."""

    def open(self, job: RoomJob, offer: OfferEvent) -> AbstractAsyncContextManager[OpenRoom]:
        """Enter the room of `job`; leave it when the block ends, however it ends.

        On entry `Watching` has been offered and is the first event; nobody who was
        there, or came between the connection and the first callback, is missed or
        offered twice.  Raises `RoomRefused` or `RoomUnreachable`.  May be cancelled at
        any moment; a connection that was still being made is then closed as soon as
        it can be.
        """
        ...
