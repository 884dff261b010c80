"""The actor of one endpoint: what it wants is sent at least once, in the order of each session.

It follows the feed of durable entries with a cursor.  An entry is sent as soon as it is read.  What
fails is parked on the disk; from then on later entries of that session are parked behind it, until
the first one was delivered or given up.  Other sessions go on.  The cursor is saved after each page
together with what was parked, so a `kill -9` at any moment loses nothing: the next run reads the
page again, and the receiver sees a few ids twice.

Two ladders say when something is tried again:

* `retry`: of one delivery, over three days, where the receiver answers and refuses it;
* `breaker`: of the endpoint, within a minute, where nothing arrives.  While it is open everything
  is parked unseen.  When a probe arrives, all that waits is due at once.

A probe of an endpoint that does not answer at all does not climb the ladder of its delivery.

The actor waits for receivers and for the disk, never a session for it.  Its memory is what
one read gives and the keys of the sessions that are blocked.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar, TypeVarTuple, final

import trio
from attrs import evolve

from actors.journal.archive import ArchiveTrouble
from actors.journal.feed import BadPosition, Feed, FeedEntry, Position
from actors.journal.process_ports import Announce, Clock
from actors.outlets.breaker import Breaker
from actors.outlets.outbox_port import OutboxStore, OutboxTrouble, OutletRow, Parked
from actors.outlets.outlet_counts import OutletCounts
from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery, Sender
from actors.outlets.retry import LADDER, next_delay
from actors.outlets.subscription import Subscription
from actors.runtime import sleep

PAGE: Final = 50
"""Entries between two saved cursors.  One is saved while the next entries are sent, so up to 100
may come twice after a crash."""
READ: Final = 500
"""Entries that are read from the feed at once: a read opens the store and unpacks whole batches."""
DRAIN: Final = 1_000
"""Parked deliveries that are read at once."""
DRAIN_PAGE: Final = 200
"""Of them, those whose results are saved at once, while the next ones are sent.  Twice as many may
come twice after a crash."""
DRAIN_SECONDS: Final = 30.0
"""A receiver that is slow gets what waits for so long; then the feed is looked at again."""
LATE: Final = 60.0
"""Seconds after which an entry is parked before it is sent.  The feed goes back only some minutes:
an outbox of a slow receiver must not fall behind it."""
LOOK: Final = 5.0
"""Seconds between two looks for what somebody changed from outside: sent again, enabled."""
TROUBLE_PAUSE: Final = 1.0
"""Seconds until the disk is tried again."""
ENTRIES_A_RECORD: Final = 1 << 16
"""The sequence of a delivery is its record's number times this, plus its place in the record: so it
ascends within a session, and stays the same however often the entry is read."""
LONGEST: Final = sum(LADDER) * 1.1
"""Seconds after which a delivery that still waits is given up, whatever its attempts."""

T = TypeVar("T")
Args = TypeVarTuple("Args")

Summary: TypeAlias = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The whole of a session by its id, None where it is not to be had."""


