"""The tables and the plots."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

from bench.chart import Chart, Series
from bench.measure import Spread, markdown
from bench.scale.figures import Figures, Results, descriptors_a_room, idle_a_room, lost

Value: TypeAlias = Callable[[Figures], float | None]


@frozen
class Column:
    head: str
    digits: int
    """After the point."""
    value: Callable[[Results], Value]
    """In one case; some need the others too."""


def _column(head: str, digits: int, value: Value) -> Column:
    return Column(head, digits, lambda _: value)


def _room_more(key: str) -> Callable[[Results], Value]:
    return lambda results: lambda case: results.room_more(case, key)


def _event(rate: str, head: str, digits: int, key: str, factor: float = 1.0) -> Column:
    def value(case: Figures) -> float | None:
        found = case["events"].get(rate, {}).get(key)
        return None if found is None else found * factor

    return _column(head, digits, value)


def _passing(head: str, digits: int, key: str) -> Column:
    return _column(head, digits, lambda case: case["passing"] and case["passing"][key])


_MORE: Final = Column("a room more, MiB", 2, _room_more("pss_mib"))
_IDLE: Final = _column("idle a room, mcore", 2, idle_a_room)

AT_REST: Final = (
    _column("no room, MiB", 1, lambda case: case["empty"]["pss_mib"]),
    _column("anonymous", 1, lambda case: case["empty"]["anonymous_mib"]),
    _column("with rooms, MiB", 1, lambda case: case["full"]["pss_mib"]),
    _column("anonymous", 1, lambda case: case["full"]["anonymous_mib"]),
    _MORE,
    _IDLE,
    _column("descriptors a room", 1, descriptors_a_room),
    _column("threads", 0, lambda case: case["full"]["threads"]),
    _column("processes", 0, lambda case: case["full"]["processes"]),
)
COMING_AND_GOING: Final = (
    _column("half watched after, s", 2, lambda case: statistics.median(case["watched_s"])),
    _column("all watched after, s", 2, lambda case: case["watched_s"][-1]),
    _passing("CPU a room that comes and goes, ms", 0, "cpu_ms"),
    _passing("of 10 unwatched", 0, "missed"),
)


def _of_events(rate: str) -> tuple[Column, ...]:
    return (
        _event(rate, "events/s", 0, "a_second"),
        _event(rate, "CPU an event, µs", 0, "cpu_us"),
        _event(rate, "without idle, µs", 0, "without_idle_us"),
        _event(rate, "Python, µs", 0, "python_us"),
        _event(rate, "lag p50, ms", 1, "lag_p50_ms"),
        _event(rate, "lag p99, ms", 1, "lag_p99_ms"),
        _event(rate, "lost", 0, "lost"),
        _event(rate, "machine, %", 0, "machine", 100),
    )


def _short(rate: str) -> tuple[Column, ...]:
    return (
        _column("memory, MiB", 0, lambda case: case["full"]["pss_mib"]),
        _MORE,
        _IDLE,
        _event(rate, "CPU an event, µs", 0, "cpu_us"),
        _event(rate, "lag p99, ms", 0, "lag_p99_ms"),
        _column("lost", 0, lost),
    )


def _table(results: Results, columns: Sequence[Column]) -> str:
    return markdown(
        ("observer", "rooms", *(column.head for column in columns)),
        (
            (observer, str(rooms), *(_cell(results, observer, rooms, one) for one in columns))
            for observer, rooms in results.rows()
        ),
    )


def _cell(results: Results, observer: str, rooms: int, column: Column) -> str:
    spread = results.spread(observer, rooms, column.value(results))
    return "–" if spread is None else spread.text(column.digits)


def short_table(results: Results) -> str:
    """The most important figures, as Markdown: the short table of `bench/README.md`."""
    return _table(results, _short(results.rates()[-1]))


def tables(results: Results) -> str:
    """Everything, as Markdown: medians with minimum and maximum."""
    titled = {
        "At rest": AT_REST,
        "Rooms made at once, and rooms that come and go": COMING_AND_GOING,
        **{f"{rate} events a second and room": _of_events(rate) for rate in results.rates()},
    }
    return "\n\n".join(
        f"{title}:\n\n{_table(results, columns)}" for title, columns in titled.items()
    )


def draw(results: Results, folder: Path) -> list[Path]:
    """Plots of everything measured."""
    rate = results.rates()[-1]
    charts = {
        "scale-memory.svg": (
            Chart("Memory by rooms watched", "rooms", "PSS, MiB"),
            lambda case: case["full"]["pss_mib"],
        ),
        "scale-cpu.svg": (
            Chart(
                f"CPU an event by rooms watched, {rate} events a second and room",
                "rooms",
                "µs, everything counted",
            ),
            lambda case: case["events"][rate]["cpu_us"],
        ),
    }
    made: list[Path] = []
    for name, (chart, value) in charts.items():
        series = [
            Series(observer, points)
            for observer in dict.fromkeys(observer for observer, _ in results.rows())
            if (points := _points(results, observer, value))
        ]
        path = folder / name
        path.write_text(chart.svg(series))
        made.append(path)
    return made


def _points(
    results: Results, observer: str, value: Callable[[Figures], float | None]
) -> list[tuple[float, Spread]]:
    found = [
        (float(rooms), results.spread(observer, rooms, value))
        for name, rooms in results.rows()
        if name == observer
    ]
    return [(rooms, spread) for rooms, spread in found if spread is not None]
