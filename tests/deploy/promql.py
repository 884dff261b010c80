"""The part of PromQL that our rules and our dashboard use, evaluated as Prometheus does.

`promtool` needs Prometheus, which few machines have.  This evaluates the same tests of the same
rules everywhere, so that `promtool` only has to agree (`test_alert_rules.py`).  Numbers are as
Prometheus' own, with its extrapolation of `rate` and `increase`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from math import inf, nan
from typing import Final, TypeAlias

from attrs import define, field

LOOKBACK: Final = 300.0
"""Seconds that a sample counts as the value of its series."""

Labels: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[Labels, float]
Value: TypeAlias = "Vector | float"
Query: TypeAlias = Callable[["Samples", float], Value]
Samples: TypeAlias = Mapping[Labels, "list[tuple[float, float]]"]
"""By labels, the name as `__name__`: times in seconds and values, oldest first."""

_TOKEN: Final = re.compile(
    r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<range>\[\w+\])|(?P<number>\d+(?:\.\d+)?)'
    r"|(?P<name>[a-zA-Z_:][\w:]*)|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/<>=(){},]))"
)
UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
COMPARED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}
COMPUTED: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else (nan if not a else inf),
}
MATCHED: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


def seconds(text: str) -> float:
    """`1m30s` in seconds."""
    return sum(float(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))


def query(text: str) -> Query:
    """The text as a function of samples and a time.  Raises `ValueError` where it is no query."""
    parser = _Parser(list(_tokens(text)))
    parsed = parser.union()
    if parser.rest:
        raise ValueError(f"{parser.rest[0]!r} is not understood in {text}")
    return parsed


def selectors(text: str) -> list[str]:
    """Each selector of series in a query, without its range."""
    return [
        one
        for one in re.findall(r"\b[a-z_]+(?:\{[^}]*\})?", re.sub(r"by \([^)]*\)", "", text))
        if one.startswith("room_actors_")
    ]


def series(notation: str) -> Labels:
    """`name{label="value"}` as labels."""
    name, _, rest = notation.partition("{")
    pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest)
    return frozenset([("__name__", name), *pairs] if name else pairs)


def values(notation: str, interval: float) -> Iterator[tuple[float, float]]:
    """Samples in the notation of `promtool test rules`, such as `0+10x20 5x3`."""
    number = 0
    for word in notation.split():
        match = re.fullmatch(r"([\d.]+)(?:\+([\d.]+))?(?:x(\d+))?", word)
        if match is None:
            raise ValueError(f"{word!r} is not understood")
        for step in range(int(match[3] or 0) + 1):
            yield number * interval, float(match[1]) + step * float(match[2] or 0)
            number += 1


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    text, at = text.strip(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"{text[at:]!r} is not understood")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


@define
class _Parser:
    """Recursive descent: union, comparison, sum, product, one."""

    rest: list[tuple[str, str]] = field()

    def _next(self) -> str:
        return self.rest[0][1] if self.rest else ""

    def _take(self, wanted: str | None = None) -> str:
        if not self.rest or wanted not in (None, self._next()):
            raise ValueError(f"{wanted or 'more'} is missing before {self._next()!r}")
        return self.rest.pop(0)[1]

    def union(self) -> Query:
        left = self.comparison()
        while self._next() == "or":
            self._take()
            left = _united(left, self.comparison())
        return left

    def comparison(self) -> Query:
        left = self.sum()
        while self._next() in COMPARED:
            left = _compared(COMPARED[self._take()], left, self.sum())
        return left

    def sum(self) -> Query:
        left = self.product()
        while self._next() in ("+", "-"):
            left = _computed(COMPUTED[self._take()], left, self.product())
        return left

    def product(self) -> Query:
        left = self.one()
        while self._next() in ("*", "/"):
            left = _computed(COMPUTED[self._take()], left, self.one())
        return left

    def one(self) -> Query:
        kind, text = self.rest[0] if self.rest else ("", "nothing")
        if text == "(":
            self._take()
            inner = self.union()
            self._take(")")
            return inner
        if kind == "number":
            number = float(self._take())
            return lambda _samples, _at: number
        if text in AGGREGATED or text == "topk":
            return self._aggregation()
        if text in ("rate", "increase", "histogram_quantile"):
            return self._function()
        if kind == "name":
            return _instant(self._selector())
        raise ValueError(f"{text!r} is not understood")

    def _aggregation(self) -> Query:
        name, by = self._take(), list[str]()
        if self._next() == "by":
            self._take()
            by = self._names()
        self._take("(")
        most = 0
        if name == "topk":
            most = int(self._take())
            self._take(",")
        inner = self.union()
        self._take(")")
        return _largest(most, inner) if name == "topk" else _aggregated(name, by, inner)

    def _function(self) -> Query:
        name = self._take()
        self._take("(")
        if name == "histogram_quantile":
            quantile = float(self._take())
            self._take(",")
            inner = self.union()
            self._take(")")
            return _quantile(quantile, inner)
        matches = self._selector()
        length = seconds(self._take().strip("[]"))
        self._take(")")
        return _growth(matches, length, per_second=name == "rate")

    def _names(self) -> list[str]:
        self._take("(")
        names = [self._take()]
        while self._next() == ",":
            self._take()
            names.append(self._take())
        self._take(")")
        return names

    def _selector(self) -> Callable[[Labels], bool]:
        matchers = [("__name__", "=", self._take())]
        if self._next() == "{":
            self._take()
            while self._next() != "}":
                label, sign, wanted = self._take(), self._take(), self._take()
                matchers.append((label, sign, wanted.strip('"').replace("\\\\", "\\")))
                if self._next() == ",":
                    self._take()
            self._take("}")

        def matches(labels: Labels) -> bool:
            pairs = dict(labels)
            return all(MATCHED[sign](pairs.get(label, ""), want) for label, sign, want in matchers)

        return matches


def _unnamed(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def _instant(matches: Callable[[Labels], bool]) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        newest: Vector = {}
        for labels, line in samples.items():
            past = [value for time, value in line if at - LOOKBACK <= time <= at]
            if matches(labels) and past:
                newest[labels] = past[-1]
        return newest

    return read


def _growth(matches: Callable[[Labels], bool], length: float, *, per_second: bool) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        growth: Vector = {}
        for labels, line in samples.items():
            past = [sample for sample in line if at - length <= sample[0] <= at]
            if matches(labels) and len(past) > 1:
                increase = _increase(past, at - length, at)
                growth[_unnamed(labels)] = increase / length if per_second else increase
        return growth

    return read


def _increase(past: list[tuple[float, float]], since: float, until: float) -> float:
    """Prometheus' `extrapolatedRate`, as a number and not per second."""
    (first_at, first), (last_at, _) = past[0], past[-1]
    steps = pairwise(value for _, value in past)
    growth = sum(new - old if new >= old else new for old, new in steps)
    sampled = last_at - first_at
    average = sampled / (len(past) - 1)
    start = first_at - since
    if growth > 0 and first >= 0:
        start = min(start, sampled * first / growth)
    ends = (start, until - last_at)
    whole = sampled + sum(end if end < 1.1 * average else average / 2 for end in ends)
    return growth * whole / sampled


