"""Which days a list has, and a day as JSON has it.  It needs no HTTP library: commands use it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from actors.journal.session_reader import Day
from bridge.http.api.answer_types import DayView

DAYS: Final = 30
"""Days where nothing names a begin."""
MOST_DAYS: Final = 3_660
"""Days of one answer: ten years."""


def day_view(day: Day) -> DayView:
    """A day as JSON has it."""
    return DayView(
        date=day.date,
        sessions=day.sessions,
        people_minutes=round(day.people_seconds / 60, 2),
        peak=day.peak,
    )


def days_between(since: float | None, until: float | None, now: float) -> tuple[date, date]:
    """The first and the last day (UTC): the last `DAYS` where nothing is said, and never more than
    `MOST_DAYS`, the newest."""
    # `until` is the first moment that is left out.
    last = _date(now if until is None else min(until - 0.001, now))
    earliest = last - timedelta(MOST_DAYS - 1)
    first = last - timedelta(DAYS - 1) if since is None else _date(since)
    return min(max(first, earliest), last), last


def _date(seconds: float) -> date:
    # Before 1970 there is no session.
    return datetime.fromtimestamp(max(seconds, 0.0), UTC).date()
