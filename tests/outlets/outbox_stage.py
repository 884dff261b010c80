"""An outbox in virtual time: entries that become durable, and a receiver that obeys a test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from attrs import define, field

from actors.journal.feed import FeedEntry, FeedPage, Position
from actors.outlets.outbox import Outbox
from actors.outlets.outlet_counts import OutletCounts
from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from actors.outlets.subscription import Subscription
from actors.session import TimelineEntry
from actors.simulation.simulated_outbox import SimulatedOutbox

T0: Final = 1.7e9
WELL: Final = Attempt(AttemptResult.DELIVERED, status=200)
BROKEN: Final = Attempt(AttemptResult.FAILED, "nobody listens there")
REFUSED: Final = Attempt(AttemptResult.FAILED, "status 500", 500)


class ScriptedFeed:
    """Fills `actors.journal.feed.Feed`: each entry is a batch of its own."""

    def __init__(self) -> None:
        self.changed = trio.Event()
        self.entries: list[FeedEntry] = []
        self.dropped = 0
        """Entries that the store does not have any more."""
        self._sequences: defaultdict[str, int] = defaultdict(int)

    def add(self, session: str, event: str = "track_muted", **data: Any) -> None:
        number, seq = len(self.entries) + 1, self._sequences[session]
        self._sequences[session] += 1
        entry = TimelineEntry(T0 + trio.current_time(), event, data)
        self.entries.append(
            FeedEntry(Position.at(number, 1), f"room-{session}", session, entry, session, seq, 0)
        )
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def drop_before(self, time: float) -> None:
        """Drop entries as pruning does.  `time` is trio's."""
        while self.dropped < len(self.entries):
            if self.entries[self.dropped].entry.at >= T0 + time:
                break
            self.dropped += 1

    async def newest(self) -> Position:
        await trio.lowlevel.checkpoint()
        return Position.at(len(self.entries) + 1, 0)

    async def after(self, position: Position, limit: int) -> FeedPage:
        await trio.lowlevel.checkpoint()
        found = [one for one in self.entries[self.dropped :] if not one.position <= position]
        return FeedPage(tuple(found[:limit]), gap=position.place()[0] <= self.dropped > 0)


@define(eq=False)
class Receiver:
    """Fills `actors.outlets.outlet_port.Sender`, and knows what it took."""

    answer: Callable[[Delivery], Attempt] = lambda _: WELL
    took: list[Delivery] = field(factory=list[Delivery])
    times: list[float] = field(factory=list[float])
    attempts: int = 0
    slow: float = 0.0
    """Seconds an answer takes."""
    closed: int = 0

    async def send(self, delivery: Delivery) -> Attempt:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        if self.slow:
            await trio.sleep(self.slow)
        attempt = self.answer(delivery)
        if attempt.delivered:
            self.took.append(delivery)
            self.times.append(trio.current_time())
        return attempt

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed += 1

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.took]

    def of(self, session: str) -> list[int]:
        """The numbers of the records of one session, as they came."""
        return [one.sequence >> 16 for one in self.took if one.session == session]


@define(eq=False)
class Stage:
    """The parts that outlive a run of the outbox."""

    feed: ScriptedFeed = field(factory=ScriptedFeed)
    store: SimulatedOutbox = field(factory=SimulatedOutbox)
    receiver: Receiver = field(factory=Receiver)
    said: list[tuple[str, dict[str, Any]]] = field(factory=list[tuple[str, dict[str, Any]]])
    summaries: dict[str, Mapping[str, Any]] = field(factory=dict[str, Mapping[str, Any]])
    counts: OutletCounts = field(factory=OutletCounts)

    async def _summary(self, session: str) -> Mapping[str, Any] | None:
        await trio.lowlevel.checkpoint()
        return self.summaries.get(session)

    def _announce(self, event: str, /, **fields: Any) -> None:
        self.said.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.said]

    @asynccontextmanager
    async def run(self, *events: str) -> AsyncGenerator[None]:
        """One run; it ends with the block as a crash would end it."""
        self.counts = OutletCounts()
        outbox = Outbox(
            "crm",
            Subscription(events or ("*",)),
            self.receiver,
            self.store,
            self.feed,
            summary=self._summary,
            clock=lambda: T0 + trio.current_time(),
            announce=self._announce,
            counts=self.counts,
            rng=random.Random(1),
            look=600.0,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()
