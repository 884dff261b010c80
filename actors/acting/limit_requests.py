"""The acts of limits as requests, and the look at the server's own list before them.

The room announces somebody who publishes nothing up to 3 s late, joins and leaves alike.  So a
session may count somebody who has left, and would have the newest person go for it.  Before
somebody is removed or put on hold, the server's list is asked, which is right at once.  Only
somebody who is beyond the limit in the session and in the list is acted on.

One list is enough for all decisions that were made before it was asked for: in a storm of joins
there are few lists and many removals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

import trio
from attrs import define, field

from actors.acting.act_requests import (
    ACT_KINDS,
    LEFT,
    ActKind,
    ActRequest,
    send_text,
    tell_person,
)
from actors.journal.process_ports import Clock
from actors.rooms.room_control import RoomControl, RoomControlError
from actors.rules.limits import Limit, PresentPerson
from actors.session import Permissions, SessionState
from actors.session.rule_state import HOLD, RELEASE, OpenAct

WITHIN: Final = "not needed: within the limit by the server's list"
LOOKED_AT: Final = frozenset({"remove", HOLD})
MOST_LISTS: Final = 1_000
"""Rooms whose list is remembered."""


def _message(request: ActRequest) -> str:
    return request.act.message if isinstance(request.act, Limit) else ""


async def _remove(request: ActRequest) -> str:
    await tell_person(request, _message(request))
    await request.control.remove(request.room, request.on)
    return "removed"


async def _hold(request: ActRequest) -> str:
    await tell_person(request, _message(request))
    await request.control.set_permissions(
        request.room, request.on, Permissions(can_publish=False, can_publish_data=False)
    )
    return "permissions taken"


async def _mute(request: ActRequest) -> str:
    await tell_person(request, _message(request))
    await request.control.mute(request.room, request.on, request.open_act.plan.sid)
    return "muted"


async def _send(request: ActRequest) -> str:
    return await send_text(request, _message(request))


LIMIT_KINDS: Final[Mapping[str, ActKind]] = {
    "remove": ActKind(_remove, not_found=LEFT),
    "mute": ActKind(_mute, not_found=LEFT),
    "send": ActKind(_send, repeatable=False),
    "end_room": ACT_KINDS["end_room"],
    HOLD: ActKind(_hold, not_found=LEFT),
    RELEASE: ACT_KINDS[RELEASE],
}
"""By the word of the act."""


@define
class _RoomList:
    """The newest list of one room."""

    asked_at: float = float("-inf")
    """Seconds of trio: a list of before the clock was set back is not a new one."""
    people: Sequence[PresentPerson] = ()
    lock: trio.Lock = field(factory=trio.Lock)


@final
class PeopleLists:
    """The server's lists of people, each asked for once for many acts."""

    def __init__(self, control: RoomControl, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._lists: dict[str, _RoomList] = {}

    async def since(self, room: str, at: float) -> Sequence[PresentPerson]:
        """A list that was asked for at `at` (seconds of trio) or later.  Raises
        `RoomControlError`."""
        of = self._lists.pop(room, None) or _RoomList()
        self._lists[room] = of
        if len(self._lists) > MOST_LISTS:
            del self._lists[next(iter(self._lists))]
        async with of.lock:
            if of.asked_at < at:
                asked_at = trio.current_time()
                of.people = await self._control.people(room)
                of.asked_at = asked_at
            return of.people

    async def look(
        self, state: SessionState, act: OpenAct, limit: Limit, since: float
    ) -> tuple[bool, str] | None:
        """The result of an act that needs no request; None if the act is still wanted.  `since`:
        seconds of trio at which it was to be done; an older list says nothing about it."""
        if act.plan.act not in LOOKED_AT:
            return None
        try:
            people = await self.since(state.room, since)
        except RoomControlError:
            return None  # The request itself has its own errors.
        for place, person in enumerate(people):
            if person.sid == act.plan.sid:
                beyond = is_beyond(limit, place, person, state, self._clock())
                return None if beyond else (False, WITHIN)
        return True, LEFT


def is_beyond(
    limit: Limit, place: int, person: PresentPerson, state: SessionState, now: float
) -> bool:
    """True if somebody is beyond a bound of `limit`, by their place in the order of joins."""
    began = state.started_at if state.created_at is None else state.created_at
    most_tracks = limit.tracks_per_person
    return (
        (limit.people is not None and place >= limit.people)
        or (limit.person_duration is not None and now >= person.joined_at + limit.person_duration)
        or (limit.duration is not None and now >= began + limit.duration)
        or (most_tracks is not None and _tracks(state, person) > most_tracks)
    )


def _tracks(state: SessionState, person: PresentPerson) -> int:
    """Tracks of somebody: the list has none, and the room announces them at once."""
    return sum(track.identity == person.identity for track in state.tracks.values())
