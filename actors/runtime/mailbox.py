"""The mailbox: a bounded queue with one reader that never makes a sender wait.

A sender offers; the mailbox decides by the *class* of the message what happens when
there is no room.  Every offer ends in exactly one counter, and at any moment

    offered = handled + dropped + coalesced + dead_lettered + failed + queued

holds, where `queued` includes the message in hand.  The mailbox belongs to the actor,
not to one incarnation of it: after a crash the next incarnation reads the queue.

An ordinary message costs two counts: `offered` when it comes and `taken` when it is read.
`handled` is computed from them: taken, and neither failed nor in hand.

A deque and one parked task are used instead of a trio channel.  A channel costs one trip
through the scheduler for each message (160,000 a second); a burst that is read from a
deque costs one trip for the whole burst (millions a second).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, Generic, TypeVar, final

import trio
from attrs import asdict, field, frozen, validators

from actors.runtime.reply import ReplyTo

M = TypeVar("M")


class Overflow(Enum):
    """The reaction of a message class to its limit."""

    RESYNC = "resync"
    """The message is refused and the actor's `overflowed` hook is called once.  The actor lost
    a message that it must not lose, so it has to compare itself with its source again."""
    COALESCE = "coalesce"
    """Only the newest message of a key stays.  Its place in the queue is its own."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message of this class makes room."""


def _no_key(_: Any) -> Hashable:
    return None


@frozen
class Policy:
    """The rules for one message class in a mailbox."""

    overflow: Overflow
    limit: int = field(default=1_000, validator=validators.ge(1))
    """Messages of this class that may wait (`DROP_OLDEST`)."""
    key: Callable[[Any], Hashable] = _no_key
    """Messages with an equal key replace each other (`COALESCE`).  It must not raise, and the
    key must be hashable."""


@frozen
class MailboxSpec:
    """The size of a mailbox and its policies.

    `capacity` bounds the whole queue.  A class without a policy of its own behaves as
    `RESYNC`: refused when the queue is full.
    """

    capacity: int = field(default=10_000, validator=validators.ge(1))
    policies: Mapping[type, Policy] = field(factory=dict[type, Policy])


DEFAULT_MAILBOX: Final = MailboxSpec()


@final
class Slot:
    """A queued message that can be taken out of the middle of the queue, or a question."""

    __slots__ = ("key", "message", "reply")

    def __init__(self, message: object, key: Hashable = None, reply: ReplyTo[Any] | None = None):
        self.message: object = message
        self.key = key
        self.reply = reply


_TAKEN_OUT: Final = object()
"""The message of a slot that was coalesced or dropped while it waited."""
_NOTHING: Final = object()
"""Stands in for the message in hand where there is none."""


@frozen
class Counters:
    """Where the messages of one mailbox went, at one moment.  See the module for the law."""

    offered: int
    """Messages that somebody told or asked the actor."""
    handled: int
    """Messages whose handler has returned."""
    dropped: int
    """Messages that were refused, or made room, because the mailbox or their class was full."""
    coalesced: int
    """Messages that a newer one of the same key replaced before they were read."""
    dead_lettered: int
    """Messages that came after the actor's end, were left in the queue at its end, or for
    which it has no handler."""
    failed: int
    """Messages that were in hand when an incarnation crashed or was killed."""
    queued: int
    """Messages that wait, with the one in hand."""

    @property
    def balanced(self) -> bool:
        """True if the law holds."""
        ends = self.handled + self.dropped + self.coalesced + self.dead_lettered + self.failed
        return self.offered == ends + self.queued

    def as_dict(self) -> dict[str, int]:
        """Name to count."""
        return asdict(self)


