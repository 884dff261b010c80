"""Webhooks out of a simulated program: the production outbox, and what its laws compare."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, final

import trio

from actors.journal.feed import FeedEntry, Position
from actors.outlets.outbox import Outbox
from actors.outlets.outlet_counts import OutletCounts
from actors.outlets.subscription import DEFAULT_EVENTS, Subscription
from actors.runtime import (
    Backoff,
    ChildSpec,
    Intensity,
    Service,
    Supervisor,
    sleep,
)
from actors.simulation.people_actions import room_name
from actors.simulation.simulated_feed import SimulatedFeed
from actors.simulation.simulated_outbox import SimulatedOutbox
from actors.simulation.simulated_receiver import (
    RECEIVER_LAWS,
    SimulatedReceiver,
    SimulatedSender,
)

if TYPE_CHECKING:
    from actors.simulation.world import World

NAME: Final = "receiver"
OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)
NOT_WANTED: Final = room_name(1)
"""A room whose entries the endpoint does not want."""
LOOK: Final = 5.0
"""Seconds."""
LONG_LOOK: Final = 3600.0
"""The same after the last run, when days pass."""
ALL_ATTEMPTS: Final = 5 * 86_400.0
"""Seconds within which a delivery that failed is delivered or given up."""


@final
class SimulatedOutlets:
    """One endpoint, its outbox and its receiver.  It outlives the programs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.feed = SimulatedFeed(world.disk)
        self.store = SimulatedOutbox()
        self.receiver = SimulatedReceiver(
            lambda: self.store.of(NAME).disabled is not None, world.inject
        )
        self.subscription = Subscription(DEFAULT_EVENTS, rooms=("room-[!1]", "brief-*"))
        self._runs = 0
        self._taken_before_save = 0
        self._taken_before_that = 0
        """Before the save before: one goes on while the next deliveries are made."""
        self.store.on_save = self._note_save
        self._under_way = 0
        """Requests that came between the last save but one of an outbox and its end, of all."""

    def start(self, root: Supervisor) -> None:
        """Start the outbox under the root of a program."""
        root.start_child(
            ChildSpec(
                "outlet",
                lambda: Service(self._outbox(LOOK).run),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
            )
        )

    def _outbox(self, look: float, counts: OutletCounts | None = None) -> Outbox:
        world = self.world
        self._runs += 1
        self._under_way += len(self.receiver.taken) - self._taken_before_that
        return Outbox(
            NAME,
            self.subscription,
            SimulatedSender(self.receiver),
            self.store,
            self.feed,
            summary=_summary,
            clock=world.our_time,
            announce=world.announce,
            counts=counts,
            rng=random.Random(f"{world.plan.seed} outlet {self._runs}"),
            look=look,
        )

    def _note_save(self) -> None:
        self._taken_before_that = self._taken_before_save
        self._taken_before_save = len(self.receiver.taken)

    def enable(self) -> None:
        """As the command does."""
        of = self.store.of(NAME)
        if of.disabled is not None:
            of.enable(self.feed.position)
            self.receiver.enabled += 1

    def heal(self) -> None:
        self.receiver.heal()
        self.store.trouble, self.store.bug = 0, None
        self.enable()

    async def deliver_the_rest(self) -> None:
        """Run the outbox alone until nothing waits, as long as deliveries are retried."""
        self.heal()
        with trio.move_on_after(ALL_ATTEMPTS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outbox(LONG_LOOK).run)
                while not self._is_done:
                    await sleep(LONG_LOOK / 4)
                nursery.cancel_scope.cancel()

    @property
    def _is_done(self) -> bool:
        of, entries = self.store.of(NAME), self.feed.entries
        waits = any(not one.dead for one in of.parked.values())
        cursor = None if of.cursor is None else Position.parse(of.cursor)
        return not waits and cursor is not None and (not entries or entries[-1].position <= cursor)

    # -- the laws

    def broken_laws(self) -> dict[str, list[str]]:
        """What broke each law: empty lists if they hold."""
        receiver = self.receiver
        return {
            "webhooks arrive": self._lost(),
            "webhooks are wanted": self._not_wanted(),
            "webhooks are in order": self._disordered(),
            "webhooks come twice for a reason": self._doubled(),
            **{
                law: [what for which, what in receiver.violations if which == law]
                for law in RECEIVER_LAWS
            },
        }

    def _lost(self) -> list[str]:
        """Each durable entry that the endpoint wants must be taken."""
        taken, of = {one.id for one in self.receiver.taken}, self.store.of(NAME)
        lost = [
            f"{key} ({one.entry.event} of {one.room}) never came"
            for key, one in self._wanted()
            if key not in taken and of.wants(one.position)
        ]
        return lost + [f"{one} was given up" for one, row in of.parked.items() if row.dead]

    def _not_wanted(self) -> list[str]:
        """Nothing else may come."""
        wanted = {key for key, _ in self._wanted()}
        return [
            f"{one.id} ({one.event} of {one.room}) came"
            for one in self.receiver.taken
            if one.id not in wanted
        ]

    def _disordered(self) -> list[str]:
        """The deliveries of each session come in its order, each the first time."""
        newest, known, wrong = dict[str, int](), set[str](), list[str]()
        for one in self.receiver.taken:
            if one.id in known:
                continue
            known.add(one.id)
            session = one.id.partition("-")[0]
            if one.sequence <= newest.get(session, -1):
                wrong.append(f"{one.id} came after {newest[session]}")
            newest[session] = one.sequence
        return wrong

    def _doubled(self) -> list[str]:
        """What comes twice was under way: its answer was lost, or the run ended in its page."""
        receiver = self.receiver
        twice = len(receiver.taken) - len({one.id for one in receiver.taken})
        most = receiver.unanswered + self._under_way
        return [f"{twice} came twice, {most} may"] if twice > most else []

    def _wanted(self) -> Iterator[tuple[str, FeedEntry]]:
        for one in self.feed.entries:
            if self.subscription.wants_entry(one.room, one.entry):
                yield f"{one.session}-{one.seq}-{one.index}", one


async def _summary(session: str) -> Mapping[str, Any] | None:
    await trio.lowlevel.checkpoint()
    return {"id": session}
