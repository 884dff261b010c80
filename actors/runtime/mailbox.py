"""The mailbox: a bounded queue with one reader that never makes a sender wait.

A sender offers; the mailbox decides by the *class* of the message what happens when
there is no room.  Every offer ends in exactly one counter, and at any moment

    offered = handled + dropped + coalesced + dead_lettered + failed + queued

holds, where `queued` includes the message in hand.  The mailbox belongs to the actor,
not to one incarnation of it: what was queued before a crash is read by the next.

The way of an ordinary message is kept short: `offered` is counted when it comes, `taken`
when it is read, and `handled` is what was taken and neither failed nor is in hand.

Why a deque and one parked task instead of a trio channel: a channel costs a trip
through the scheduler a message (160 k/s), a burst read from a deque costs one trip a
burst (millions a second).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import trio
from attrs import asdict, field, frozen, validators

if TYPE_CHECKING:
    from actors.runtime.reply import ReplyTo

M = TypeVar("M")


class Overflow(Enum):
    """What happens to a message class when its limit is reached."""

    RESYNC = "resync"
    """Refused, and the actor's `overflowed` hook is called once: it lost something that it
    must not lose, so it has to compare itself with the truth again."""
    COALESCE = "coalesce"
    """Only the newest message of a key is kept, at its own place in the queue."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message of this class makes room."""


def _no_key(_: Any) -> Hashable:
    return None


@frozen
class Policy:
    """How one message class behaves in a mailbox."""

    overflow: Overflow
    limit: int = field(default=1_000, validator=validators.ge(1))
    """Messages of this class that may wait (`DROP_OLDEST`)."""
    key: Callable[[Any], Hashable] = _no_key
    """Which messages replace each other (`COALESCE`): must not raise, the key hashable."""


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
    """A queued message that may be taken out of the middle of the queue, or is an ask."""

    __slots__ = ("key", "message", "reply")

    def __init__(self, message: object, key: Hashable = None, reply: ReplyTo[Any] | None = None):
        self.message: object = message
        self.key = key
        self.reply = reply


_GONE: Final = object()
"""The message of a slot that was coalesced or dropped while it waited."""
_NOTHING: Final = object()
"""What is in hand when nothing is."""


@frozen
class Counters:
    """Where the offers of one mailbox went, at one moment.  See the module for the law."""

    offered: int
    handled: int
    dropped: int
    coalesced: int
    dead_lettered: int
    failed: int
    queued: int

    @property
    def balanced(self) -> bool:
        """Whether the law holds."""
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
        "_failed",
        "_gone",
        "_in_hand",
        "_limit",
        "_offered",
        "_policies",
        "_queue",
        "_reader",
        "_taken",
        "_thinned",
        "_unread",
        "overflowed",
        "wanted",
    )

    def __init__(self, spec: MailboxSpec = DEFAULT_MAILBOX) -> None:
        self.overflowed = False
        """A message that may not be lost was refused since this was last looked at."""
        self.wanted = False
        """Somebody wants the reader's attention for something that is not a message."""
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
        self._gone = 0
        """Slots in the queue whose message is gone."""
        self._by_key: dict[Hashable, Slot] = {}
        self._by_class: dict[type, deque[Slot]] = {}
        self._reader: trio.lowlevel.Task | None = None
        self._in_hand: Any = _NOTHING
        self._offered = self._taken = self._dropped = self._coalesced = 0
        self._dead = self._unread = self._failed = 0
        self._thinned: dict[type, int] = {}
        """Dropped messages of a class that is thinned, since they were last asked for."""

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._queue) - self._gone

    @property
    def closed(self) -> bool:
        """Every further offer is a dead letter."""
        return self._limit < 0

    @property
    def in_hand(self) -> Any:
        """The message that was taken and is not accounted for yet, None where there is none."""
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
            handled=self._taken - self._failed - self._unread - in_hand,
            dropped=self._dropped,
            coalesced=self._coalesced,
            dead_lettered=self._dead + self._unread,
            failed=self._failed,
            queued=len(self) + in_hand,
        )

    # -- the senders' side

    def offer(self, message: M) -> bool:
        """Queue `message`, or account for why not.  Never raises, never waits.

        False means that this very message will not be read.
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
        """Queue a question.  Never thinned: somebody waits for the answer."""
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
            self._thin(message.__class__)
        elif not self._has_room():
            self._thin(message.__class__)
            return False
        slot = Slot(message)
        waiting.append(slot)
        return self._put(slot)

    def _thin(self, kind: type) -> None:
        self._dropped += 1
        self._thinned[kind] = self._thinned.get(kind, 0) + 1

    def take_thinned(self, kind: type) -> int:
        """How many messages of a `DROP_OLDEST` class were dropped since this was last asked."""
        return self._thinned.pop(kind, 0) if self._thinned else 0

    def _has_room(self) -> bool:
        return len(self._queue) - self._gone < self._capacity

    def _put(self, item: object) -> bool:
        self._queue.append(item)
        if self._reader is not None:
            self._wake()
        return True

    def _refuse(self) -> bool:
        self._dropped += 1
        self.overflowed = True
        self.attend()
        return False

    def _take_out(self, slot: Slot) -> None:
        slot.message = _GONE
        self._gone += 1
        # Emptied slots are swept when they are half of the queue: amortised constant.
        if self._gone > 64 and self._gone * 2 > len(self._queue):
            kept = [item for item in self._queue if not _is_gone(item)]
            self._queue.clear()
            self._queue.extend(kept)
            self._gone = 0

    def attend(self) -> None:
        """Wake the reader although there may be no message (stop, overflow)."""
        self.wanted = True
        if self._reader is not None:
            self._wake()

    def close(self) -> None:
        """Refuse every further offer; what is queued can still be read."""
        self._limit = -1

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)

    # -- the reader's side

    async def wait(self) -> None:
        """Return when there is a message, or when attention is wanted.  A checkpoint."""
        if self._queue or self.wanted:
            await trio.lowlevel.checkpoint()
            return
        self._reader = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def batch(self, most: int) -> Iterator[M | Slot]:
        """Up to `most` messages, one by one; a question comes as the slot it waited in.

        Each is in hand until the next is asked for, or `done` or `fail` accounts for it:
        whoever leaves the loop early has to.
        """
        queue = self._queue
        while most and queue:
            item = queue.popleft()
            if item.__class__ is Slot:
                if item.message is _GONE:
                    self._gone -= 1
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
        """The message in hand was handled, if there is one."""
        self._in_hand = _NOTHING

    def unread(self) -> None:
        """The message in hand is one that the actor does not know: a dead letter."""
        self._unread += 1
        self._in_hand = _NOTHING

    def fail(self) -> None:
        """The message in hand, if there is one, was lost in a crash."""
        if self._in_hand is not _NOTHING:
            self._failed += 1
            self._in_hand = _NOTHING

    def empty_into_dead_letters(self) -> list[tuple[M, ReplyTo[Any] | None]]:
        """Close, and take out everything that nobody will read any more."""
        self.close()
        left: list[tuple[Any, ReplyTo[Any] | None]] = []
        for item in self.batch(len(self._queue)):
            self.unread()
            is_ask = type(item) is Slot
            left.append((item.message, item.reply) if is_ask else (item, None))
        return left


def _is_gone(item: object) -> bool:
    return type(item) is Slot and item.message is _GONE
