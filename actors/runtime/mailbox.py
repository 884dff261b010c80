"""The mailbox: a bounded queue with one reader that never makes a sender wait.

A sender offers; the mailbox decides by the *class* of the message what happens when
there is no room.  Every offer ends in exactly one counter, and at any moment

    offered = handled + dropped + coalesced + dead_lettered + failed + queued

holds, where `queued` includes the message in hand.  The mailbox belongs to the actor,
not to one incarnation of it: what was queued before a crash is read by the next.

Why a deque and one parked task instead of a trio channel: a channel costs a trip
through the scheduler a message (160 k/s), a burst read from a deque costs one trip a
burst (millions a second).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import trio
from attrs import field, frozen

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
    limit: int = 1_000
    """Messages of this class that may wait (`DROP_OLDEST`)."""
    key: Callable[[Any], Hashable] = _no_key
    """Which messages replace each other (`COALESCE`)."""


@frozen
class MailboxSpec:
    """The size of a mailbox and its policies.

    `capacity` bounds the whole queue.  A class without a policy of its own behaves as
    `RESYNC`: refused when the queue is full.
    """

    capacity: int = 10_000
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


@final
class Counters:
    """Where the offers of one mailbox went."""

    __slots__ = ("coalesced", "dead_lettered", "dropped", "failed", "handled", "offered")

    def __init__(self) -> None:
        self.offered = 0
        self.handled = 0
        self.dropped = 0
        self.coalesced = 0
        self.dead_lettered = 0
        self.failed = 0

    def as_dict(self) -> dict[str, int]:
        """Name to count, in a stable order."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


@final
class Mailbox(Generic[M]):
    """See the module.  All methods are for the trio thread."""

    __slots__ = (
        "_by_class",
        "_by_key",
        "_gone",
        "_policies",
        "_queue",
        "_reader",
        "capacity",
        "closed",
        "counters",
        "in_hand",
        "overflowed",
        "wanted",
    )

    def __init__(self, spec: MailboxSpec = DEFAULT_MAILBOX) -> None:
        self.capacity = spec.capacity
        self.counters = Counters()
        self.closed = False
        """Closed: every further offer is a dead letter."""
        self.in_hand = 0
        """Messages that were taken and are not accounted for yet."""
        self.overflowed = False
        """A message that may not be lost was refused since this was last looked at."""
        self.wanted = False
        """Somebody wants the reader's attention for something that is not a message."""
        self._policies = spec.policies
        self._queue: deque[object] = deque()
        self._gone = 0
        self._by_key: dict[Hashable, Slot] = {}
        self._by_class: dict[type, deque[Slot]] = {}
        self._reader: trio.lowlevel.Task | None = None

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._queue) - self._gone

    # -- the senders' side

    def offer(self, message: M) -> bool:
        """Queue `message`, or account for why not.  Never raises, never waits.

        False means that this very message will not be read.
        """
        counters = self.counters
        counters.offered += 1
        if self.closed:
            counters.dead_lettered += 1
            return False
        policy = self._policies.get(type(message))
        if policy is not None and policy.overflow is not Overflow.RESYNC:
            return self._offer_thinned(message, policy)
        if len(self._queue) - self._gone >= self.capacity:
            counters.dropped += 1
            self.overflowed = True
            self.attend()
            return False
        self._queue.append(message)
        if self._reader is not None:
            self._wake()
        return True

    def offer_ask(self, message: M, reply: ReplyTo[Any]) -> bool:
        """Queue a question.  Never thinned: somebody waits for the answer."""
        self.counters.offered += 1
        if self.closed:
            self.counters.dead_lettered += 1
            return False
        if len(self) >= self.capacity:
            self.counters.dropped += 1
            return False
        self._queue.append(Slot(message, reply=reply))
        if self._reader is not None:
            self._wake()
        return True

    def _offer_thinned(self, message: M, policy: Policy) -> bool:
        if policy.overflow is Overflow.COALESCE:
            key = (type(message), policy.key(message))
            older = self._by_key.pop(key, None)
            if older is not None:
                self._take_out(older)
                self.counters.coalesced += 1
            elif len(self) >= self.capacity:
                self.counters.dropped += 1
                return False
            slot = self._by_key[key] = Slot(message, key)
        else:
            waiting = self._by_class.setdefault(type(message), deque())
            if waiting and (len(waiting) >= policy.limit or len(self) >= self.capacity):
                self._take_out(waiting.popleft())
                self.counters.dropped += 1
            elif len(self) >= self.capacity:
                self.counters.dropped += 1
                return False
            slot = Slot(message)
            waiting.append(slot)
        self._queue.append(slot)
        if self._reader is not None:
            self._wake()
        return True

    def _take_out(self, slot: Slot) -> None:
        slot.message = _GONE
        self._gone += 1
        # Emptied slots are swept when they are half of the queue: amortised constant.
        if self._gone > 64 and self._gone * 2 > len(self._queue):
            self._queue = deque(
                item
                for item in self._queue
                if not (isinstance(item, Slot) and item.message is _GONE)
            )
            self._gone = 0

    def attend(self) -> None:
        """Wake the reader although there may be no message (stop, overflow)."""
        self.wanted = True
        if self._reader is not None:
            self._wake()

    def close(self) -> None:
        """Refuse every further offer; what is queued can still be read."""
        self.closed = True

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

    def take(self) -> tuple[M, ReplyTo[Any] | None] | None:
        """The next message and its reply, or None when there is none.

        The message is in hand until `done` or `fail` accounts for it.
        """
        queue = self._queue
        while queue:
            item = queue.popleft()
            if type(item) is not Slot:
                self.in_hand += 1
                return item, None  # type: ignore[return-value]
            message = item.message
            if message is _GONE:
                self._gone -= 1
                continue
            if item.reply is None:
                self._forget(item)
            self.in_hand += 1
            return message, item.reply  # type: ignore[return-value]
        return None

    def _forget(self, slot: Slot) -> None:
        if slot.key is not None:
            self._by_key.pop(slot.key, None)
        else:
            self._by_class[type(slot.message)].popleft()

    def done(self) -> None:
        """The message in hand was handled."""
        self.in_hand -= 1
        self.counters.handled += 1

    def fail(self) -> None:
        """The message in hand was lost in a crash."""
        self.in_hand -= 1
        self.counters.failed += 1

    def empty_into_dead_letters(self) -> list[tuple[M, ReplyTo[Any] | None]]:
        """Close, and take out everything that nobody will read any more."""
        self.close()
        left: list[tuple[M, ReplyTo[Any] | None]] = []
        while (taken := self.take()) is not None:
            self.in_hand -= 1
            self.counters.dead_lettered += 1
            left.append(taken)
        return left
