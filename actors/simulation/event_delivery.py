"""The way between a simulated room and its session, where events are doubled, swapped, late."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio
from attrs import evolve

from actors.rooms.room_port import Offer, OpenRoom, RoomJob
from actors.session import (
    AttachmentReceived,
    DataReceived,
    Disconnected,
    Reconnected,
    Reconnecting,
    Resynced,
    RoomEvent,
    Watching,
)
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms

KEPT_IN_PLACE: Final = (Watching, Disconnected, Reconnecting, Reconnected, Resynced)
"""Events of the connection itself: the port promises their order."""


@final
class EventDelivery:
    """What will happen to the next events of one room."""

    def __init__(self, nursery: trio.Nursery, done: Callable[[str], object]) -> None:
        self._nursery = nursery
        self._done = done
        self.duplicate = 0
        """That many events will come twice.  Messages do not: each is one."""
        self.reorder = 0
        """That many pairs of events will be swapped."""
        self.late = 0.0
        """Seconds by which the next event will be late."""
        self.stopped = False
        """Nobody listens: what is sent waits, and comes in a burst."""
        self._burst: list[tuple[Offer, RoomEvent]] = []
        self._held: tuple[Offer, RoomEvent] | None = None
        self._delayed: list[tuple[Offer, RoomEvent]] = []

    def go_on(self, at: float) -> bool:
        """Let the burst come, as if all of it was sent now.  True where the connection itself
        is told of in it."""
        self.stopped = False
        burst, self._burst = self._burst, []
        for offer, event in burst:
            offer(evolve(event, at=at))
        return any(isinstance(event, KEPT_IN_PLACE) for _, event in burst)

    def clear(self) -> None:
        self.stopped = False
        self._burst.clear()
        self.duplicate = self.reorder = 0
        self.late = 0.0
        self.flush()

    def flush(self) -> None:
        """Let go of what was held back."""
        held, self._held = self._held, None
        if held is not None:
            held[0](held[1])
        delayed, self._delayed = self._delayed, []
        for offer, event in delayed:
            offer(event)

    def through(self, offer: Offer) -> Offer:
        """An `offer` that goes over this wire."""

        def send(event: RoomEvent) -> None:
            if self.stopped:
                self._burst.append((offer, event))
            elif isinstance(event, KEPT_IN_PLACE):
                self.flush()
                offer(event)
            elif self.late:
                self._nursery.start_soon(self._send_later, self.late, (offer, event))
                self.late = 0.0
                self._done("late")
            elif self.reorder and self._held is None:
                self.reorder -= 1
                self._held = (offer, event)
            else:
                offer(event)
                if self._held is not None:
                    self._done("reorder")
                    self.flush()
                if self.duplicate and not isinstance(event, DataReceived | AttachmentReceived):
                    self.duplicate -= 1
                    self._done("duplicate")
                    offer(event)

        return send

    async def _send_later(self, seconds: float, delayed: tuple[Offer, RoomEvent]) -> None:
        self._delayed.append(delayed)
        await trio.sleep(seconds)
        if delayed in self._delayed:
            self._delayed.remove(delayed)
            if self.stopped:
                self._burst.append(delayed)
            else:
                delayed[0](delayed[1])


@final
class DelayedRooms:
    """A `RoomPort`: simulated rooms, each behind its wire.

    Tells of every room that is entered, and once nobody is in it any more.
    """

    def __init__(
        self,
        rooms: SimulatedRooms,
        wired: Callable[[str, Offer], Offer],
        entered: Callable[[SimulatedRoom], object],
        left: Callable[[SimulatedRoom], object],
    ) -> None:
        self._rooms = rooms
        self._wired = wired
        self._entered = entered
        self._left = left

    @asynccontextmanager
    async def open(self, job: RoomJob, offer: Offer) -> AsyncGenerator[OpenRoom, None]:
        room: SimulatedRoom | None = None
        over = False

        def offer_inside(event: RoomEvent) -> None:
            # A stopped wire still has some when the visit ends, and no port says anything then.
            if not over:
                offer(event)

        try:
            async with self._rooms.open(job, self._wired(job.room, offer_inside)) as watcher:
                room = self._rooms.room(job.room)
                self._entered(room)
                yield watcher
        finally:
            over = True
            if room is not None:
                self._left(room)
