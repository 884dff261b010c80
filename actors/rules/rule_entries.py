"""The entries of a timeline that a rule reads: at others it is not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from actors.rules.rule_config import RULE_ENTRIES, Rule
from actors.session import ENTRY_KEYS, TimelineEntry

GAP_ENTRIES: Final = frozenset({"reconnected", "suspended"})
"""Entries at the end of a time that nobody saw."""
WATCH_ENTRIES: Final = GAP_ENTRIES | {"session_started", "reconnecting", "session_ended"}


_fits = lru_cache(maxsize=4096)(fnmatchcase)
"""Names of entries and patterns of rules are few, and each entry of a session is compared."""


def is_matched(entry: TimelineEntry, pattern: str) -> bool:
    """True if an entry fires a rule of an event.

    A rule's own acts do not fire rules: neither their entries nor messages of the server's API,
    which have no sender.
    """
    if entry.event in RULE_ENTRIES or not _fits(entry.event, pattern):
        return False
    return entry.event != "data_message" or bool(entry.data.get("identity"))


def is_reader(rule: Rule, name: str) -> bool:
    """True if an entry of this name may change the rule."""
    if name in rule.reads or "*" in rule.reads:
        return True
    return rule.event is not None and _fits(name, rule.event)


def wanted_entries(rules: Iterable[Rule]) -> frozenset[str]:
    """The names of the entries that any of these rules needs to get."""
    events, reads = set[str](), set[str]()
    for rule in rules:
        reads |= rule.reads
        if rule.event is not None:
            events |= {name for name in ENTRY_KEYS if _fits(name, rule.event)}
    return frozenset((events - RULE_ENTRIES) | reads | WATCH_ENTRIES)