def _united(left: Query, right: Query) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        one, other = left(samples, at), right(samples, at)
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        there = {_unnamed(labels) for labels in one}
        return one | {labels: v for labels, v in other.items() if _unnamed(labels) not in there}

    return read


def _compared(holds: Callable[[float, float], bool], left: Query, right: Query) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        one = left(samples, at)
        assert isinstance(one, dict)
        other = _each(right(samples, at), one)
        return {each: v for each, v in one.items() if each in other and holds(v, other[each])}

    return read


def _computed(compute: Callable[[float, float], float], left: Query, right: Query) -> Query:
    def read(samples: Samples, at: float) -> Value:
        one, other = left(samples, at), right(samples, at)
        if isinstance(one, float) and isinstance(other, float):
            return compute(one, other)
        labels = one if isinstance(one, dict) else other
        assert isinstance(labels, dict)
        ones, others = _each(one, labels), _each(other, labels)
        return {
            _unnamed(each): compute(ones[each], others[each])
            for each in labels
            if each in ones and each in others
        }

    return read


def _each(value: Value, wanted: Iterable[Labels]) -> Vector:
    """The value for each of these labels, which it has with or without another name."""
    if not isinstance(value, dict):
        return dict.fromkeys(wanted, value)
    unnamed = {_unnamed(labels): one for labels, one in value.items()}
    return {each: unnamed[_unnamed(each)] for each in wanted if _unnamed(each) in unnamed}


AGGREGATED: Final[Mapping[str, Callable[[list[float]], float]]] = {
    "sum": sum,
    "max": max,
    "group": lambda _: 1.0,
}


def _aggregated(name: str, by: list[str], inner: Query) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        vector, groups = inner(samples, at), dict[Labels, list[float]]()
        assert isinstance(vector, dict)
        for labels, value in vector.items():
            group = frozenset(pair for pair in labels if pair[0] in by)
            groups.setdefault(group, []).append(value)
        return {labels: AGGREGATED[name](numbers) for labels, numbers in groups.items()}

    return read


def _largest(most: int, inner: Query) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        vector = inner(samples, at)
        assert isinstance(vector, dict)
        return dict(sorted(vector.items(), key=lambda item: -item[1])[:most])

    return read


def _quantile(quantile: float, inner: Query) -> Query:
    def read(samples: Samples, at: float) -> Vector:
        vector, histograms = inner(samples, at), dict[Labels, dict[float, float]]()
        assert isinstance(vector, dict)
        for labels, count in vector.items():
            bound = float(dict(labels)["le"])
            others = frozenset(pair for pair in _unnamed(labels) if pair[0] != "le")
            histograms.setdefault(others, {})[bound] = count
        return {labels: _quantile_of(quantile, one) for labels, one in histograms.items()}

    return read


def _quantile_of(quantile: float, buckets: Mapping[float, float]) -> float:
    bounds = sorted(buckets)
    counts = [buckets[bound] for bound in bounds]
    if not counts or counts[-1] == 0:
        return nan
    rank = quantile * counts[-1]
    index = bisect_left(counts, rank)
    if bounds[index] == inf:
        return bounds[index - 1] if index else nan
    below, start = (counts[index - 1], bounds[index - 1]) if index else (0.0, 0.0)
    return start + (bounds[index] - start) * (rank - below) / (counts[index] - below)
