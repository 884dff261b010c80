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
class Shelf(Generic[T]):
    """Maps names to what is kept under them; `put` gives a new shelf."""

    _settled: Mapping[str, T] = field(factory=dict[str, T])
    _recent: Mapping[str, T] = field(factory=dict[str, T])
    _size: int = 0

    def get(self, key: str) -> T | None:
        found = self._recent.get(key)
        return self._settled.get(key) if found is None else found

    def put(self, key: str, value: T) -> Shelf[T]:
        size = self._size + (key not in self)
        recent = {**self._recent, key: value}
        if len(recent) <= max(_SMALL, isqrt(len(self._settled))):
            return Shelf(self._settled, recent, size)
        return Shelf({**self._settled, **recent}, {}, size)

    def __contains__(self, key: str) -> bool:
        return key in self._recent or key in self._settled

    def __len__(self) -> int:
        return self._size

    def values(self) -> Iterator[T]:
        """Everything on the shelf, each key once, in no order that means anything."""
        recent = self._recent
        yield from (value for key, value in self._settled.items() if key not in recent)
        yield from recent.values()
