"""What a request asks for: its query, read by the same table that `/openapi.json` shows.

A query is taken whole or not at all: what nobody knows, is given twice or is of a wrong
form is an error, so that nobody takes an unfiltered list for a filtered one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request

from actors.session import QUALITIES

QUERY_BYTES: Final = 4_096
"""Of a query; all parameters at their longest stay below."""
PAGE: Final = 50
MOST: Final = 500
"""Sessions on one page."""
NAME_LENGTH: Final = 300
"""Characters of a name or a pattern.  LiveKit's own names have 256 at most."""


@frozen
class Parameter:
    """One name in a query."""

    name: str
    about: str
    schema: Mapping[str, Any]
    """Its form as JSON Schema."""
    read: Callable[[str], Any] = str
    """Its value from its text; ValueError where it has not that form."""


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # `int` takes more than digits.
        if not (
            text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most
        ):
            raise ValueError
        return int(text)

    return read


def _name(text: str) -> str:
    if not 0 < len(text) <= NAME_LENGTH:
        raise ValueError
    return text


def _time(text: str) -> float:
    found = datetime.fromisoformat(text.upper())
    if found.tzinfo is None or "T" not in text.upper():
        raise ValueError
    try:
        return found.timestamp()
    except OverflowError:
        raise ValueError from None


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


def _choice(name: str, about: str, *names: str) -> Parameter:
    return Parameter(name, about, {"type": "string", "enum": list(names)}, _one_of(*names))


def _text(name: str, about: str) -> Parameter:
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
    return Parameter(name, about, schema, _name)


def _number(
    name: str, about: str, least: int, most: int, otherwise: int | None = None
) -> Parameter:
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if otherwise is not None:
        schema["default"] = otherwise
    return Parameter(name, about, schema, _whole(least, most))


def _moment(name: str, about: str) -> Parameter:
    return Parameter(name, about, {"type": "string", "format": "date-time"}, _time)


FORMAT: Final = _choice(
    "format", "Goes before `Accept`, for whoever cannot set that.", "json", "csv"
)
ROOM: Final = _text("room", "Rooms with this name; a glob pattern such as `team-*`.")
FILTERS: Final = (
    ROOM,
    _text("person", "An identity that was in it."),
    _choice("status", "Live, or over.", "active", "ended"),
    _moment("since", "It began then or later (RFC 3339 with a zone)."),
    _moment("until", "It began before (RFC 3339 with a zone)."),
    _number("people", "At least so many people were there at once.", 0, 1_000_000),
    _choice("quality", "Somebody had it for some time.", *QUALITIES),
)
"""The names are those of `bridge.store.reader.Filters`."""
LIMIT: Final = _number("limit", "Sessions on a page.", 1, MOST, PAGE)
CURSOR: Final = Parameter(
    "cursor",
    "The `next` of the page before.",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
    _name,
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
    return {name: _read(by_name[name], text) for name, text in given}


def _read(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.read(text)
    except ValueError:
        wanted = ", ".join(f"{key} {value}" for key, value in parameter.schema.items())
        raise HTTPException(400, f"{parameter.name}: wanted is {wanted}") from None
