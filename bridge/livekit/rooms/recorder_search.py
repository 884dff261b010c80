"""Participants who are recorders by their old grant, found through the server's list.

The SDK shows a participant with the old `recorder` grant as a person.  It also shows that the
room is being recorded while such a participant is there.  The server's list has the grants.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from livekit import rtc

from actors.rooms.room_port import RoomUnreachable
from actors.session.events import RoomEvent
from bridge.livekit.rooms import sdk_events, sdk_values

SEARCH_DEADLINE: Final = 20.0
"""Seconds in which the server is asked who of a room records.  The next occasion asks again."""
ASK_AGAIN: Final = 0.5
"""Seconds between two questions to a server that does not answer."""

ListRecorders: TypeAlias = Callable[[str], Awaitable[frozenset[str]]]
"""SIDs of the participants of the room of this name who have the `recorder` grant.  Raises
`RoomUnreachable` where the server does not answer."""


class RecorderSearch:
    """Offers a `RecorderDetected` for each recorder of one room.

    `clock` gives Unix seconds.  One question to the server is under way at a time.
    """

    def __init__(
        self,
        room_name: str,
        list_recorders: ListRecorders | None,
        *,
        offer: Callable[[RoomEvent], None],
        clock: Callable[[], float],
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self._room_name = room_name
        self._list_recorders = list_recorders
        self._offer = offer
        self._clock = clock
        self._fault = fault
        self._room: rtc.Room | None = None
        self._known: set[str] = set()
        """SIDs of the participants who were looked up."""
        self._searching = False

    def begin(self, room: rtc.Room) -> None:
        self._room = room
        self.search()

    def end(self) -> None:
        self._room = None

    def left(self, sid: str) -> None:
        self._known.discard(sid)

    def search(self) -> None:
        """Start a search, where somebody has not been looked up yet."""
        ask = self._list_recorders
        if ask is not None and not self._searching and self._unknown():
            self._searching = True
            trio.lowlevel.spawn_system_task(self._search, ask)

    def _unknown(self) -> set[str]:
        room = self._room
        if room is None or not room.is_recording:
            return set()
        people = room.remote_participants.values()
        return {one.sid for one in people if sdk_values.is_person(one)} - self._known

    async def _search(self, ask: ListRecorders) -> None:
        with trio.move_on_after(SEARCH_DEADLINE):
            while sids := self._unknown():
                try:
                    recorders = await ask(self._room_name)
                except RoomUnreachable:
                    await trio.sleep(ASK_AGAIN)
                    continue
                except Exception as exc:  # noqa: BLE001  must not end the program
                    self._fault("list_recorders", exc)
                    break
                self._known |= sids
                self._report(recorders & sids)
        self._searching = False

    def _report(self, sids: frozenset[str]) -> None:
        if self._room is None:
            return
        for one in tuple(self._room.remote_participants.values()):
            if one.sid in sids:
                self._offer(sdk_events.recorder_detected(one, self._clock()))
