"""A persistent map for what is over: people who left, tracks that ended.

A session that runs for a day can have thousands of those, and an event must not pay
for all of them.  So a shelf is a big dict that is shared by all later states and
never changed, and a small one on top that is copied on each `put`.  When the small
one outgrows the square root of the big one both are merged: an event costs about
that square root on average.  Older shelves stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Final, Generic, TypeVar

from attrs import field, frozen

T = TypeVar("T")

_SMALL: Final = 32


@frozen
class PersistentMap(Generic[T]):
    """Maps names to what is kept under them; `put` gives a new shelf."""

    settled: Mapping[str, T] = field(factory=dict[str, T])
    recent: Mapping[str, T] = field(factory=dict[str, T])
    """What was put since; right where a key is in both."""
    size: int = 0

    def get(self, key: str) -> T | None:
        found = self.recent.get(key)
        return self.settled.get(key) if found is None else found

    def put(self, key: str, value: T) -> PersistentMap[T]:
        size = self.size + (key not in self)
        recent = {**self.recent, key: value}
        if len(recent) <= max(_SMALL, isqrt(len(self.settled))):
            return PersistentMap(self.settled, recent, size)
        return PersistentMap({**self.settled, **recent}, {}, size)

    def __contains__(self, key: str) -> bool:
        return key in self.recent or key in self.settled

    def __len__(self) -> int:
        return self.size

    def values(self) -> Iterator[T]:
        """Everything on the shelf, each key once, in no order that means anything."""
        recent = self.recent
        yield from (value for key, value in self.settled.items() if key not in recent)
        yield from recent.values()
