"""A run as plain figures, their ratios over all runs, and the kinds of events that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import frozen

from bench.measure import MIB, Spread, Used, markdown
from bench.pair.case import Events, Part, Run

Figures: TypeAlias = Mapping[str, Any]

GROUPS: Final = {
    "Python": ("python", "Trio thread"),
    "tokio": ("tokio",),
    "audio": ("SyntheticAudio",),
    "network": ("network_thread",),
    "worker": ("worker_thread",),
}
"""Threads by the beginning of their names. The system keeps 15 letters of a name."""
OTHER: Final = "other"

ROWS: Final = {
    "CPU an event": ("cpu_us",),
    "CPU an event, without idle": ("without_idle_us",),
    **{f"of it {group}": ("groups_us", group) for group in (*GROUPS, OTHER)},
    "idle CPU, before the events": ("idle_mcore",),
    "idle CPU, after them": ("idle_after_mcore",),
    "anonymous memory, no room": ("empty_mib",),
    "anonymous memory, all rooms": ("full_mib",),
    "anonymous memory, after the events": ("end_mib",),
    "memory a room": ("room_mib",),
    "lag p50": ("lag_p50_ms",),
    "lag p99": ("lag_p99_ms",),
    "CPU of livekit-server an event": ("server_cpu_us",),
}
"""What is printed: the line, and where a side's figures have it. The server's CPU belongs to a
side only where that side was alone."""

DIGITS_BELOW: Final = 0.1
"""Ratios below it are printed with two more digits."""


def figures(run: Run, number: int) -> dict[str, Any]:
    """Everything of one run, in absolute figures: what the JSON has."""
    sent = next((part.events.verdict.sent for part in run.parts if part.events), 0)
    return {
        "run": number,
        "rooms": run.rooms,
        "sent": sent,
        "late_ms": run.late * 1000,
        "machine": run.server and run.server.machine,
        "server_cpu_us": run.server and run.server.total / sent * 1e6,
        "sides": {part.side.label: _part(part, run.rooms) for part in run.parts},
    }


def _part(part: Part, rooms: int) -> dict[str, Any]:
    empty, full, end = (
        look.memory.pss_anonymous / MIB for look in (part.empty, part.full, part.end)
    )
    return {
        "checkout": part.side.checkout,
        "empty_mib": empty,
        "full_mib": full,
        "end_mib": end,
        "room_mib": (full - empty) / rooms,
        "idle_mcore": _mcore(part.idle),
        "idle_after_mcore": part.idle_after and _mcore(part.idle_after),
        **(_events(part.events, part.idle) if part.events else {}),
        "groups_us": _groups(part.events) if part.events and part.side.checkout else None,
        "kinds": dict(sorted(part.kinds.items())),
    }


def _mcore(used: Used) -> float:
    return used.total / used.seconds * 1000


def _events(events: Events, idle: Used) -> dict[str, Any]:
    verdict, used = events.verdict, events.used
    lags = verdict.lags
    rest = idle.total / idle.seconds * used.seconds
    return {
        "cpu_us": used.total / verdict.sent * 1e6,
        "without_idle_us": (used.total - rest) / verdict.sent * 1e6,
        "lag_p50_ms": lags[len(lags) // 2] * 1000 if lags else None,
        "lag_p99_ms": lags[len(lags) * 99 // 100] * 1000 if lags else None,
        "missing": verdict.missing,
        "surplus": verdict.surplus,
    }


def _groups(events: Events) -> dict[str, float]:
    """Microseconds an event by what the threads do."""
    used = events.used
    named = {name: used.of(*prefixes) for name, prefixes in GROUPS.items()}
    every = {**named, OTHER: sum(used.by_name.values()) - sum(named.values())}
    return {name: seconds / events.verdict.sent * 1e6 for name, seconds in every.items()}


def _value(side: Figures, path: Sequence[str]) -> float | None:
    found: Any = side
    for key in path:
        found = found.get(key) if found is not None else None
    return found


@frozen
class Pairs:
    """All runs of the same sides."""

    runs: Sequence[Figures]

    @property
    def labels(self) -> list[str]:
        return list(self.runs[0]["sides"])

    @property
    def bases(self) -> list[str]:
        """The sides by which the others are divided: the first, and each that is no checkout."""
        first, *others = self.labels
        sides = self.runs[0]["sides"]
        return [first, *(label for label in others if not sides[label]["checkout"])]

    def ratio(self, label: str, base: str, *path: str) -> Spread | None:
        """By run, so that a busy run has no more weight. None where it was not measured, or
        where either side used nothing."""
        pairs = [
            (_value(run["sides"][label], path), _value(run["sides"][base], path))
            for run in self.runs
        ]
        # Less than nothing is used where the idle CPU was read in a busier moment.
        found = [one / by for one, by in pairs if one and by and one > 0 and by > 0]
        return Spread.of(found) if found else None

    def table(self, base: str) -> str:
        """The ratios to one side, as Markdown."""
        others = [label for label in self.labels if label != base]
        rows = [
            (text, *map(_cell, spreads))
            for text, path in ROWS.items()
            if any(spreads := [self.ratio(label, base, *path) for label in others])
        ]
        return markdown((f"by {base}", *others), rows)

    def tables(self) -> str:
        return "\n\n".join(map(self.table, self.bases))

    def differences(self) -> list[str]:
        """Each kind of line that the checkouts have not equally often, by run."""
        found: list[str] = []
        for run in self.runs:
            counts = {
                label: side["kinds"] for label, side in run["sides"].items() if side["checkout"]
            }
            for kind in sorted({kind for kinds in counts.values() for kind in kinds}):
                of_kind = {label: kinds.get(kind, 0) for label, kinds in counts.items()}
                if len(set(of_kind.values())) > 1:
                    labelled = ", ".join(f"{label} {count}" for label, count in of_kind.items())
                    found.append(f"run {run['run'] + 1}: {kind}: {labelled}")
        return found

    def faults(self) -> list[str]:
        """Each event that was lost or recorded twice, by run, side and kind."""
        return [
            f"run {run['run'] + 1}: {label}: {count} {kind} {word}"
            for run in self.runs
            for label, side in run["sides"].items()
            for word in ("missing", "surplus")
            for kind, count in side.get(word, {}).items()
        ]

    def absolute(self, key: str) -> Spread | None:
        """A figure of the whole run, as the server's CPU."""
        found = [run[key] for run in self.runs if run[key] is not None]
        return Spread.of(found) if found else None


def _cell(spread: Spread | None) -> str:
    return "–" if spread is None else spread.text(2 if spread.median >= DIGITS_BELOW else 4)


def alone(runs: Sequence[Sequence[Figures]]) -> list[Figures]:
    """Runs of one side each as if they had been one, so that their ratios can be taken.

    A run is a list of what was measured, a side at a time. The server's CPU an event becomes
    a figure of the side that it served.
    """
    return [
        {
            **together[0],
            "sides": {
                label: {**side, "server_cpu_us": one["server_cpu_us"]}
                for one in together
                for label, side in one["sides"].items()
            },
        }
        for together in runs
    ]
