"""Comparisons as people write them: `"== 1"`, `"> 10m"`, `">= 50%"`, `"> 5/s"`.  Pure.

A number alone means `==`.  The condition says what its value may be: a count, a duration, a share
or a rate.  Each mistake is a `BadComparison` that says what is allowed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from attrs import frozen

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SHAPE: Final = re.compile(r"\s*(==|!=|>=|<=|>|<)?\s*(\S+)\s*")
_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")


class BadComparison(ValueError):
    """The condition does not take this value.  The text says what it takes."""


@frozen
class NumberComparison:
    """One side of a comparison; the other comes from the room."""

    sign: str
    value: float
    """Seconds, a count, a share of 1, or a number a second."""

    def holds(self, actual: float) -> bool:
        return _OPERATORS[self.sign](actual, self.value)

    @property
    def is_lower_bound(self) -> bool:
        """True if it becomes true as the actual value grows."""
        return self.sign in (">", ">=")

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


def seconds(text: str) -> float:
    """`"90s"`, `"10m"`, `"1h30m"`.  Raises `BadComparison`."""
    if not _DURATION.fullmatch(text):
        raise BadComparison("a duration is like 30s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def count(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}", text):
        raise BadComparison("a count is a whole number")
    return float(text)


def share(text: str) -> float:
    if not re.fullmatch(r"\d{1,3}(\.\d+)?%", text) or float(text[:-1]) > 100:
        raise BadComparison("a share is like 50%")
    return float(text[:-1]) / 100


def rate(text: str) -> float:
    """A number a second."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise BadComparison("a rate is like 10/s or 100/m")
    return float(match[1]) / _UNITS[match[2]]


def compare(value: object, read: Callable[[str], float]) -> NumberComparison:
    """The comparison that `value` of the config file is.  Raises `BadComparison`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadComparison('it must be a text like "> 3" or a number')
    match = _SHAPE.fullmatch(str(value))
    if match is None:
        raise BadComparison("a comparison is a sign (==, !=, >, >=, <, <=) and a value")
    return NumberComparison(match[1] or "==", read(match[2]))
