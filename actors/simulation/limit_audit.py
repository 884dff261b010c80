"""Watches whom limits remove, against the truth of the rooms.

The law: nobody is removed while somebody who came later than they did could have been removed in
their place, and nobody but people is.  So whoever goes has at least as many people before them as
the limit allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import final

from actors.rules.limits import Limit, PresentPerson, by_join
from actors.session.participant import COUNTED_KINDS
from actors.session.sighting import join_of
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom


def limits_of_plan(people: int) -> tuple[Limit, ...]:
    """The limits of a program in a plan; none for 0."""
    return (Limit("drawn", ("*",), people=people),) if people else ()


def counted_people(room: SimulatedRoom) -> list[PresentPerson]:
    """The people who count, in truth, by the order of their joins."""
    return by_join(
        PresentPerson(one.identity, one.sid, one.joined_at)
        for one in room.people.values()
        if counts(one)
    )


def counts(person: SimulatedPerson) -> bool:
    info = person.info()
    ringing = join_of(info, info.joined_at, answer_observed=True).ringing
    return not person.hidden and info.kind in COUNTED_KINDS and not ringing


@final
class LimitAudit:
    """Everybody whom a limit of people removed."""

    def __init__(self, limits: Callable[[], Sequence[Limit]]) -> None:
        self._limits = limits
        self.broken: list[str] = []
        self.removals = 0

    def on_remove(self, room: SimulatedRoom, person: SimulatedPerson) -> None:
        """Somebody is about to be removed."""
        bounds = [most for _, most in self._bounds(room)]
        if not bounds:
            return
        self.removals += 1
        if not counts(person):
            self.broken.append(f"{person.identity} of {room.name} does not count, and goes")
            return
        place = [one.sid for one in counted_people(room)].index(person.sid)
        if place < min(bounds):
            self.broken.append(
                f"{person.identity} of {room.name} goes as number {place + 1} of {min(bounds)}"
            )

    def _bounds(self, room: SimulatedRoom) -> Iterator[tuple[Limit, int]]:
        for limit in self._limits():
            if limit.people is not None and limit.watches(room.name):
                yield limit, limit.people

    def excess(self, room: SimulatedRoom) -> str | None:
        """What is beyond a limit in this room, after everything had its time."""
        people = counted_people(room)
        for limit, most in self._bounds(room):
            if limit.over == "remove-newest" and len(people) > most:
                return f"{room.name} has {len(people)} people, at most {most}"
        return None
