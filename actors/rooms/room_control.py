"""The port for acting on a room: remove, mute, permit, send, set metadata, end.

Two things fill it: LiveKit's server API (`bridge.livekit.livekit_room_control`) and the
simulated rooms (`actors.simulation.simulated_room_control`).  One contract suite in the tests runs
over both.

An act is a request to the server.  When it returns, the server has accepted it; the
room's events show its effect.  Every act can be repeated without harm.  Recording is a port of its
own (`actors.recording.egress_port`), with the same errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.rules.limits import PresentPerson
from actors.session import Permissions


class RoomControlError(Exception):
    """An act did not succeed.  The text says why and holds no secret."""


class ControlNotFound(RoomControlError):
    """There is no such room, room instance, participant, track or recording (any more).

    For a removal, an end or a stop this means that the wish is fulfilled.
    """


class ControlRefused(RoomControlError):
    """The server will not do it: a wrong argument or state, or our key may not.  The same
    request will be refused again."""


class ControlUnsupported(RoomControlError):
    """This server cannot do it, for example record without Redis."""


class ControlUnavailable(RoomControlError):
    """The server cannot be reached or cannot do it now: worth another try."""


class ControlTimedOut(ControlUnavailable):
    """No answer in time.  It is not known whether the act had its effect."""


class RoomControl(Protocol):
    """The actions on a room.  Every method may raise each `RoomControlError`."""

    async def remove(self, room: str, identity: str) -> None:
        """Disconnect somebody.  Their token goes on working: they may join again at once."""
        ...

    async def mute(self, room: str, identity: str, track_sid: str) -> None:
        """Mute somebody's track.  Nobody but they themselves can unmute it."""
        ...

    async def set_permissions(self, room: str, identity: str, permissions: Permissions) -> None:
        """Replace what somebody may do.  Without the permission to publish their tracks end at
        once; they stay in the room.  What else the server has of their permissions stays."""
        ...

    async def send(
        self, room: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        """Send a reliable data message to everybody in the room, or to `identities`.

        The server does not say who got it: to an identity that is not in the room it goes
        nowhere, without an error.
        """
        ...

    async def set_metadata(self, room: str, metadata: str) -> None:
        """Replace the room's metadata."""
        ...

    async def end(self, room: str, room_sid: str) -> None:
        """Delete this room instance: everybody is out.

        Another instance of the same name is left alone (`ControlNotFound`).  Anybody with a
        token can make the room anew.
        """
        ...

    async def people(self, room: str) -> Sequence[PresentPerson]:
        """The people in a room by the server's own list, the oldest join first; empty where there
        is no such room.

        The list has a join or a leave at once.  The room's own announcements of somebody who
        publishes nothing come up to 3 s later.  Agents, egress, ingress, hidden participants and
        calls that ring are left out.  A join whose media connection is not established yet counts.
        """
        ...
