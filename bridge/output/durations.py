"""Durations as text for people: one function for each form that something shows."""

from __future__ import annotations

from typing import Final

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds of each unit of a duration in the settings."""


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints a duration: `30s`, `1m0s`, `1h0m5s`.  For log and reports."""
    hours, minutes, secs = _clock(seconds)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"


def spaced_duration(seconds: float) -> str:
    """`2 h 05 m`, `3 m 20 s`, `7 s`: two units at most.  For pages; `page.js` has the same."""
    hours, minutes, secs = _clock(seconds)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} m"
    return f"{minutes} m {secs:02d} s" if minutes else f"{secs} s"


_AGES: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def age(seconds: float) -> str:
    """`42s`, `5m12s`, `3h5m`, `2d3h`: the two largest units, whole.  For narrow columns."""
    whole = int(max(seconds, 0.0))
    for large, name, small, rest in _AGES:
        if whole >= large:
            return f"{whole // large}{name}{whole % large // small}{rest}"
    return f"{whole}s"


def setting_duration(seconds: float) -> str:
    """`90d`, `30s`, `500ms`: the largest unit that divides it, as a setting is written."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{int(seconds * 1000)}ms"


def axis_time(seconds: float, step: float) -> str:
    """A time on an axis: with a tenth where the `step` between two times is below a second."""
    return go_duration(seconds) if step >= 1 else f"{seconds:.1f}s"


def step_duration(seconds: float) -> str:
    """The time of one cell of a timeline: below 10 s with a fraction."""
    return go_duration(seconds) if seconds >= 10 else f"{seconds:.2g}s"


def _clock(seconds: float) -> tuple[int, int, int]:
    """Hours, minutes and seconds, rounded to whole seconds."""
    minutes, secs = divmod(int(max(seconds, 0.0) + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return hours, minutes, secs
