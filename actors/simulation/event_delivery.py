"""The way between a simulated room and its session, where events are doubled, swapped, late."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio
from attrs import evolve

from actors.rooms.room_port import OfferEvent, OpenRoom, RoomJob
from actors.runtime import sleep
from actors.session import (
    AttachmentReceived,
    DataReceived,
    Disconnected,
    Reconnected,
    Reconnecting,
    Resynced,
    RoomEvent,
    TracksMeasured,
    Watching,
)
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms

NEVER_REORDERED: Final = (Watching, Disconnected, Reconnecting, Reconnected, Resynced)
"""Events of the connection itself: the port promises their order."""

NEVER_DOUBLED: Final = (DataReceived, AttachmentReceived, TracksMeasured)


@final
class EventDelivery:
    """The faults of the next events of one room."""

    def __init__(self, nursery: trio.Nursery, done: Callable[[str], object]) -> None:
        self._nursery = nursery
        self._on_fault = done
        self.duplicate = 0
        """So many events will come twice.  Messages and measured windows never do: each counts."""
        self.reorder = 0
        """So many pairs of events will be swapped."""
        self.late = 0.0
        """Seconds by which the next event will be late."""
        self.stopped = False
        """No event arrives: they wait and come in a burst."""
        self._burst: list[tuple[OfferEvent, RoomEvent]] = []
        self._swapped: tuple[OfferEvent, RoomEvent] | None = None
        self._delayed: list[tuple[OfferEvent, RoomEvent]] = []

    def resume(self, at: float) -> bool:
        """Deliver the burst as if all of it was sent now.  True if events of the connection itself
        are in it."""
        self.stopped = False
        burst, self._burst = self._burst, []
        for offer, event in burst:
            offer(evolve(event, at=at))
        return any(isinstance(event, NEVER_REORDERED) for _, event in burst)

    def clear(self) -> None:
        self.stopped = False
        self._burst.clear()
        self.duplicate = self.reorder = 0
        self.late = 0.0
        self.flush()

    def flush(self) -> None:
        """Deliver all events that wait."""
        waiting, self._swapped = self._swapped, None
        if waiting is not None:
            waiting[0](waiting[1])
        delayed, self._delayed = self._delayed, []
        for offer, event in delayed:
            offer(event)

    def through(self, offer: OfferEvent) -> OfferEvent:
        """An `offer` with the faults of this delivery."""

        def send(event: RoomEvent) -> None:
            if self.stopped and not isinstance(event, Watching):
                # The port promises that a room is entered with `Watching`, whatever comes later.
                self._burst.append((offer, event))
            elif isinstance(event, NEVER_REORDERED):
                self.flush()
                offer(event)
            elif self.late:
                self._nursery.start_soon(self._send_later, self.late, (offer, event))
                self.late = 0.0
                self._on_fault("late")
            elif self.reorder and self._swapped is None:
                self.reorder -= 1
                self._swapped = (offer, event)
            else:
                offer(event)
                if self._swapped is not None:
                    self._on_fault("reorder")
                    self.flush()
                if self.duplicate and not isinstance(event, NEVER_DOUBLED):
                    self.duplicate -= 1
                    self._on_fault("duplicate")
                    offer(event)

        return send

    async def _send_later(self, seconds: float, delayed: tuple[OfferEvent, RoomEvent]) -> None:
        self._delayed.append(delayed)
        await sleep(seconds)
        if delayed in self._delayed:
            self._delayed.remove(delayed)
            if self.stopped:
                self._burst.append(delayed)
            else:
                delayed[0](delayed[1])


@final
class DelayedRooms:
    """A `RoomPort`: simulated rooms, each behind its delivery.

    Tells of every room that is entered, and once nobody is in it any more.
    """

    def __init__(
        self,
        rooms: SimulatedRooms,
        wired: Callable[[str, OfferEvent], OfferEvent],
        entered: Callable[[SimulatedRoom], object],
        left: Callable[[SimulatedRoom], object],
    ) -> None:
        self._rooms = rooms
        self._through_delivery = wired
        self._entered = entered
        self._left = left

    @asynccontextmanager
    async def open(self, job: RoomJob, offer: OfferEvent) -> AsyncGenerator[OpenRoom, None]:
        room: SimulatedRoom | None = None
        over = False

        def offer_inside(event: RoomEvent) -> None:
            # A stopped delivery still has events when the visit ends; a real port sends none then.
            if not over:
                offer(event)

        try:
            delayed_offer = self._through_delivery(job.room, offer_inside)
            async with self._rooms.open(job, delayed_offer) as watcher:
                room = self._rooms.room(job.room)
                self._entered(room)
                yield watcher
        finally:
            over = True
            if room is not None:
                self._left(room)
