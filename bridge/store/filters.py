"""The filters of a list of sessions, as one table: the API's query and the command line's flags.

A filter's name is a field of `Filters`.  Its text is read here, whichever way it came; how it
is asked of the store stands in `bridge.store.reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from fnmatch import translate
from typing import Any, Final, Literal

from attrs import frozen

from actors.session import QUALITIES, Quality

NAME_LENGTH: Final = 300
"""Characters of a name or a pattern.  LiveKit's own names have 256 at most."""


@frozen
class Filters:
    """Which sessions a list has; a filter that is None does not matter."""

    room: str | None = None
    """A pattern (`glob_of`) of the room's name."""
    person: str | None = None
    """A pattern of the identity, the display name or the person key of somebody who was in it."""
    status: Literal["active", "ended"] | None = None
    since: float | None = None
    """Unix seconds: it began then or later."""
    until: float | None = None
    """Unix seconds: it began before."""
    people: int | None = None
    """At least so many were there at once."""
    quality: Quality | None = None
    """Somebody had it for some time."""


ALL: Final = Filters()


@frozen
class Parameter:
    """One name in a query, or one flag."""

    name: str
    about: str
    schema: Mapping[str, Any]
    """Its form as JSON Schema."""
    read: Callable[[str], Any] = str
    """Its value from its text; ValueError where it has not that form."""
    metavar: str = "TEXT"
    """What stands for its value in a command's help."""


class WrongFilter(ValueError):
    """A filter has a wrong form."""

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"{name}: give {wanted}")
        self.name = name
        self.wanted = wanted


def wanted(row: Parameter) -> str:
    """Its form, for a person who gave another."""
    schema = row.schema
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "minimum" in schema:
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if "anyOf" in schema:
        return "a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31"
    if "maxLength" in schema:
        return f"a text of 1 to {schema['maxLength']} characters"
    return f"the `next` of an earlier list, {schema['pattern']}"


# ---------------------------------------------------------------- patterns

_SPECIAL: Final = frozenset("*?[")
_ESCAPED: Final = _SPECIAL | {"]", "\\"}


@frozen
class _OneOf:
    """One character: of these, or of all others."""

    chars: str
    negated: bool = False


def _parts(pattern: str) -> Iterator[str | _OneOf]:
    r"""The parts of a pattern: `*`, `?`, and which characters may stand at a place.

    `[abc]` and `[a-c]` are one of these, `[^abc]` none of these; a "]" that comes first is
    one of them.  A backslash takes its meaning from a special character after it: ``\[team\]``
    is the room ``[team]``.  A "[" that is never closed is itself.
    """
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and pattern[at + 1 : at + 2] in _ESCAPED:
            at += 1
            yield _OneOf(pattern[at])
        elif char == "[":
            negated = pattern.startswith("[^", at)
            begin = at + 1 + negated
            end = pattern.find("]", begin + 1)
            if end < 0:
                yield _OneOf(char)
            else:
                yield _OneOf(pattern[begin:end], negated)
                at = end
        else:
            yield char if char in _SPECIAL else _OneOf(char)
        at += 1


def glob_of(pattern: str) -> str:
    """The pattern as SQLite's GLOB takes it."""
    return "".join(part if isinstance(part, str) else _class(part, "^") for part in _parts(pattern))


def regex_of(pattern: str) -> re.Pattern[str]:
    """The same pattern for a whole text in memory: it finds what GLOB finds.

    By way of `fnmatch`, whose expressions do not go back and forth over a long text.
    """
    found: list[str] = []
    for part in _parts(pattern):
        if isinstance(part, str):
            found.append(part)
        elif part.chars[0] == "!" and not part.negated:
            # As the first character of a class it would negate it there.
            found.append(f"[{part.chars[1:]}!]" if len(part.chars) > 1 else "!")
        else:
            found.append(_class(part, "!"))
    return re.compile(translate("".join(found)))


def _class(part: _OneOf, negation: str) -> str:
    if part.negated:
        return f"[{negation}{part.chars}]"
    single = len(part.chars) == 1 and part.chars not in _SPECIAL
    return part.chars if single else f"[{part.chars}]"


def is_pattern(text: str) -> bool:
    """Whether some of its characters have a meaning of their own."""
    return any(char in _SPECIAL or char == "\\" for char in text)


# ---------------------------------------------------------------- values


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        # `int` takes more than digits.
        if not (
            text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most
        ):
            raise ValueError
        return int(text)

    return read


def name(text: str) -> str:
    if not 0 < len(text) <= NAME_LENGTH:
        raise ValueError
    return text


def moment(text: str) -> float:
    """Unix seconds of an RFC 3339 time with its zone, or of the midnight (UTC) of a date."""
    try:
        if "T" not in text.upper():
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        found = datetime.fromisoformat(text.upper())
        if found.tzinfo is None:
            raise ValueError
        return found.timestamp()
    except OverflowError:
        raise ValueError from None


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


# ---------------------------------------------------------------- the table


def choice(name: str, about: str, *names: str) -> Parameter:
    schema = {"type": "string", "enum": list(names)}
    return Parameter(name, about, schema, one_of(*names), "|".join(names))


def text(called: str, about: str, metavar: str) -> Parameter:
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
    return Parameter(called, about, schema, name, metavar)


def number(name: str, about: str, least: int, most: int, otherwise: int | None = None) -> Parameter:
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if otherwise is not None:
        schema["default"] = otherwise
    return Parameter(name, about, schema, whole(least, most), "N")


def _time(name: str, about: str) -> Parameter:
    schema = {"anyOf": [{"type": "string", "format": form} for form in ("date-time", "date")]}
    return Parameter(name, about, schema, moment, "TIME")


ROOM: Final = text(
    "room",
    "Rooms with this name; a pattern such as `team-*`, with `\\` before a `*`, `?` or `[` "
    "that is part of the name.",
    "PATTERN",
)
FILTERS: Final = (
    ROOM,
    text(
        "person",
        "Sessions of somebody with this identity, display name or person key; a pattern.",
        "PATTERN",
    ),
    choice("status", "Sessions that are live, or that are over.", "active", "ended"),
    _time("since", "Sessions that began then or later: RFC 3339 with a zone, or a date (UTC)."),
    _time("until", "Sessions that began before: RFC 3339 with a zone, or a date (UTC)."),
    number("people", "Sessions with at least so many people at once.", 0, 1_000_000),
    choice("quality", "Sessions in which somebody had this quality.", *QUALITIES),
)
"""One row a field of `Filters`."""

CURSOR: Final = Parameter(
    "cursor",
    "The `next` of the page before.",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
    name,
    "CURSOR",
)


def read_filters(given: Mapping[str, object]) -> Filters:
    """The filters among these flags.  Raises `WrongFilter`."""
    found: dict[str, Any] = {}
    for row in FILTERS:
        if row.name in given:
            found[row.name] = read_value(row, str(given[row.name]))
    return Filters(**found)


def read_value(row: Parameter, text: str) -> Any:
    """Its value.  Raises `WrongFilter`."""
    try:
        return row.read(text)
    except ValueError:
        raise WrongFilter(row.name, wanted(row)) from None
