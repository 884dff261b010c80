"""A case as plain figures: what the JSON has, and what tables and plots are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import frozen

from bench.measure import MIB, Spread
from bench.rooms.sides import OURS, PEER
from bench.scale.case import PYTHON, Case, Events, Look

Figures: TypeAlias = Mapping[str, Any]


def figures(case: Case, run: int) -> dict[str, Any]:
    """Everything of one case.  None where the observer does not record it."""
    return {
        "observer": case.observer,
        "rooms": case.rooms,
        "run": run,
        "empty": _look(case.empty),
        "full": _look(case.full),
        "idle_mcore": case.idle.total / case.idle.seconds * 1000,
        "watched_s": [round(one, 3) for one in case.watched],
        "events": {f"{one.rate:g}": _events(one, case) for one in case.events},
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


def _events(events: Events, case: Case) -> dict[str, Any]:
    verdict, used = events.verdict, events.used
    idle = case.idle.total / case.idle.seconds
    lags = verdict.lags
    recorded = bool(lags)
    return {
        "sent": verdict.sent,
        "a_second": verdict.sent / events.seconds,
        "missing": verdict.missing if recorded else None,
        "surplus": verdict.surplus if recorded else None,
        "cpu_us": used.total / verdict.sent * 1e6,
        "without_idle_us": (used.total - idle * used.seconds) / verdict.sent * 1e6,
        "python_us": used.of(*PYTHON) / verdict.sent * 1e6,
        "by_thread_us": {
            name: round(seconds / verdict.sent * 1e6, 1)
            for name, seconds in sorted(used.by_name.items())
            if seconds > 0
        },
        "lag_p50_ms": lags[len(lags) // 2] * 1000 if recorded else None,
        "lag_p99_ms": lags[len(lags) * 99 // 100] * 1000 if recorded else None,
        "lag_max_ms": lags[-1] * 1000 if recorded else None,
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


def lost(case: Figures) -> int | None:
    """Events of all rates that were not recorded."""
    missing = [one["missing"] for one in case["events"].values()]
    return None if None in missing else sum(sum(one.values()) for one in missing)


@frozen
class Goal:
    """What must hold, by the medians."""

    text: str
    value: Callable[[Results], float | None]
    """None where it was not measured."""
    most: float

    def verdict(self, results: Results) -> str | None:
        """One line, None where there is nothing to say."""
        found = self.value(results)
        if found is None:
            return None
        word = "met" if found <= self.most else "NOT MET"
        return f"{word}: {self.text}: {found:.3g}, at most {self.most:g}"


def _median(observer: str, rooms: int, value: Callable[[Figures], float | None]) -> Any:
    def find(results: Results) -> float | None:
        spread = results.spread(observer, rooms, value)
        return None if spread is None else spread.median

    return find


def _ours(rooms: int, value: Callable[[Figures], float | None]) -> Any:
    return _median(OURS, rooms, value)


def _at(rate: str, key: str) -> Callable[[Figures], float | None]:
    return lambda case: case["events"].get(rate, {}).get(key)


def _ratio(above: Any, below: Any) -> Callable[[Results], float | None]:
    def find(results: Results) -> float | None:
        top, bottom = above(results), below(results)
        return None if top is None or not bottom else top / bottom

    return find


def _idle_a_room(case: Figures) -> float:
    return case["idle_mcore"] / case["rooms"]


def _more(observer: str, rooms: int, key: str) -> Callable[[Results], float | None]:
    def find(results: Results) -> float | None:
        return _median(observer, rooms, lambda case: results.room_more(case, key))(results)

    return find


def _all_lost(results: Results) -> float | None:
    found = [lost(case) for case in results.cases if case["observer"] == OURS]
    return sum(one for one in found if one is not None) if found else None


def _uncounted(results: Results) -> float | None:
    """Messages that the worker's own final summaries have too few or too many."""
    found = [
        abs(case["messages_sent"] - case["messages_in_summary"])
        for case in results.cases
        if case["messages_in_summary"] is not None
    ]
    return sum(found) if found else None


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
        "memory a room more, as part of livekit-agents'",
        _ratio(_more(OURS, 200, "pss_mib"), _more(PEER, 20, "pss_mib")),
        1 / 20,
    ),
    Goal("idle CPU a room at 200 rooms, mcore", _ours(200, _idle_a_room), 1.0),
    Goal(
        "idle CPU a room, as part of livekit-agents'",
        _ratio(_ours(200, _idle_a_room), _median(PEER, 20, _idle_a_room)),
        1 / 12,
    ),
    Goal("CPU an event, 50 rooms at 10.8, µs", _ours(50, _at("10.8", "cpu_us")), 600),
    Goal("of it Python, µs", _ours(50, _at("10.8", "python_us")), 200),
    Goal(
        "CPU an event without idle at 2.8, 200 rooms by 10 rooms",
        _ratio(_ours(200, _at("2.8", "without_idle_us")), _ours(10, _at("2.8", "without_idle_us"))),
        1.25,
    ),
    Goal(
        "CPU an event without idle at 10.8, 200 rooms by 10 rooms",
        _ratio(
            _ours(200, _at("10.8", "without_idle_us")),
            _ours(10, _at("10.8", "without_idle_us")),
        ),
        1.25,
    ),
    Goal("lag p99 at 100 rooms and 10.8, ms", _ours(100, _at("10.8", "lag_p99_ms")), 15),
    Goal("events lost", _all_lost, 0),
    Goal("messages by which final summaries are off", _uncounted, 0),
    Goal(
        "100 rooms made at once, the last watched after, s",
        _ours(100, lambda case: case["watched_s"][-1]),
        5,
    ),
    Goal(
        "descriptors a room at 200 rooms",
        _ours(
            200,
            lambda case: (
                (case["full"]["descriptors"] - case["empty"]["descriptors"]) / case["rooms"]
            ),
        ),
        12,
    ),
)


def verdicts(results: Results) -> Iterable[str]:
    return filter(None, (goal.verdict(results) for goal in GOALS))