@final
class Outbox:
    """Run by an actor or a service under a supervisor; a crash goes on from the disk."""

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        sender: Sender,
        store: OutboxStore,
        feed: Feed,
        *,
        summary: Summary,
        clock: Clock,
        announce: Announce,
        counts: OutletCounts | None = None,
        rng: random.Random | None = None,
        look: float = LOOK,
    ) -> None:
        """`look`: seconds between two looks for what somebody changed from outside."""
        self.name = name
        self.counts = counts or OutletCounts()
        self._subscription = subscription
        self._sender = sender
        self._store = store
        self._feed = feed
        self._summary = summary
        self._clock = clock
        self._announce = announce
        self._rng = rng or random.Random()
        self._look_every = look
        self._breaker = Breaker()
        self._blocked: set[str] = set()
        self._unsent: tuple[FeedEntry, ...] = ()
        """Entries that were read and not seen to: those after the position."""
        self._caught_up = False
        """The last page was empty."""
        self._in_trouble = False
        """The last attempt failed."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._open()
        try:
            while True:
                changed = self._feed.changed
                moved = await self._drain()
                moved = await self._follow() or moved
                if not moved:
                    await self._wait(changed)
        finally:
            with trio.CancelScope(shield=True):
                await self._sender.aclose()

    # ------------------------------------------------------------ the two sources

    async def _open(self) -> None:
        row = await self._patiently(self._store.open, self.name)
        await self._take_row(row)
        if row.cursor is not None:
            try:
                self.counts.position = Position.parse(row.cursor)
            except BadPosition:
                self._announce("outlet_cursor_lost", outlet=self.name)
            else:
                return
        # A new endpoint begins with what happens from now on.
        self._caught_up = True
        self.counts.position = await self._patiently(self._feed.newest)
        await self._save(cursor=str(self.counts.position))

    async def _follow(self) -> bool:
        """Send or park the next entries; whether there were some."""
        await self._read()
        if not self._unsent:
            return False
        if self.counts.disabled is not None:
            # What became durable after somebody enabled the endpoint is delivered.
            await self._look()
        position = self.counts.position
        async with trio.open_nursery() as nursery:
            saved = trio.Event()
            saved.set()
            while self._unsent:
                page, self._unsent = self._unsent[:PAGE], self._unsent[PAGE:]
                parked = list[Parked]()
                for entry in page:
                    position |= entry.position
                    if self.counts.disabled is None and self._wants(entry):
                        late = await self._deliver_or_park(await self._delivery(entry))
                        if late is not None:
                            parked.append(late)
                await saved.wait()
                saved = trio.Event()
                nursery.start_soon(self._save_page, position, parked, saved)
        return True

    async def _save_page(
        self, position: Position, parked: Sequence[Parked], saved: trio.Event
    ) -> None:
        """Only this is repeated where the disk is in trouble: what was sent is not sent again."""
        await self._save(cursor=str(position), parked=parked)
        self.counts.position = position
        saved.set()

    async def _read(self) -> None:
        """Read the next entries from the feed."""
        page = await self._patiently(self._feed.after, self.counts.position, READ)
        # An endpoint that had everything a moment ago has missed nothing: only old batches went.
        if page.gap and not self._caught_up and not self.counts.behind:
            self.counts.behind = True
            self._announce("outlet_behind", outlet=self.name)
        self._unsent = page.entries
        self._caught_up = not page.entries

    async def _drain(self) -> bool:
        """Make the deliveries that are due; whether there were some."""
        if not self._blocked or self.counts.disabled or not self._allowed:
            return False
        heads = await self._patiently(self._store.heads, self.name, self._clock(), DRAIN)
        if not heads:
            return False
        stuck, until = set[str](), trio.current_time() + DRAIN_SECONDS
        async with trio.open_nursery() as nursery:
            saved = trio.Event()
            saved.set()
            for start in range(0, len(heads), DRAIN_PAGE):
                page = heads[start : start + DRAIN_PAGE]
                changed, delivered = await self._drain_page(page, stuck, until)
                await saved.wait()
                saved = trio.Event()
                nursery.start_soon(self._save_drained, changed, delivered, saved)
        sessions = {parked.session for parked in heads}
        still = await self._patiently(self._store.blocked, self.name, sessions)
        self._blocked -= sessions - still
        return True

    async def _drain_page(
        self, page: Sequence[Parked], stuck: set[str], until: float
    ) -> tuple[list[Parked], list[str]]:
        """Make these deliveries, as far as there is time and the endpoint takes them: those that
        failed, as they are now, and the ids of those that arrived.

        `stuck`: sessions of which one failed; it grows."""
        changed, delivered = list[Parked](), list[str]()
        for parked in page:
            if parked.session in stuck:
                continue
            if self.counts.disabled or not self._allowed or trio.current_time() > until:
                break
            probe = not self._breaker.closed
            attempt = await self._attempt(parked.delivery)
            if attempt.delivered:
                delivered.append(parked.delivery.id)
            else:
                later = self._later(parked, attempt, probe=probe)
                changed.append(later)
                if not later.dead:
                    stuck.add(parked.session)
        return changed, delivered

    async def _save_drained(
        self, changed: Sequence[Parked], delivered: Sequence[str], saved: trio.Event
    ) -> None:
        if changed or delivered:
            await self._save(parked=changed, delivered=delivered)
        saved.set()

    async def _wait(self, changed: trio.Event) -> None:
        """For more entries, for a delivery that is due, or for the next look from outside."""
        seconds = self._look_every
        if self._blocked and not self.counts.disabled:
            due = await self._patiently(self._store.next_due, self.name)
            if due is not None:
                seconds = min(seconds, max(0.01, due - self._clock(), self._pause))
        with trio.move_on_after(seconds) as scope:
            await changed.wait()
        if scope.cancelled_caught and seconds == self._look_every:
            await self._look()

    async def _look(self) -> None:
        """Look for changes by another process: the endpoint enabled, a delivery sent again."""
        row = await self._patiently(self._store.open, self.name)
        if row.disabled is None and self.counts.disabled is not None:
            self._announce("outlet_enabled", outlet=self.name)
            self._breaker.succeeded()
        await self._take_row(row)

    async def _take_row(self, row: OutletRow) -> None:
        counts = self.counts
        counts.disabled, counts.waiting, counts.dead = row.disabled, row.waiting, row.dead
        counts.dropped = row.dropped
        self._blocked = set()
        if row.waiting:
            self._blocked = set(await self._patiently(self._store.blocked, self.name))

    async def _save(
        self,
        *,
        cursor: str | None = None,
        parked: Sequence[Parked] = (),
        delivered: Sequence[str] = (),
    ) -> None:
        async def save() -> OutletRow:
            return await self._store.save(
                self.name, cursor=cursor, parked=parked, delivered=delivered
            )

        row, counts = await self._patiently(save), self.counts
        if row.dropped > counts.dropped:
            self._announce("outbox_full", outlet=self.name, dropped=row.dropped - counts.dropped)
        counts.waiting, counts.dead, counts.dropped = row.waiting, row.dead, row.dropped

    @property
    def _allowed(self) -> bool:
        return self._breaker.allows(trio.current_time())

    @property
    def _pause(self) -> float:
        """Seconds until the endpoint may be tried."""
        until = self._breaker.open_until
        return 0.0 if until is None else max(0.0, until - trio.current_time())

    # ------------------------------------------------------------ one delivery

    def _wants(self, entry: FeedEntry) -> bool:
        return self._subscription.wants_entry(entry.room, entry.entry)

    async def _delivery(self, entry: FeedEntry) -> Delivery:
        what = entry.entry
        data: Mapping[str, Any] = what.data
        if what.event == "session_ended":
            summary = await self._summary(entry.room_sid)
            if summary is not None:
                data = {**data, "summary": summary}
        return Delivery(
            id=f"{entry.session}-{entry.seq}-{entry.index}",
            sequence=entry.seq * ENTRIES_A_RECORD + min(entry.index, ENTRIES_A_RECORD - 1),
            session=entry.room_sid or entry.session,
            room=entry.room,
            room_sid=entry.room_sid,
            event=what.event,
            at=what.at,
            data=data,
        )

    async def _deliver_or_park(self, delivery: Delivery) -> Parked | None:
        now = self._clock()
        parked = Parked(delivery, attempts=0, due=now, parked_at=now)
        late = now - delivery.at > LATE
        if late or delivery.session in self._blocked or not self._allowed:
            self._blocked.add(delivery.session)
            return parked
        probe = not self._breaker.closed
        attempt = await self._attempt(delivery)
        if attempt.delivered:
            return None
        parked = self._later(parked, attempt, probe=probe)
        if not parked.dead:
            self._blocked.add(delivery.session)
        return parked

    async def _attempt(self, delivery: Delivery) -> Attempt:
        attempt = await self._sender.send(delivery)
        now, counts, breaker = self._clock(), self.counts, self._breaker
        was_closed, was_in_trouble = breaker.closed, self._in_trouble
        self._in_trouble = not attempt.delivered
        if attempt.delivered:
            counts.delivered += 1
            counts.last_delivered_at, counts.lag = now, max(0.0, now - delivery.at)
            breaker.succeeded()
            if was_in_trouble:
                self._announce("outlet_well_again", outlet=self.name)
            if not was_closed:
                await self._patiently(self._store.hasten, self.name, now)
            return attempt
        counts.failed += 1
        counts.last_error = attempt.detail
        breaker.failed(trio.current_time(), attempt.retry_after)
        if attempt.result is AttemptResult.GONE:
            counts.disabled = attempt.detail
            await self._patiently(self._store.disable, self.name, attempt.detail)
            self._announce("outlet_disabled", outlet=self.name, reason=attempt.detail)
        elif not was_in_trouble:
            self._announce("outlet_trouble", outlet=self.name, error=attempt.detail)
        return attempt

    def _later(self, parked: Parked, attempt: Attempt, *, probe: bool) -> Parked:
        """The delivery after a failed attempt: when it is tried again, or that it is given up."""
        now, attempts, delay = self._clock(), parked.attempts, self._pause
        if not (probe and attempt.status is None):
            attempts += 1
            delay = next_delay(attempts, self._rng, attempt.retry_after)
        dead = delay is None or now - parked.parked_at > LONGEST
        if dead:
            self.counts.given_up += 1
            self._announce(
                "delivery_given_up",
                outlet=self.name,
                delivery=parked.delivery.id,
                event_name=parked.delivery.event,
                attempts=attempts,
                error=attempt.detail,
            )
        due = now + (delay or 0.0)
        return evolve(parked, attempts=attempts, due=due, error=attempt.detail, dead=dead)

    async def _patiently(self, step: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
        """Try until the disk does it."""
        announced = False
        while True:
            try:
                return await step(*args)
            except (OutboxTrouble, ArchiveTrouble) as trouble:
                if not announced:
                    self._announce("outbox_trouble", outlet=self.name, error=str(trouble))
                    announced = True
            await sleep(TROUBLE_PAUSE)
