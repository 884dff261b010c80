"""The search form of the history: its fields become filters for the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from attrs import frozen
from starlette.datastructures import QueryParams

from actors.journal.session_filters import NAME_LENGTH, Filters, is_pattern
from actors.session import QUALITIES

FIELDS: Final = ("room", "person", "since", "until", "people", "quality", "status")
DAYS: Final = 30
"""Days in the plot if the form has no first day."""
MOST_DAYS: Final = 92


class WrongSearch(ValueError):
    """A field has a wrong value; the text says which and what it takes."""


@frozen
class Search:
    """A valid form."""

    filters: Filters
    days: tuple[date, date]
    """The first and the last day of the plot."""


def fields(query: QueryParams) -> dict[str, str]:
    """The form as it was filled in."""
    return {name: query.get(name, "").strip() for name in FIELDS}


def search(given: Mapping[str, str], now: float | None = None) -> Search:
    """The filters and days of these fields.  Raises `WrongSearch`."""
    since, until = _day(given["since"], "From"), _day(given["until"], "Through")
    after = None if until is None else until + timedelta(1)
    conditions: dict[str, Any] = {
        "room": _part_of(given["room"]),
        "person": _part_of(given["person"]),
        "people": _people(given["people"]),
        "quality": _one_of(given["quality"], *QUALITIES),
        "status": _one_of(given["status"], "active", "ended"),
    }
    return Search(
        filters=Filters(**conditions, since=_midnight(since), until=_midnight(after)),
        days=_plotted(since, until, time.time() if now is None else now),
    )


def _part_of(text: str) -> str | None:
    """A pattern stays as it is; other text matches any part of a name."""
    text = text[: NAME_LENGTH - 2]
    return f"*{text}*" if text and not is_pattern(text) else text or None


def _people(text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) < 7):
        raise WrongSearch("People at once: a whole number.")
    return int(text) if text else None


def _one_of(text: str, *choices: str) -> str | None:
    if text not in ("", *choices):
        raise WrongSearch("Quality and status: choose one of their lists.")
    return text or None


def _day(text: str, label: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1970 <= day.year < 9000:
        raise WrongSearch(f"{label}: a day as YYYY-MM-DD.")
    return day


def _midnight(day: date | None) -> float | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _plotted(since: date | None, until: date | None, now: float) -> tuple[date, date]:
    today = datetime.fromtimestamp(now, UTC).date()
    last = min(until or today, today)
    earliest = last - timedelta(MOST_DAYS - 1)
    first = last - timedelta(DAYS - 1) if since is None else max(since, earliest)
    return min(first, last), last
