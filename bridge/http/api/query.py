"""The query of a request, read by the same table that `/openapi.json` shows.

A parameter that is unknown, is given twice or has a wrong form is an error.  A client therefore
never takes an unfiltered list for a filtered one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve
from starlette.exceptions import HTTPException
from starlette.requests import Request

from actors.journal.session_filters import (
    CURSOR,
    FILTERS,
    Parameter,
    WrongFilter,
    choice,
    number,
    read_value,
)
from actors.journal.text_filters import TEXT_FILTERS

QUERY_BYTES: Final = 4_096
"""Of a query; all parameters at their longest stay below."""
PAGE: Final = 50
MOST: Final = 500
"""Sessions on one page."""

FORMAT: Final = choice(
    "format", "Takes precedence over `Accept`, for clients that cannot set it.", "json", "csv"
)
LIMIT: Final = number("limit", "Sessions on a page.", 1, MOST, PAGE)
ROOMS_LIMIT: Final = number("limit", "Rooms at most; without it, all.", 1, 1_000_000)
_ABOUTS: Final = {
    "room": FILTERS[0].about,
    "person": "Alerts on somebody with this identity; a pattern.",
    "since": "Alerts that began then or later: RFC 3339 with a zone, or a date (UTC).",
    "until": "Alerts that began before: RFC 3339 with a zone, or a date (UTC).",
}
ALERT_PARAMETERS: Final[tuple[Parameter, ...]] = (
    *(evolve(one, about=_ABOUTS[one.name]) for one in FILTERS if one.name in _ABOUTS),
    choice("status", "Alerts in this state.", "pending", "firing", "resolved"),
    evolve(LIMIT, about="Alerts on a page."),
    CURSOR,
)
VISITS: Final = 500
"""Sessions of one person on a page, where the query says nothing."""
ATTENDANCE_PARAMETERS: Final[tuple[Parameter, ...]] = (
    *(
        evolve(one, about="People with this identity, display name or person key; a pattern.")
        if one.name == "person"
        else one
        for one in FILTERS
    ),
    evolve(LIMIT, about="Sessions on a page."),
    CURSOR,
    FORMAT,
)
VISIT_PARAMETERS: Final[tuple[Parameter, ...]] = (
    *(one for one in FILTERS if one.name != "person"),
    evolve(LIMIT, about="Sessions on a page.", schema={**LIMIT.schema, "default": VISITS}),
    CURSOR,
    FORMAT,
)
DAY_PARAMETERS: Final[tuple[Parameter, ...]] = (*FILTERS, FORMAT)

TEXTS: Final = 50
TRANSCRIPT_TEXTS: Final = 1_000
TEXT_PARAMETERS: Final[tuple[Parameter, ...]] = (
    *TEXT_FILTERS,
    evolve(LIMIT, about="Texts on a page."),
    CURSOR,
)
_PLACE: Final = r"^[0-9]{1,12}\.[0-9]{1,17}_[0-9]{1,18}$"


def _place_cursor(cursor: str) -> str:
    """Checked here too: where no text is kept, nothing else would read it."""
    if re.search(_PLACE, cursor, re.ASCII) is None:
        raise ValueError
    return cursor


def _few_digits(cursor: str) -> str:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 7):
        raise ValueError
    return cursor


TRANSCRIPT_PARAMETERS: Final[tuple[Parameter, ...]] = (
    number("limit", "Texts on a page.", 1, 5_000, TRANSCRIPT_TEXTS),
    evolve(CURSOR, schema={"type": "string", "pattern": _PLACE}, read=_place_cursor),
)

TURNS: Final = 1_000
TURN_PARAMETERS: Final[tuple[Parameter, ...]] = (
    number("limit", "Turns on a page.", 1, 5_000, TURNS),
    evolve(CURSOR, schema={"type": "string", "pattern": "^[0-9]{1,6}$"}, read=_few_digits),
)
AGENT_DAYS: Final = 30
"""Days that are looked at where the query says nothing."""
AGENT_PARAMETERS: Final[tuple[Parameter, ...]] = tuple(
    one for one in FILTERS if one.name in ("room", "person", "since", "until")
)


MOST_EVENTS: Final = 10_000
EVENTS_LIMIT: Final = number(
    "limit", "Events in `timeline` at most; 4 MiB of them.", 1, MOST_EVENTS, MOST_EVENTS
)
_EVENTS_CURSOR: Final = r"^[0-9]{1,15}\.[0-9]{1,15}$"


def _events_cursor(text: str) -> str:
    """Checked here too: a CSV answer has no timeline, so nothing else would read its cursor."""
    if re.search(_EVENTS_CURSOR, text, re.ASCII) is None:
        raise ValueError
    return text


EVENTS_CURSOR: Final = evolve(
    CURSOR, schema={"type": "string", "pattern": _EVENTS_CURSOR}, read=_events_cursor
)


def asked(request: Request, parameters: Sequence[Parameter] = ()) -> dict[str, Any]:
    """The values of a GET's query, by name.  Raises `HTTPException`; it echoes nothing."""
    headers = request.headers
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise HTTPException(400, "a GET has no body")
    if len(request.scope["query_string"]) > QUERY_BYTES:
        raise HTTPException(414, f"a query has at most {QUERY_BYTES} bytes")
    given = request.query_params.multi_items()
    by_name = {parameter.name: parameter for parameter in parameters}
    if any(name not in by_name for name, _ in given):
        known = ", ".join(by_name) or "none here"
        raise HTTPException(400, f"an unknown parameter is in the query; there are: {known}")
    if any(times > 1 for times in Counter(name for name, _ in given).values()):
        raise HTTPException(400, "a parameter is in the query more than once")
    try:
        return {name: read_value(by_name[name], text) for name, text in given}
    except WrongFilter as error:
        raise HTTPException(400, str(error)) from None


def require_no_query(request: Request) -> None:
    """For a request that is no GET: raises `HTTPException` where it has a query."""
    if request.scope["query_string"]:
        raise HTTPException(400, "an unknown parameter is in the query; there are: none here")
