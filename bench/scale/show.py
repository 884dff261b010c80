"""The tables and the plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table

from bench.chart import Chart, Series
from bench.measure import Spread
from bench.scale.figures import Figures, Results, lost

Column: TypeAlias = tuple[str, int, Callable[[Results, Figures], float | None]]
"""Its head, digits after the point, and its value in one case."""

AT_REST: Final[tuple[Column, ...]] = (
    ("no room, MiB", 1, lambda _, case: case["empty"]["pss_mib"]),
    ("anonymous", 1, lambda _, case: case["empty"]["anonymous_mib"]),
    ("with rooms, MiB", 1, lambda _, case: case["full"]["pss_mib"]),
    ("anonymous", 1, lambda _, case: case["full"]["anonymous_mib"]),
    ("a room more, MiB", 2, lambda results, case: results.room_more(case, "pss_mib")),
    ("idle a room, mcore", 2, lambda _, case: case["idle_mcore"] / case["rooms"]),
    ("descriptors a room", 1, lambda _, case: _a_room(case, "descriptors")),
    ("threads", 0, lambda _, case: case["full"]["threads"]),
    ("processes", 0, lambda _, case: case["full"]["processes"]),
    ("half watched after, s", 2, lambda _, case: case["watched_s"][len(case["watched_s"]) // 2]),
    ("all watched after, s", 2, lambda _, case: case["watched_s"][-1]),
)


def _a_room(case: Figures, key: str) -> float:
    return (case["full"][key] - case["empty"][key]) / case["rooms"]


def _of_events(rate: str) -> tuple[Column, ...]:
    def column(head: str, digits: int, key: str, factor: float = 1.0) -> Column:
        def value(_: Results, case: Figures) -> float | None:
            found = case["events"].get(rate, {}).get(key)
            return None if found is None else found * factor

        return head, digits, value

    return (
        column("events/s", 0, "a_second"),
        column("CPU an event, µs", 0, "cpu_us"),
        column("without idle, µs", 0, "without_idle_us"),
        column("Python, µs", 0, "python_us"),
        column("lag p50, ms", 1, "lag_p50_ms"),
        column("lag p99, ms", 1, "lag_p99_ms"),
        ("lost", 0, lambda _, case: _lost(case, rate)),
        column("machine, %", 0, "machine", 100),
    )


def _lost(case: Figures, rate: str) -> float | None:
    return lost({"events": {rate: case["events"][rate]}}) if rate in case["events"] else None


def _table(results: Results, columns: tuple[Column, ...]) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column("observer")
    table.add_column("rooms", justify="right")
    for head, _, _ in columns:
        table.add_column(head, justify="right")
    for observer, rooms in results.rows():
        cells = [
            _cell(results.spread(observer, rooms, lambda case: value(results, case)), digits)  # noqa: B023
            for _, digits, value in columns
        ]
        table.add_row(observer, str(rooms), *cells)
    return table


def _cell(spread: Spread | None, digits: int) -> str:
    return "–" if spread is None else spread.text(digits)


def print_tables(results: Results) -> None:
    """Medians with minimum and maximum, as Markdown."""
    console = Console(width=400, highlight=False)
    console.print("At rest", _table(results, AT_REST))
    for rate in results.rates():
        console.print(f"{rate} events a second and room", _table(results, _of_events(rate)))


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
