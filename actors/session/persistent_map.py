"""A persistent map, for everything that is over: people who left, tracks that ended.

A session that runs for a day can have thousands of those, and an event must not pay for all of
them.  So the map has two dicts.  The big one is shared by all later maps and never changes.  The
small one is copied on each `put`.  When the small one outgrows the square root of the big one,
both are merged: a `put` costs about that square root on average.  Earlier maps stay valid.
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
    """An immutable map from names to values; `put` returns a new one."""

    settled: Mapping[str, T] = field(factory=dict[str, T])
    recent: Mapping[str, T] = field(factory=dict[str, T])
    """Values since the last merge.  If a key is in both dicts, this one is right."""
    size: int = 0

    def get(self, key: str) -> T | None:
        value = self.recent.get(key)
        return self.settled.get(key) if value is None else value

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
        """All values, each key once, in no particular order."""
        recent = self.recent
        yield from (value for key, value in self.settled.items() if key not in recent)
        yield from recent.values()
