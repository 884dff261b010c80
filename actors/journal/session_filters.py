"""The filters of a list of sessions, as one table: the API's query and the command line's flags.

The name of a filter is a field of `Filters`.  Its text is read here, from a query or from a
flag.  A store asks its own database for the same (SQLite: `bridge.store.session_queries`).
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
    """The conditions that the sessions of a list meet.  A filter that is None does not matter."""

    room: str | None = None
    """A pattern (`pattern_parts`) of the room's name."""
    person: str | None = None
    """A pattern of the identity, the display name or the person key of a participant."""
    status: Literal["active", "ended"] | None = None
    since: float | None = None
    """Unix seconds: the session began then or later."""
    until: float | None = None
    """Unix seconds: the session began before."""
    people: int | None = None
    """At least so many people were there at once."""
    quality: Quality | None = None
    """A participant had this connection quality for some time."""


ALL: Final = Filters()


@frozen
class Parameter:
    """One name in a query, or one flag."""

    name: str
    about: str
    schema: Mapping[str, Any]
    """The form of its value as JSON Schema."""
    read: Callable[[str], Any] = str
    """Gives its value from its text.  Raises ValueError where the text has another form."""
    metavar: str = "TEXT"
    """The placeholder for its value in a command's help."""


class WrongFilter(ValueError):
    """A filter has a wrong form."""

    def __init__(self, name: str, form: str) -> None:
        super().__init__(f"{name}: give {form}")
        self.name = name


def expected_form(parameter: Parameter) -> str:
    """The form of its value in words, for a person who gave another one."""
    schema = parameter.schema
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

SPECIAL: Final = frozenset("*?[")
_ESCAPED: Final = SPECIAL | {"]", "\\"}


@frozen
class CharacterClass:
    """One character of a text: one of `chars`, or, negated, none of them."""

    chars: str
    negated: bool = False

    def glob(self, negation: str) -> str:
        """The class in a glob whose sign of negation is `negation`."""
        if self.negated:
            return f"[{negation}{self.chars}]"
        single = len(self.chars) == 1 and self.chars not in SPECIAL
        return self.chars if single else f"[{self.chars}]"


def pattern_parts(pattern: str) -> Iterator[str | CharacterClass]:
    r"""The parts of a pattern: `*`, `?`, and the characters that may stand at a place.

    `[abc]` and `[a-c]` are one of these, `[^abc]` is none of these.  A "]" that comes first is
    one of them.  A backslash before a special character takes its meaning away: ``\[team\]``
    is the room ``[team]``.  A "[" without an end is itself.
    """
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and pattern[at + 1 : at + 2] in _ESCAPED:
            at += 1
            yield CharacterClass(pattern[at])
        elif char == "[":
            negated = pattern.startswith("[^", at)
            begin = at + 1 + negated
            end = pattern.find("]", begin + 1)
            if end < 0:
                yield CharacterClass(char)
            else:
                yield CharacterClass(pattern[begin:end], negated)
                at = end
        else:
            yield char if char in SPECIAL else CharacterClass(char)
        at += 1


def regex_of(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression that matches a whole text.

    `fnmatch` makes it: its expressions do not backtrack over a long text.
    """
    glob: list[str] = []
    for part in pattern_parts(pattern):
        if isinstance(part, str):
            glob.append(part)
        elif part.chars[0] == "!" and not part.negated:
            # In fnmatch's glob a "!" that comes first negates the class.
            glob.append(f"[{part.chars[1:]}!]" if len(part.chars) > 1 else "!")
        else:
            glob.append(part.glob("!"))
    return re.compile(translate("".join(glob)))


def is_pattern(text: str) -> bool:
    """True if a character of it has a special meaning."""
    return any(char in SPECIAL or char == "\\" for char in text)


# ---------------------------------------------------------------- values


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        # `int` takes more than digits.
        if not (
            text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most
        ):
            raise ValueError
        return int(text)

    return read


def read_name(text: str) -> str:
    """A text of 1 to `NAME_LENGTH` characters.  Raises ValueError."""
    if not 0 < len(text) <= NAME_LENGTH:
        raise ValueError
    return text


def read_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time with its zone, or of the midnight (UTC) of a date."""
    try:
        if "T" not in text.upper():
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is None:
            raise ValueError
        return time.timestamp()
    except OverflowError:
        raise ValueError from None


def one_of(*names: str) -> Callable[[str], str]:
    """A reader that takes these names only."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


# ---------------------------------------------------------------- the table


def choice(name: str, about: str, *names: str) -> Parameter:
    """A parameter with one of these names."""
    schema = {"type": "string", "enum": list(names)}
    return Parameter(name, about, schema, one_of(*names), "|".join(names))


def text(name: str, about: str, metavar: str) -> Parameter:
    """A parameter with a name or a pattern."""
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
    return Parameter(name, about, schema, read_name, metavar)


def number(name: str, about: str, least: int, most: int, default: int | None = None) -> Parameter:
    """A parameter with a whole number."""
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Parameter(name, about, schema, whole_number(least, most), "N")


def _time(name: str, about: str) -> Parameter:
    schema = {"anyOf": [{"type": "string", "format": form} for form in ("date-time", "date")]}
    return Parameter(name, about, schema, read_time, "TIME")


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
    read_name,
    "CURSOR",
)


def read_filters(texts: Mapping[str, object]) -> Filters:
    """The filters among these flags or parameters.  Raises `WrongFilter`."""
    values: dict[str, Any] = {}
    for parameter in FILTERS:
        if parameter.name in texts:
            values[parameter.name] = read_value(parameter, str(texts[parameter.name]))
    return Filters(**values)


def read_value(parameter: Parameter, text: str) -> Any:
    """Its value.  Raises `WrongFilter`."""
    try:
        return parameter.read(text)
    except ValueError:
        raise WrongFilter(parameter.name, expected_form(parameter)) from None
