"""Subscribers: who takes what sessions publish.

A session hands each timeline entry, with its state after it, to one `Subscriber`: the
`SubscriberFanOut`, which passes it on to each of the real ones.  A subscriber must be cheap and
must not raise.  If one raises all the same, the fan-out counts and reports it, and neither the
session nor the other subscribers notice.

Work that takes longer belongs into an actor: `ActorSubscriber` puts the entry into the mailbox
of a `SubscriberActor`, which is bounded.  If that actor is slow, hangs or crashes, its oldest
entries are dropped and counted, and again nobody else notices.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias, final

from attrs import frozen

from actors.journal.journal import Journal
from actors.rooms.room_rules import RoomRules
from actors.runtime import (
    Actor,
    ChildSpec,
    MailboxSpec,
    Overflow,
    Policy,
    Ref,
    Supervisor,
    receives,
)
from actors.session import SessionState, TimelineEntry

MAILBOX_LIMIT: Final = 1_000
"""Entries that may wait for an actor that subscribes.  Each keeps the state after it alive."""


class Subscriber(Protocol):
    """Takes the timeline entries of all sessions, those of one session in order."""

    def offer(self, state: SessionState, entry: TimelineEntry) -> object:
        """Take one entry, with the session's state after it.

        Called on the trio thread, in the task of the session.  Never raises, never waits; it
        takes microseconds.
        """
        ...


ReportFailure: TypeAlias = Callable[[str, Exception], object]
"""Takes the name of a subscriber and what it raised.  Must not raise."""


@final
class SubscriberFanOut(Subscriber):
    """Offers each entry to all subscribers.  A subscriber that raises harms nobody else."""

    def __init__(
        self, subscribers: Mapping[str, Subscriber], *, report_failure: ReportFailure
    ) -> None:
        """`report_failure` hears of the 1st, 2nd, 4th, 8th ... failure of each subscriber."""
        self._subscribers: tuple[tuple[str, Callable[[SessionState, TimelineEntry], object]], ...]
        self._subscribers = ()
        for name, subscriber in subscribers.items():
            self.add(name, subscriber)
        self._report_failure = report_failure
        self.failures: Final[Counter[str]] = Counter()
        """How often each subscriber raised, by its name."""

    def add(self, name: str, subscriber: Subscriber) -> None:
        """Offer every later entry to this one too, after the others."""
        self._subscribers = (*self._subscribers, (name, subscriber.offer))

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        for name, offer in self._subscribers:
            try:
                offer(state, entry)
            except Exception as error:  # noqa: BLE001 (reported; the session goes on)
                self._count(name, error)

    def _count(self, name: str, error: Exception) -> None:
        self.failures[name] += 1
        failures = self.failures[name]
        if failures & (failures - 1) == 0:
            self._report_failure(name, error)


def publish_entries(
    journal: Journal, subscriber: Subscriber, rules: RoomRules | None = None
) -> None:
    """Offer what a journal recorded and has not published yet, in order.

    Each entry is taken out before it is offered: should even the fan-out crash, the entry is
    lost to the subscribers, but not to the session, and is not offered for ever.  What `rules`
    decide after an entry is recorded at once, and published too.
    """
    entries, state = journal.unpublished, journal.state
    while entries:
        entry = entries.popleft()
        subscriber.offer(state, entry)
        if rules is not None:
            for record in rules.decide(state, entry):
                journal.record(record)
                state = journal.state


# ---------------------------------------------------------------- subscribers that are actors


@frozen
class Published:
    """An entry of a session, on its way to an actor that subscribes."""

    state: SessionState
    entry: TimelineEntry


class SubscriberActor(Actor[Published]):
    """Base of the actors that subscribe.  What it raises restarts it alone."""

    @receives(Published)
    async def take(self, message: Published) -> None:
        dropped = self.context.take_dropped(Published)
        if dropped:
            self.on_dropped(dropped)
        await self.on_entry(message.state, message.entry)

    @abstractmethod
    async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
        """Take one entry.  May take long: others do not wait for it."""

    def on_dropped(self, entries: int) -> None:
        """So many entries were dropped before the next one, because the mailbox was full."""


@final
class ActorSubscriber(Subscriber):
    """Offers entries to an actor through its mailbox."""

    def __init__(self, ref: Ref[Published]) -> None:
        self._ref = ref

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        self._ref.tell(Published(state, entry))


def start_subscriber(
    supervisor: Supervisor,
    name: str,
    start: Callable[[], SubscriberActor],
    *,
    limit: int = MAILBOX_LIMIT,
    **options: Any,
) -> ActorSubscriber:
    """Start an actor that subscribes, under `supervisor`.

    At most `limit` entries wait for it; beyond that the oldest are dropped and counted in its
    mailbox.  `options` go to its `ChildSpec`.
    """
    mailbox = MailboxSpec(
        capacity=limit + 1, policies={Published: Policy(Overflow.DROP_OLDEST, limit=limit)}
    )
    return ActorSubscriber(
        supervisor.start_child(ChildSpec(name, start, mailbox=mailbox, **options))
    )
