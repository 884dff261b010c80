"""The room instance of a connection, through reconnects.

A server that was killed and came back lets us in again without notice.  The room is then a
new instance under its old name.  The SDK goes on showing the old SID until the server's next
update of the room.  That update comes 4 to 5 s later, or never where nobody else is there.

A participant who is present with the SID of before proves that the instance is the same.
Without one, the server is asked while its update is awaited.  If neither tells within
`SID_DEADLINE`, the instance counts as the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from livekit import rtc

from actors.rooms.room_port import RoomUnreachable
from bridge.livekit.rooms import sdk_values

SID_DEADLINE: Final = 8.0
"""Seconds to wait after a reconnect until the server tells which room instance this is."""
ASK_AGAIN: Final = 0.5
"""Seconds between two questions to the server."""

LookUp: TypeAlias = Callable[[str], Awaitable[str]]
"""The SID of the room instance that exists under this name, "" where there is none.  Raises
`RoomUnreachable` where the server does not answer."""


class InstanceTracker:
    """Knows the room's SID, and after a reconnect when it is certain.

    `announce` is called once for each reconnect, as soon as the instance is certain.
    """

    def __init__(
        self,
        room_name: str,
        room_sid: str,
        *,
        loop: asyncio.AbstractEventLoop,
        look_up: LookUp | None,
        announce: Callable[[], None],
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self._room_name = room_name
        self.room_sid = room_sid
        self._sdk_sid = ""
        """The room's SID as the SDK last showed it.  It may be of an earlier instance."""
        self._loop = loop
        self._look_up = look_up
        self._announce = announce
        self._fault = fault
        self.reconnecting = False
        """A reconnect has begun and was not announced as done."""
        self.participants: set[str] = set()
        """SIDs of the participants of this instance."""
        self._recheck: asyncio.TimerHandle | None = None
        """Runs while it is uncertain which instance we are back in."""

    @property
    def uncertain(self) -> bool:
        """We are back, and do not know in which instance."""
        return self._recheck is not None

    def current_sid(self, room: rtc.Room) -> str:
        """The room's SID.  The SDK may show an old one, so only a change of it counts."""
        shown = sdk_values.room_sid(room)
        if shown and shown != self._sdk_sid and not self.reconnecting:
            self._sdk_sid = self.room_sid = shown
        return self.room_sid

    def on_reconnecting(self) -> bool:
        """The connection broke.  True for the first time since the last announcement."""
        self.cancel_recheck()
        first = not self.reconnecting
        self.reconnecting = True
        return first

    def on_reconnected(self, room: rtc.Room) -> None:
        """Announce that we are back, as soon as the instance is certain."""
        self.cancel_recheck()
        if any(one.sid in self.participants for one in room.remote_participants.values()):
            self.confirm()
            return
        self._recheck = self._loop.call_later(SID_DEADLINE, self.confirm)
        if self._look_up is not None:
            trio.lowlevel.spawn_system_task(self._ask, self._look_up, self._recheck)

    def on_participant(self, sid: str) -> None:
        """A participant appeared."""
        if not self.reconnecting:
            self.participants.add(sid)
        elif self._recheck is not None and sid in self.participants:
            self.confirm()

    def confirm(self) -> None:
        """The instance is certain."""
        self.cancel_recheck()
        self.reconnecting = False
        self._announce()

    def cancel_recheck(self) -> None:
        if self._recheck is not None:
            self._recheck.cancel()
            self._recheck = None

    async def _ask(self, look_up: LookUp, recheck: asyncio.TimerHandle) -> None:
        """Ask the server for the SID, until it answers or the instance is certain."""
        with trio.move_on_after(SID_DEADLINE):
            while self._recheck is recheck:
                try:
                    sid = await look_up(self._room_name)
                except RoomUnreachable:
                    sid = ""
                except Exception as exc:  # noqa: BLE001  must not end the program
                    self._fault("look_up", exc)
                    return
                if sid and self._recheck is recheck:
                    self.room_sid = sid
                    self.confirm()
                    return
                await trio.sleep(ASK_AGAIN)
