"""From native threads into trio: many events a wake-up, and every room in turn.

The native library calls back on threads of its own.  Events of a room are put into that room's
queue.  The first event after a calm time wakes the inbox at once.  Further events wake it at
most once in `INTERVAL`.  A wake-up for each event would be most of what an event costs, so the
interval more than halves Python's part of it and adds at most its own length to the delay.

The inbox takes up to `TURN_ITEMS` from each queue in turn, so that no room waits for another
room's burst.  Other tasks run in between.

A queue has no bound, because some events may never be lost.  It is empty after an `INTERVAL`,
unless more arrives than can be taken.  The caller of `put` looks at the length, and decides
which events are dropped, and which replace an older one (`put_latest`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import Any, Final, Generic, TypeVar

import trio

from bridge.livekit.rooms.wake_timer import TrioTimer, WakeTimer

T = TypeVar("T")

INTERVAL: Final = 0.005
"""Seconds between two wake-ups.  The goal for the delay allows it (15 ms from send to fold for
99 of 100 events).  Measured at 540 events/s: without an interval 122 µs of the trio thread an
event, with 2 ms 118, with 5 ms 60, with 10 ms 36."""
TURN_ITEMS: Final = 32
"""Items of one queue before those of the next."""
PASS_TURNS: Final = 16
"""Turns before other tasks may run: about 10 ms of work."""


class _LatestByKey(Generic[T]):
    """Items of which only the newest of each key is needed.  One entry at the end of a queue."""

    __slots__ = ("by_key", "taken")

    def __init__(self, key: Hashable, item: T) -> None:
        self.by_key: dict[Hashable, tuple[T, T]] = {key: (item, item)}
        """The first and the newest, in the order of the newest."""
        self.taken = False


class RoomQueue(Generic[T]):
    """The waiting items of one room, in order, and the function that takes them."""

    def __init__(self, inbox: Inbox, take: Callable[[T], None], merge: Callable[[T, T], T]) -> None:
        self._inbox = inbox
        self._take = take
        self._merge = merge
        self._items: deque[T | _LatestByKey[T]] = deque()
        self._latest: _LatestByKey[T] | None = None
        """The last of the items, where it is of this class."""
        self._latest_lock = threading.Lock()
        self._scheduled = False

    def __len__(self) -> int:
        """The number of waiting entries."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item.  Called on any thread."""
        self._latest = None
        self._append(item)

    def put_latest(self, key: Hashable, item: T) -> bool:
        """Add an item that replaces the one of its key that came since the last `put`.

        Called on any thread.  True where one was replaced.  `merge` then makes one item of the
        first that waited and this one.
        """
        with self._latest_lock:
            newest = self._latest
            if newest is not None and not newest.taken:
                first, older = newest.by_key.pop(key, (item, None))
                newest.by_key[key] = first, item
                return older is not None
            newest = self._latest = _LatestByKey(key, item)
        self._append(newest)
        return False

    def _append(self, item: T | _LatestByKey[T]) -> None:
        self._items.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._inbox.schedule(self)

    def take_turn(self) -> None:
        """Take up to `TURN_ITEMS` items.  Where more wait, another turn is scheduled."""
        self._scheduled = False  # First: an item that comes from here on schedules a turn.
        for _ in range(min(TURN_ITEMS, len(self._items))):
            item = self._items.popleft()
            if isinstance(item, _LatestByKey):
                item = self._open_latest(item)
            self._take(item)
        if self._items and not self._scheduled:
            self._scheduled = True
            self._inbox.schedule(self)

    def _open_latest(self, newest: _LatestByKey[T]) -> T:
        """Take the first item out.  The others are ordinary items from here on."""
        with self._latest_lock:
            newest.taken = True
        merged = [
            one if one is first else self._merge(first, one)
            for first, one in newest.by_key.values()
        ]
        self._items.extendleft(reversed(merged[1:]))
        return merged[0]


class Inbox:
    """The queues that have something, and the task that takes it.  Made on the trio thread.

    The task runs in the context in which the inbox was made, so that the SDK finds its
    asyncio loop.  No cancel scope around a room cancels it: a room that is left still has to
    take the end of it.
    """

    def __init__(self, timer: WakeTimer | None = None) -> None:
        self._ready: deque[RoomQueue[Any]] = deque()
        self._timer = TrioTimer() if timer is None else timer
        self._next_pass = 0.0
        """The earliest time of the next pass, on the timer's clock."""
        self._awake = False
        self._closed = False
        trio.lowlevel.spawn_system_task(self._run, context=copy_context())

    def queue(
        self, take: Callable[[T], None], merge: Callable[[T, T], T] = lambda _, newest: newest
    ) -> RoomQueue[T]:
        """A queue of its own for one room.

        Both functions are called on the trio thread, and must not raise.
        """
        return RoomQueue(self, take, merge)

    def close(self) -> None:
        """End the task.  Items that come later are never taken."""
        self._closed = True
        self._timer.arm(0.0)

    def schedule(self, queue: RoomQueue[Any]) -> None:
        """Let a queue have its turn.  Called on any thread."""
        self._ready.append(queue)
        if not self._awake:
            self._awake = True
            self._timer.arm(self._next_pass)

    async def _run(self) -> None:
        try:
            while True:
                await self._timer.wait()
                if self._closed:
                    return
                self._next_pass = self._timer.now() + INTERVAL
                while self._ready:
                    self._pass()
                    if self._ready:
                        await trio.lowlevel.checkpoint()
                self._awake = False  # First: an item that comes from here on sets the timer.
                if self._ready and not self._awake:
                    self._awake = True
                    self._timer.arm(self._next_pass)
        finally:
            self._timer.close()

    def _pass(self) -> None:
        for _ in range(min(PASS_TURNS, len(self._ready))):
            self._ready.popleft().take_turn()