@final
class Mailbox(Generic[M]):
    """See the module.  All methods are for the trio thread."""

    __slots__ = (
        "_by_class",
        "_by_key",
        "_capacity",
        "_coalesced",
        "_dead",
        "_dropped",
        "_dropped_by_class",
        "_empty_slots",
        "_failed",
        "_in_hand",
        "_limit",
        "_offered",
        "_policies",
        "_queue",
        "_reader",
        "_taken",
        "_unhandled",
        "control_pending",
        "overflowed",
    )

    def __init__(self, spec: MailboxSpec = DEFAULT_MAILBOX) -> None:
        self.overflowed = False
        """A message of a `RESYNC` class was refused.  The reader clears it."""
        self.control_pending = False
        """A control signal waits for the reader: a stop, an overflow or a `Down`."""
        self._capacity = spec.capacity
        self._limit = spec.capacity
        """Items up to which an ordinary message is simply appended; -1 when closed."""
        self._policies: dict[type, Policy] = {
            kind: policy
            for kind, policy in spec.policies.items()
            if policy.overflow is not Overflow.RESYNC
        }
        self._queue: deque[Any] = deque()
        """Messages, and slots of those that need one."""
        self._empty_slots = 0
        """Slots in the queue whose message was taken out."""
        self._by_key: dict[Hashable, Slot] = {}
        self._by_class: dict[type, deque[Slot]] = {}
        self._reader: trio.lowlevel.Task | None = None
        self._in_hand: Any = _NOTHING
        self._offered = self._taken = self._dropped = self._coalesced = 0
        self._dead = self._unhandled = self._failed = 0
        self._dropped_by_class: dict[type, int] = {}
        """Dropped messages of each `DROP_OLDEST` class, since the last `take_dropped`."""

    def __len__(self) -> int:
        """The number of messages that wait."""
        return len(self._queue) - self._empty_slots

    @property
    def closed(self) -> bool:
        """Every further offer is a dead letter."""
        return self._limit < 0

    @property
    def in_hand(self) -> Any:
        """The message that is being handled; None where there is none."""
        item = self._in_hand
        if item is _NOTHING:
            return None
        return item.message if type(item) is Slot else item

    @property
    def counters(self) -> Counters:
        """The counts now."""
        in_hand = self._in_hand is not _NOTHING
        return Counters(
            offered=self._offered,
            handled=self._taken - self._failed - self._unhandled - in_hand,
            dropped=self._dropped,
            coalesced=self._coalesced,
            dead_lettered=self._dead + self._unhandled,
            failed=self._failed,
            queued=len(self) + in_hand,
        )

    # -- the senders' side

    def offer(self, message: M) -> bool:
        """Queue `message`, or count why it is not queued.  Never raises, never waits.

        False: this message will not be read.
        """
        self._offered += 1
        if len(self._queue) < self._limit and message.__class__ not in self._policies:
            self._queue.append(message)
            if self._reader is not None:
                self._wake()
            return True
        if self.closed:
            self._dead += 1
            return False
        policy = self._policies.get(message.__class__)
        if policy is None:
            return self._put(message) if self._has_room() else self._refuse()
        if policy.overflow is Overflow.COALESCE:
            return self._offer_coalesced(message, policy)
        return self._offer_dropping(message, policy)

    def offer_ask(self, message: M, reply: ReplyTo[Any]) -> bool:
        """Queue a question.  No policy applies to it, since an asker waits for the answer."""
        self._offered += 1
        if self.closed:
            self._dead += 1
            return False
        if not self._has_room():
            self._dropped += 1
            return False
        return self._put(Slot(message, reply=reply))

    def _offer_coalesced(self, message: M, policy: Policy) -> bool:
        try:
            key = (message.__class__, policy.key(message))
            hash(key)
        except Exception as error:  # noqa: BLE001 (shown; a sender is not harmed by it)
            sys.excepthook(type(error), error, error.__traceback__)
            return self._put(message) if self._has_room() else self._refuse()
        older = self._by_key.pop(key, None)
        if older is not None:
            self._take_out(older)
            self._coalesced += 1
        elif not self._has_room():
            self._dropped += 1
            return False
        slot = self._by_key[key] = Slot(message, key)
        return self._put(slot)

    def _offer_dropping(self, message: M, policy: Policy) -> bool:
        waiting = self._by_class.setdefault(message.__class__, deque())
        if waiting and (len(waiting) >= policy.limit or not self._has_room()):
            self._take_out(waiting.popleft())
            self._drop(message.__class__)
        elif not self._has_room():
            self._drop(message.__class__)
            return False
        slot = Slot(message)
        waiting.append(slot)
        return self._put(slot)

    def _drop(self, kind: type) -> None:
        self._dropped += 1
        self._dropped_by_class[kind] = self._dropped_by_class.get(kind, 0) + 1

    def take_dropped(self, kind: type) -> int:
        """See `Context.take_dropped`."""
        return self._dropped_by_class.pop(kind, 0) if self._dropped_by_class else 0

    def _has_room(self) -> bool:
        return len(self._queue) - self._empty_slots < self._capacity

    def _put(self, item: object) -> bool:
        self._queue.append(item)
        if self._reader is not None:
            self._wake()
        return True

    def _refuse(self) -> bool:
        self._dropped += 1
        self.overflowed = True
        self.signal_control()
        return False

    def _take_out(self, slot: Slot) -> None:
        slot.message = _TAKEN_OUT
        self._empty_slots += 1
        # Empty slots are removed when they are half of the queue: constant cost on average.
        if self._empty_slots > 64 and self._empty_slots * 2 > len(self._queue):
            full = [item for item in self._queue if not _is_empty(item)]
            self._queue.clear()
            self._queue.extend(full)
            self._empty_slots = 0

    def signal_control(self) -> None:
        """Wake the reader for a control signal, although no message may wait."""
        self.control_pending = True
        if self._reader is not None:
            self._wake()

    def close(self) -> None:
        """Refuse every further offer.  Queued messages can still be read."""
        self._limit = -1

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)

    # -- the reader's side

    async def wait(self) -> None:
        """Return when a message or a control signal waits.  A checkpoint."""
        if self._queue or self.control_pending:
            await trio.lowlevel.checkpoint()
            return
        self._reader = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_wait)

    def _abort_wait(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def batch(self, most: int) -> Iterator[M | Slot]:
        """Up to `most` messages, one by one.  A question comes as its `Slot`.

        Each message is in hand until the next one is taken.  A caller that leaves the loop
        early accounts for the message in hand with `done` or `fail`.
        """
        queue = self._queue
        while most and queue:
            item = queue.popleft()
            if item.__class__ is Slot:
                if item.message is _TAKEN_OUT:
                    self._empty_slots -= 1
                    continue
                if item.reply is None:
                    self._forget(item)
                    item = item.message
            most -= 1
            self._taken += 1
            self._in_hand = item
            yield item
        self._in_hand = _NOTHING

    def _forget(self, slot: Slot) -> None:
        if slot.key is not None:
            self._by_key.pop(slot.key, None)
        else:
            self._by_class[type(slot.message)].popleft()

    def done(self) -> None:
        """Count the message in hand, if any, as handled."""
        self._in_hand = _NOTHING

    def mark_unhandled(self) -> None:
        """The actor has no handler for the message in hand: it is a dead letter."""
        self._unhandled += 1
        self._in_hand = _NOTHING

    def fail(self) -> None:
        """Count the message in hand, if any, as lost in a crash."""
        if self._in_hand is not _NOTHING:
            self._failed += 1
            self._in_hand = _NOTHING

    def empty_into_dead_letters(self) -> list[tuple[M, ReplyTo[Any] | None]]:
        """Close, and take out all queued messages as dead letters."""
        self.close()
        left: list[tuple[Any, ReplyTo[Any] | None]] = []
        for item in self.batch(len(self._queue)):
            self.mark_unhandled()
            is_ask = type(item) is Slot
            left.append((item.message, item.reply) if is_ask else (item, None))
        return left


def _is_empty(item: object) -> bool:
    return type(item) is Slot and item.message is _TAKEN_OUT
