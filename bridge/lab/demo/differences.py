"""How two shapes of a session differ: matchers for what two clocks or a race decide, and `diff`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from attrs import frozen


class Matcher(Protocol):
    """An expected value that is not one plain value."""

    def matches(self, seen: object) -> bool: ...


@frozen
class Near:
    """A number, or an RFC 3339 time, within `within` of `value` seconds."""

    value: float
    within: float

    def matches(self, seen: object) -> bool:
        if isinstance(seen, str):
            try:
                seen = datetime.fromisoformat(seen).timestamp()
            except ValueError:
                return False
        return (
            isinstance(seen, int | float)
            and not isinstance(seen, bool)
            and abs(seen - self.value) <= self.within
        )

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.within:g}"


@frozen
class OneOf:
    """Any of `values`, each a plain value or a matcher."""

    values: tuple[object, ...]

    def matches(self, seen: object) -> bool:
        return any(_matches(value, seen) for value in self.values)

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


@frozen
class Difference:
    """One number that is not what it should be."""

    room: str
    path: str
    """Where in the session, as `people.alice.joins.0.left_at`."""
    expected: str
    seen: str


def diff(room: str, expected: object, seen: object, path: str = "") -> Iterator[Difference]:
    """Where `seen` is not as `expected`.  In mappings all keys of `expected` count; those of
    the tables `people`, `tracks` and of counters must be no more than expected."""
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        yield from _diff_mappings(room, expected, seen, path)
    elif isinstance(expected, list) and isinstance(seen, Sequence) and not isinstance(seen, str):
        if len(expected) != len(seen):
            yield Difference(room, f"{path}.length", str(len(expected)), str(len(seen)))
        for i, (one, other) in enumerate(zip(expected, seen, strict=False)):
            yield from diff(room, one, other, f"{path}.{i}")
    elif not _matches(expected, seen):
        yield Difference(room, path, _shown(expected), _shown(seen))


_CLOSED: Final = frozenset(
    {"participants", "tracks", "by_topic", "by_source", "by_identity", "attributes"}
)
"""Mappings in which nothing else may be."""


def _diff_mappings(
    room: str, expected: Mapping[str, object], seen: Mapping[str, object], path: str
) -> Iterator[Difference]:
    for key, value in expected.items():
        place = f"{path}.{key}" if path else key
        if key not in seen:
            yield Difference(room, place, _shown(value), "nothing")
        else:
            yield from diff(room, value, seen[key], place)
    if path.rpartition(".")[2] in _CLOSED:
        for key in seen.keys() - expected.keys():
            yield Difference(room, f"{path}.{key}", "nothing", _shown(seen[key]))


def _matches(expected: object, seen: object) -> bool:
    if isinstance(expected, Near | OneOf):
        return expected.matches(seen)
    return expected == seen and isinstance(expected, bool) == isinstance(seen, bool)


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Near | OneOf) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def count_values(expected: object) -> int:
    """How many values `diff` looks at, where nothing is missing."""
    if isinstance(expected, Mapping):
        return sum(count_values(value) for value in expected.values())
    if isinstance(expected, list):
        return sum(count_values(value) for value in expected)
    return 1
