"""One `[[rule]]` of the config file, compiled.  Pure.

    [[rule]]
    name = "nobody is left alone"
    rooms = ["team-*"]
    when = { people = "== 1", age = "> 10m" }      # all of them
    any = { silence_for = "> 10m" }                # and one of these, where there are some
    for = "5m"                                     # so long without a break
    keep = "1m"                                    # and so long after it does not hold any more
    then = [{ send = "This room closes in a minute." }, { end_room = { warn = "1m" } }]
    limit = 10                                     # acts an hour

Every mistake is a `BadRule` with the key that is wrong and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from attrs import frozen

from actors.rules.acts import ON_A_PERSON, Act, BadAct, SendText, read_acts
from actors.rules.comparisons import BadComparison, seconds
from actors.rules.conditions import PERSON, ROOM, BadCondition, Condition, compiled
from actors.session.timeline_entry import ENTRY_KEYS

RULE_ENTRIES: Final = frozenset({"alert_firing", "alert_resolved", "act_done", "act_failed"})
"""Entries that rules make.  They fire no rule, else one could fire itself."""
END_ENTRIES: Final = frozenset({"session_ended", "room_ended"})
KEYS: Final = (
    "name", "rooms", "when", "any", "person", "event", "for", "keep", "then", "limit", "dry_run"
)  # fmt: skip
NAME_LENGTH: Final = 100
LIMIT: Final = 60
"""Acts an hour of a rule that says nothing."""
LONGEST: Final = 30 * 86_400.0
"""Seconds: of `for` and `keep`."""


class BadRule(ValueError):
    """A rule is wrong: the text says why.  `key` says where."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


@frozen
class Rule:
    """A compiled rule."""

    name: str
    rooms: tuple[str, ...]
    all_of: tuple[Condition, ...]
    any_of: tuple[Condition, ...]
    of_person: tuple[Condition, ...] | None
    """None: the rule is about the room."""
    event: str | None
    """Pattern of the entries at which it fires, at each one; None: it has episodes."""
    lasting: float
    """Seconds that it must hold before it fires (`for`)."""
    keep: float
    """Seconds that it fires on after it stopped to hold."""
    acts: tuple[Act, ...]
    limit: int
    """Acts an hour."""
    dry_run: bool
    reads: frozenset[str]
    """Names of the entries after which it may be another; one of "*" means any."""
    room_reads: frozenset[str] = frozenset()
    """Those of them that conditions of the room read."""

    def watches(self, room: str) -> bool:
        return any(fnmatchcase(room, pattern) for pattern in self.rooms)


def read_rule(table: Mapping[str, Any]) -> Rule:
    """Raises `BadRule`."""
    for key in table:
        if key not in KEYS:
            raise BadRule(key, f"there is no such key; a rule takes {', '.join(KEYS)}")
    try:
        return _read(table)
    except (BadCondition, BadAct) as error:
        raise BadRule(error.key, str(error)) from None


def _read(table: Mapping[str, Any]) -> Rule:
    name = table.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise BadRule("name", f"it must be a text of 1 to {NAME_LENGTH} characters")
    all_of = compiled(_table(table, "when"), ROOM, "when")
    any_of = compiled(_table(table, "any"), ROOM, "any")
    person = compiled(_table(table, "person"), PERSON, "person") if "person" in table else None
    event = table.get("event")
    if event is not None and (
        not isinstance(event, str)
        or not any(fnmatchcase(one, event) for one in ENTRY_KEYS.keys() - RULE_ENTRIES)
    ):
        raise BadRule("event", "there is no such event; the timeline's names are allowed, with *")
    if event in END_ENTRIES:
        raise BadRule("event", "the room is over then, so no rule acts; a [[webhook]] gets it")
    if not (all_of or any_of or person or event):
        raise BadRule("when", f"it needs a condition: when, any, person or event; {_words()}")
    if event is not None and ("for" in table or "keep" in table):
        raise BadRule("for", "a rule of an event fires at the event: it takes neither for nor keep")
    acts = read_acts(table.get("then", []))
    for act in acts:
        on_person = isinstance(act, ON_A_PERSON) or (isinstance(act, SendText) and act.to_person)
        if on_person and person is None and event is None:
            raise BadRule("then", "an act on a person needs the table person, or an event")
    limit = table.get("limit", LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
        raise BadRule("limit", "it must be a whole number of acts an hour, from 1 to 10000")
    dry_run = table.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise BadRule("dry_run", "it must be true or false")
    conditions = (*all_of.values(), *any_of.values(), *(person or {}).values())
    return Rule(
        name,
        _rooms(table.get("rooms", ["*"])),
        tuple(all_of.values()),
        tuple(any_of.values()),
        None if person is None else tuple(person.values()),
        event,
        _span(table, "for"),
        _span(table, "keep"),
        acts,
        limit,
        dry_run,
        frozenset[str]().union(*(one.reads for one in conditions)),
        frozenset[str]().union(*(one.reads for one in (*all_of.values(), *any_of.values()))),
    )


def read_rules(tables: list[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """All of a file; their names are unique.  Raises `BadRule`, with the number in its key."""
    rules = list[Rule]()
    for number, table in enumerate(tables, 1):
        try:
            rule = read_rule(table)
        except BadRule as error:
            raise BadRule(f"rule {number}: {error.key}", str(error)) from None
        if any(rule.name == other.name for other in rules):
            raise BadRule(f"rule {number}: name", "another rule has this name")
        rules.append(rule)
    return tuple(rules)


def _words() -> str:
    return f"conditions are {', '.join(ROOM)}"


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise BadRule(key, 'it must be a table like { people = "> 3" }')
    return value  # pyright: ignore[reportUnknownVariableType]


def _rooms(value: object) -> tuple[str, ...]:
    items: list[object] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    if not items or not all(isinstance(one, str) for one in items):
        raise BadRule("rooms", 'it must be a list of room names, like ["team-*"]')
    return tuple(map(str, items))


def _span(table: Mapping[str, Any], key: str) -> float:
    value = table.get(key, "0s")
    try:
        if not isinstance(value, str):
            raise BadComparison("a duration is a text like 30s or 10m")
        span = seconds(value)
    except BadComparison as error:
        raise BadRule(key, str(error)) from None
    if span > LONGEST:
        raise BadRule(key, "it must be 30 days or less")
    return span
