"""A case as plain figures: what the JSON has, and what tables and plots are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import frozen

from bench.measure import MIB, Spread, Used
from bench.rooms.sides import OURS, PEER
from bench.scale.case import PYTHON, Case, Events, Look, Passing
from bench.scale.observers import FLOOR, GO

Figures: TypeAlias = Mapping[str, Any]


def figures(case: Case, run: int) -> dict[str, Any]:
    """Everything of one case.  None where the observer does not record it."""
    return {
        "observer": case.observer.name,
        "rooms": case.rooms,
        "run": run,
        "empty": _look(case.empty),
        "full": _look(case.full),
        "idle_mcore": case.idle.total / case.idle.seconds * 1000,
        "watched_s": [round(one, 3) for one in case.watched],
        "events": {f"{one.rate:g}": _events(one, case) for one in case.events},
        "passing": case.passing and _passing(case.passing, case.idle),
        "messages_sent": sum(one.verdict.messages for one in case.events),
        "messages_in_summary": case.counted,
    }


def _look(look: Look) -> dict[str, Any]:
    return {
        "pss_mib": look.memory.pss / MIB,
        "anonymous_mib": look.memory.pss_anonymous / MIB,
        "processes": look.memory.processes,
        "descriptors": look.descriptors,
        "threads": look.threads,
    }


def _passing(passing: Passing, idle: Used) -> dict[str, Any]:
    without_idle = passing.used.total - idle.total / idle.seconds * passing.used.seconds
    return {
        "rooms": passing.rooms,
        "missed": passing.missed,
        "cpu_ms": without_idle / passing.rooms * 1000,
    }


def _events(events: Events, case: Case) -> dict[str, Any]:
    verdict, used = events.verdict, events.used
    idle = case.idle.total / case.idle.seconds
    lags, recorded = verdict.lags, case.observer.counts
    return {
        "sent": verdict.sent,
        "a_second": verdict.sent / events.seconds,
        "missing": verdict.missing if recorded else None,
        "surplus": verdict.surplus if recorded else None,
        "lost": sum(verdict.missing.values()) if recorded else None,
        "twice": sum(verdict.surplus.values()) if recorded else None,
        "cpu_us": used.total / verdict.sent * 1e6,
        "without_idle_us": (used.total - idle * used.seconds) / verdict.sent * 1e6,
        "python_us": used.of(*PYTHON) / verdict.sent * 1e6,
        "by_thread_us": {
            name: round(seconds / verdict.sent * 1e6, 1)
            for name, seconds in sorted(used.by_name.items())
            if seconds > 0
        },
        "lag_p50_ms": lags[len(lags) // 2] * 1000 if lags else None,
        "lag_p99_ms": lags[len(lags) * 99 // 100] * 1000 if lags else None,
        "lag_max_ms": lags[-1] * 1000 if lags else None,
        "lags": len(lags),
        "machine": used.machine,
        "late_ms": events.late * 1000,
    }


@frozen
class Results:
    """All cases measured."""

    cases: Sequence[Figures]

    def of(self, observer: str, rooms: int) -> list[Figures]:
        return [one for one in self.cases if one["observer"] == observer and one["rooms"] == rooms]

    def rows(self) -> list[tuple[str, int]]:
        """Observer and rooms, in the order they were first measured in."""
        found = list(dict.fromkeys((one["observer"], one["rooms"]) for one in self.cases))
        order = list(dict.fromkeys(observer for observer, _ in found))
        return sorted(found, key=lambda row: (order.index(row[0]), row[1]))

    def spread(
        self, observer: str, rooms: int, value: Callable[[Figures], float | None]
    ) -> Spread | None:
        found = [value(one) for one in self.of(observer, rooms)]
        known = [one for one in found if one is not None]
        return Spread.of(known) if known else None

    def rates(self) -> list[str]:
        return sorted({rate for one in self.cases for rate in one["events"]}, key=float)

    def room_more(self, case: Figures, key: str) -> float | None:
        """The growth of a figure of `Look` from the fewest rooms to these, by rooms."""
        observer = case["observer"]
        fewest = min(rooms for name, rooms in self.rows() if name == observer)
        if case["rooms"] == fewest:
            return None
        base = self.spread(observer, fewest, lambda least: least["full"][key])
        assert base is not None
        return (case["full"][key] - base.median) / (case["rooms"] - fewest)


def lost(case: Figures, kind: str = "lost") -> int | None:
    """Events of all rates that were not recorded; with "twice", those recorded too often."""
    found = [one[kind] for one in case["events"].values()]
    return None if None in found else sum(found)


Value: TypeAlias = Callable[[Results], float | None]
"""A figure of all results together; None where it was not measured."""


@frozen
class Goal:
    """A goal that must hold, by the medians."""

    text: str
    value: Value
    bound: float
    at_least: bool = False
    """Else at most."""
    beyond: bool = False
    """Wished for, not promised: to miss it is said, but is no failure."""

    def judge(self, results: Results) -> Finding:
        return Finding(self, self.value(results))


@frozen
class Finding:
    goal: Goal
    found: float | None

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        if self.found is None:
            return None
        bound = self.goal.bound
        return self.found >= bound if self.goal.at_least else self.found <= bound

    @property
    def failed(self) -> bool:
        return self.met is False and not self.goal.beyond

    def text(self) -> str:
        goal = self.goal
        word = {None: "not measured", True: "met", False: "NOT MET"}[self.met]
        found = "" if self.found is None else f"{self.found:.4g}, "
        wished = " (wished for)" if goal.beyond else ""
        bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}"
        return f"{word}{wished}: {goal.text}: {found}{bound}"


def _median(observer: str, rooms: int, value: Callable[[Figures], float | None]) -> Value:
    def find(results: Results) -> float | None:
        spread = results.spread(observer, rooms, value)
        return None if spread is None else spread.median

    return find


def _ours(rooms: int, value: Callable[[Figures], float | None]) -> Value:
    return _median(OURS, rooms, value)


def _at(rate: str, key: str) -> Callable[[Figures], float | None]:
    return lambda case: case["events"].get(rate, {}).get(key)


def _ratio(above: Value, below: Value) -> Value:
    def find(results: Results) -> float | None:
        top, bottom = above(results), below(results)
        return None if top is None or not bottom else top / bottom

    return find


def _growth(observer: str, rate: str) -> Value:
    """The cost of an event without idle at 200 rooms, divided by that at 10."""
    cost = _at(rate, "without_idle_us")
    return _ratio(_median(observer, 200, cost), _median(observer, 10, cost))


def idle_a_room(case: Figures) -> float:
    return case["idle_mcore"] / case["rooms"]


def _memory(case: Figures) -> float:
    return case["full"]["pss_mib"]


def descriptors_a_room(case: Figures) -> float:
    return (case["full"]["descriptors"] - case["empty"]["descriptors"]) / case["rooms"]


def _more(observer: str, rooms: int, key: str) -> Value:
    def find(results: Results) -> float | None:
        return _median(observer, rooms, lambda case: results.room_more(case, key))(results)

    return find


def _all(value: Callable[[Figures], float | None]) -> Value:
    """The sum over all runs of ours, whatever the number of rooms."""

    def find(results: Results) -> float | None:
        found = [value(case) for case in results.cases if case["observer"] == OURS]
        return sum(one for one in found if one is not None) if found else None

    return find


def _uncounted(case: Figures) -> float | None:
    """Messages that the worker's own final summary has too few or too many."""
    counted = case["messages_in_summary"]
    return None if counted is None else abs(case["messages_sent"] - counted)


