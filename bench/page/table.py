"""The measurements as a table, and the goals that were missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

PARTS: Final = {"browsers": "browsers", "slow": "slow clients", "half_open": "half-open"}


@frozen
class Figure:
    """One line."""

    name: str
    path: tuple[str, ...]
    """Its path in the result."""
    most: float | None = None
    """The greatest value that is allowed."""
    digits: int = 0
    scale: float = 1.0

    def value(self, result: Mapping[str, Any]) -> float | None:
        """None where it was not measured, or never came."""
        found: Any = result
        for key in self.path:
            found = found[key]
        return found


def _asked(path: str, seconds: float | None = None, gap: float | None = None) -> tuple[Figure, ...]:
    where = ("alone", path)
    return (
        Figure(f"`{path}`, ms", (*where, "seconds", "median"), seconds, 1, 1e3),
        Figure("longest of all asks", (*where, "seconds", "high"), None, 1, 1e3),
        Figure("longest gap of the loop meanwhile", (*where, "gap", "high"), gap, 1, 1e3),
        Figure("half of the asks have one of at most", (*where, "gap", "median"), None, 1, 1e3),
    )


def _part(key: str) -> tuple[Figure, ...]:
    name = PARTS[key]
    return (
        Figure(f"{name}: events folded", (key, "events")),
        Figure("lag, half of them, ms", (key, "lag_p50_s"), None, 1, 1e3),
        Figure("lag, p99, ms", (key, "lag_p99_s"), 0.1, 1, 1e3),
        Figure("updates that browsers had", (key, "updates")),
        Figure("updates that one of them never had", (key, "updates_missing"), 0),
        Figure("update, half of them, ms", (key, "update_p50_s"), None, 0, 1e3),
        Figure("update, p99, ms", (key, "update_p99_s"), 1.0, 0, 1e3),
        Figure("update, the longest, ms", (key, "update_longest_s"), None, 0, 1e3),
        Figure("update in chromium, half of them, ms", (key, "chromium_p50_s"), None, 0, 1e3),
        Figure("update in chromium, p99, ms", (key, "chromium_p99_s"), 1.0, 0, 1e3),
        Figure("questions without an answer", (key, "failed"), 0),
        Figure("longest gap of the loop, ms", (key, "gap_longest_s"), None, 1, 1e3),
        Figure("worker, cores", (key, "worker_cores"), None, 2),
        Figure("worker, share of time without a core", (key, "worker_waited"), None, 2),
        Figure("clients and chromium, cores", (key, "client_cores"), None, 2),
        Figure("all cores in use, %", (key, "machine"), None, 0, 100),
        Figure("sent to clients, MiB a second", (key, "received_mib_a_second"), None, 1),
    )


FIGURES: Final = (
    Figure("longest gap of the loop when nobody asks, ms", ("alone", "base_gap_s"), None, 1, 1e3),
    *_asked("/metrics", 0.150, 0.020),
    *_asked("/api/v1/sessions", 0.050),
    *_asked("/api/v1/actors", None, 0.020),
    *_asked("/system", None, 0.020),
    *_asked("/api/v1/rooms"),
    *_asked("/history"),
    *_asked("/"),
    *_part("browsers"),
    *_part("slow"),
    Figure("slow ones that were not dropped, or not counted", ("slow", "not_dropped"), 0),
    Figure("the last after, s", ("slow", "all_dropped_s"), 120.0, 0),
    Figure("memory of the worker grew by, MiB", ("slow", "rss_most_mib"), 64, 1),
    Figure("buffers of the kernel, MiB", ("slow", "kernel_mib"), 64, 1),
    *_part("half_open"),
    Figure("descriptors more than before", ("half_open", "descriptors_more"), 512),
    Figure("all ended after, s", ("half_open", "all_ended_s"), 20.0, 1),
)
NEVER: Final = frozenset({"all_dropped_s", "all_ended_s", "update_p99_s"})
"""Figures whose goal is missed where they have no value."""


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, value, goal."""
    for one in FIGURES:
        value = one.value(result)
        shown = "–" if value is None else f"{value * one.scale:,.{one.digits}f}"
        goal = "" if one.most is None else f"at most {one.most * one.scale:g}"
        yield one.name, shown, goal


def unmet(result: Mapping[str, Any]) -> list[str]:
    """Each goal that was missed."""
    found: list[str] = []
    for one in FIGURES:
        value = one.value(result)
        late = value is None and one.path[-1] in NEVER
        if one.most is not None and (late or (value is not None and value > one.most)):
            shown = "never" if value is None else f"{value * one.scale:.3g}"
            where = " ".join(one.path[:-1])
            found.append(f"{where}: {one.name}: {shown}, at most {one.most * one.scale:g}")
    return found
