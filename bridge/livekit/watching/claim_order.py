"""The order in which workers claim a room, where no database says whose it is.

All workers compute the same order without a word between them: rendezvous hashing (highest random
weight, Thaler and Ravishankar 1998) of the room's SID and the workers' instance ids.  The first
worker of the order claims the room at once, each next one only after a longer delay, if the room
has no agent by then.  So two workers rarely claim the same room, rooms spread evenly, and a worker
that comes or goes changes the order of few rooms.

A worker learns of the others from the agents that it sees in rooms.  A worker without rooms is not
seen, so for a moment two may both count as the first; the inspection of own rooms settles that, and
from then on they know of each other.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

import trio
from attrs import define, field

FIRST_TURN: Final = 3.0
"""Seconds until the second worker claims.  The first one may list the rooms 1.5 s later than the
second, waits up to 0.5 s for a dispatch, and is listed in the room 0.5 s after its claim."""

NEXT_TURN: Final = 1.5
"""Seconds between the turns of the others."""

LONGEST_DELAY: Final = 15.0
"""Seconds after which anybody claims."""

REMEMBERED: Final = 600.0
"""Seconds for which a worker is in the order after an agent of it was seen."""

MISSED_TURNS: Final = 2
"""So many rooms that a worker did not claim in its turn, one after the other, take it out of the
order: it is dead or full."""

OUT_OF_ORDER: Final = 300.0
"""Seconds for which it is out of the order then, if it gets no room before."""

MOST_KNOWN: Final = 1000
"""Workers that are remembered."""

FIRST_CLAIMS: Final = 2
"""Rooms that a worker claims at first, where many are to be claimed, and it knows of no other
worker, or has no room, so that no other knows of it.  It begins with the rooms for which it has the
highest weight.  Other workers see its agents then."""

FIRST_LOOK: Final = 1.0
"""Seconds until it claims the others."""


def weight(room_sid: str, instance: str) -> int:
    """The weight of a worker for a room.  The worker with the highest one is the first."""
    return int.from_bytes(blake2b(f"{room_sid}\0{instance}".encode(), digest_size=8).digest())


def before(room_sid: str, instance: str, others: Collection[str]) -> list[str]:
    """The workers of `others` that come before `instance` in the order for this room."""
    own = weight(room_sid, instance), instance
    return [other for other in others if (weight(room_sid, other), other) > own]


def claim_delay(place: int, *, many: bool = False) -> float:
    """Seconds for which a room must be unwatched until the worker at this place claims it.

    The first place is 0.  Where `many` rooms wait, each worker needs longer for its own.
    """
    if place == 0:
        return 0.0
    delay = FIRST_TURN + NEXT_TURN * (place - 1)
    return min(LONGEST_DELAY, 2 * delay if many else delay)


@define
class _Known:
    """The knowledge of one worker about another one.  Times are on trio's clock unless said."""

    seen_at: float
    joined_at: float
    """When its newest agent joined; Unix seconds on the server's clock."""
    missed: int = 0
    out_until: float = float("-inf")


@define(eq=False)
class KnownWorkers:
    """The other workers whose agents were seen in rooms."""

    instance: str
    _known: dict[str, _Known] = field(factory=dict[str, _Known], init=False)

    def note(self, instance: str, joined_at: float) -> None:
        """An agent of this worker is in a room, which it entered then."""
        now = trio.current_time()
        if instance == self.instance or not instance:
            return
        if instance not in self._known and len(self._known) >= MOST_KNOWN:
            return
        known = self._known.setdefault(instance, _Known(now, joined_at))
        known.seen_at = now
        if joined_at > known.joined_at:
            # It takes rooms.
            known.joined_at, known.missed, known.out_until = joined_at, 0, float("-inf")

    def forget(self, instance: str) -> None:
        """This worker does not answer any more."""
        self._known.pop(instance, None)

    def note_missed(self, instance: str) -> None:
        """This worker did not claim a room in its turn."""
        known = self._known.get(instance)
        if known is None:
            return
        known.missed += 1
        if known.missed >= MISSED_TURNS:
            known.missed, known.out_until = 0, trio.current_time() + OUT_OF_ORDER

    def in_order(self) -> list[str]:
        """The workers that are in the order now, without ourselves."""
        now = trio.current_time()
        self._known = {
            instance: known
            for instance, known in self._known.items()
            if now - known.seen_at < REMEMBERED
        }
        return [instance for instance, known in self._known.items() if known.out_until <= now]

    def before_us(self, room_sid: str, left_by: Collection[str] = ()) -> list[str]:
        """The workers that claim this room before us.  `left_by` are workers that just left it."""
        others = [instance for instance in self.in_order() if instance not in left_by]
        return before(room_sid, self.instance, others)

    @property
    def any_known(self) -> bool:
        return bool(self.in_order())