GOALS: Final = (
    Goal(
        "anonymous memory with no room, MiB",
        _ours(200, lambda case: case["empty"]["anonymous_mib"]),
        65,
    ),
    Goal("memory a room more at 200 rooms (PSS), MiB", _more(OURS, 200, "pss_mib"), 0.65),
    Goal(
        "anonymous memory with 200 rooms, MiB",
        _ours(200, lambda case: case["full"]["anonymous_mib"]),
        200,
    ),
    Goal(
        "memory a room more (200 rooms), how many times less than livekit-agents (20)",
        _ratio(_more(PEER, 20, "pss_mib"), _more(OURS, 200, "pss_mib")),
        20,
        at_least=True,
    ),
    Goal("idle CPU a room at 200 rooms, mcore", _ours(200, idle_a_room), 1.0),
    Goal(
        "idle CPU a room (200 rooms), how many times less than livekit-agents (20)",
        _ratio(_median(PEER, 20, idle_a_room), _ours(200, idle_a_room)),
        12,
        at_least=True,
    ),
    Goal("CPU an event, 50 rooms at 10.8, µs", _ours(50, _at("10.8", "cpu_us")), 600),
    Goal("of it Python, µs", _ours(50, _at("10.8", "python_us")), 200),
    Goal(
        "CPU an event without idle at 2.8, 200 rooms by 10 rooms",
        _growth(OURS, "2.8"),
        1.25,
    ),
    Goal(
        "CPU an event without idle at 10.8, 200 rooms by 10 rooms",
        _growth(OURS, "10.8"),
        1.25,
    ),
    Goal("lag p99 at 100 rooms and 10.8, ms", _ours(100, _at("10.8", "lag_p99_ms")), 15),
    Goal("events lost, in all runs", _all(lost), 0),
    Goal("events recorded twice, in all runs", _all(lambda case: lost(case, "twice")), 0),
    Goal("messages by which final summaries are off, in all runs", _all(_uncounted), 0),
    Goal(
        "100 rooms made at once, the last watched after, s",
        _ours(100, lambda case: case["watched_s"][-1]),
        5,
    ),
    Goal(
        "rooms that came and went unwatched, in all runs",
        _all(lambda case: case["passing"]["missed"]),
        0,
    ),
    Goal("descriptors a room at 200 rooms", _ours(200, descriptors_a_room), 12),
    Goal(
        "CPU an event by the floor's, 50 rooms at 10.8",
        _ratio(_ours(50, _at("10.8", "cpu_us")), _median(FLOOR, 50, _at("10.8", "cpu_us"))),
        1.3,
        beyond=True,
    ),
    *(
        Goal(
            f"memory with {rooms} rooms (PSS) by the Go SDK's",
            _ratio(_ours(rooms, _memory), _median(GO, rooms, _memory)),
            1.0,
            beyond=True,
        )
        for rooms in (100, 200)
    ),
)


def judge(results: Results) -> list[Finding]:
    return [goal.judge(results) for goal in GOALS]
