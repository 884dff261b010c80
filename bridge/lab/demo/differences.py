"""The differences of two shapes of a session, with matchers for clocks and races."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from attrs import frozen


class Matcher(Protocol):
    """An expected value that is not one plain value."""

    def matches(self, actual: object) -> bool: ...


@frozen
class Near:
    """A number, or an RFC 3339 time, within `within` of `value` seconds."""

    value: float
    within: float

    def matches(self, actual: object) -> bool:
        if isinstance(actual, str):
            try:
                actual = datetime.fromisoformat(actual).timestamp()
            except ValueError:
                return False
        return (
            isinstance(actual, int | float)
            and not isinstance(actual, bool)
            and abs(actual - self.value) <= self.within
        )

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.within:g}"


@frozen
class OneOf:
    """Any of `values`, each a plain value or a matcher."""

    values: tuple[object, ...]

    def matches(self, actual: object) -> bool:
        return any(_matches(value, actual) for value in self.values)

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


@frozen
class Difference:
    """One number that differs from the expected one."""

    room: str
    path: str
    """The place in the session, as `participants.alice.joins.0.left_at`."""
    expected: str
    actual: str


def diff(room: str, expected: object, actual: object, path: str = "") -> Iterator[Difference]:
    """All places where `actual` is not as `expected`.  All keys of `expected` must be there; the
    mappings of `_CLOSED` must have no others."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        yield from _diff_mappings(room, expected, actual, path)
    elif (
        isinstance(expected, list) and isinstance(actual, Sequence) and not isinstance(actual, str)
    ):
        if len(expected) != len(actual):
            yield Difference(room, f"{path}.length", str(len(expected)), str(len(actual)))
        for i, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from diff(room, one, other, f"{path}.{i}")
    elif not _matches(expected, actual):
        yield Difference(room, path, _as_text(expected), _as_text(actual))


_CLOSED: Final = frozenset(
    {"participants", "tracks", "by_topic", "by_source", "by_identity", "attributes"}
)
"""Mappings that must have no other keys than expected."""


def _diff_mappings(
    room: str, expected: Mapping[str, object], actual: Mapping[str, object], path: str
) -> Iterator[Difference]:
    for key, value in expected.items():
        place = f"{path}.{key}" if path else key
        if key not in actual:
            yield Difference(room, place, _as_text(value), "nothing")
        else:
            yield from diff(room, value, actual[key], place)
    if path.rpartition(".")[2] in _CLOSED:
        for key in actual.keys() - expected.keys():
            yield Difference(room, f"{path}.{key}", "nothing", _as_text(actual[key]))


def _matches(expected: object, actual: object) -> bool:
    if isinstance(expected, Near | OneOf):
        return expected.matches(actual)
    return expected == actual and isinstance(expected, bool) == isinstance(actual, bool)


def _as_text(value: object) -> str:
    text = str(value) if isinstance(value, Near | OneOf) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def count_values(expected: object) -> int:
    """Number of values that `diff` compares if none is missing."""
    if isinstance(expected, Mapping):
        return sum(count_values(value) for value in expected.values())
    if isinstance(expected, list):
        return sum(count_values(value) for value in expected)
    return 1
