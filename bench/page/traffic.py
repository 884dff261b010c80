"""The people's actions in the rooms: a conversation each, at a steady rate, each at its time.

The clock of the rooms is the time at which something *should* happen.  So where the loop is
late in making it happen, that counts as lag, as it would with the SDK, whose callbacks come
from threads of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from typing import Final, final

import trio

from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms

NAMES: Final = ("alice", "bob", "carol")
PROBES: Final = 2.0
"""A second, in a different room each: somebody's name becomes the time."""
AT_ONCE: Final = 200
"""Events made before others get their turn, where they are late."""


@final
class Clock:
    """Unix seconds at which what happens now should happen."""

    def __init__(self) -> None:
        self.due = time.time()

    def __call__(self) -> float:
        return self.due


@final
class Conversation:
    """Three people in a room."""

    def __init__(self, room: SimulatedRoom) -> None:
        self.room = room
        self._people = [room.join(name) for name in NAMES]
        self._microphones = [person.publish("microphone") for person in self._people]
        self._people[0].publish("camera")

    @property
    def quiet(self) -> SimulatedPerson:
        """Somebody who stays."""
        return self._people[1]

    def happen(self, number: int) -> None:
        """The nth event.  Of twenty: 11 changes of who speaks, 4 messages, 2 of a microphone,
        2 of quality, 1 of attributes; and once in a hundred carol leaves and is back."""
        step, turn = number % 20, number // 20
        alice, bob, carol = self._people
        if number % 100 == 99:
            carol.leave()
            self._people[2] = self.room.join(carol.identity)
            self._microphones[2] = self._people[2].publish("microphone")
        elif step % 5 == 3:
            bob.send_data(b'{"said": "something"}', topic="chat")
        elif step in (4, 14):
            (alice.mute if step == 4 else alice.unmute)(self._microphones[0])
        elif step in (6, 16):
            carol.quality("poor" if step == 6 else "excellent")
        elif step == 10:
            bob.set_attributes({"hand": str(turn)})
        else:
            self.room.speak((NAMES[number % 3],) if number % 2 else ())


@final
class Traffic:
    """All rooms."""

    def __init__(self, names: Sequence[str], rate: float) -> None:
        """`rate`: events a second in each room."""
        self.clock = Clock()
        self.rooms = SimulatedRooms(self.clock)
        self.probes: list[float] = []
        """Times of events that all browsers must show."""
        self._conversations = [Conversation(self.rooms.room(name)) for name in names]
        self._rate = rate

    async def talk(self) -> None:
        """Never ends."""
        total = self._rate * len(self._conversations)
        began = time.time()
        for number in count():
            due = began + number / total
            wait = due - time.time()
            if wait > 0 or number % AT_ONCE == 0:
                await trio.sleep(max(0.0, wait))
            self.clock.due = due
            turn, which = divmod(number, len(self._conversations))
            self._conversations[which].happen(turn)

    async def probe(self) -> None:
        """Never ends."""
        for number in count():
            await trio.sleep(1 / PROBES)
            at = self.clock.due = round(time.time(), 3)
            self.probes.append(at)
            room = self._conversations[number * 7_919 % len(self._conversations)]
            room.quiet.set_name(f"p{at:.3f}")
