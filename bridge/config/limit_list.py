"""`[[limit]]`: how many people, tracks and how much time the rooms with some names may have.

[[limit]]
rooms = ["free-*"]
people = 10
tracks_per_person = 3
duration = "1h"                   # of the room
person_duration = "40m"           # of one join
over = "remove-newest"            # or "hold", "alert"
message = "This room is full."
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from attrs import evolve

from actors.rules.limits import OVERS, Limit, Over
from bridge.config import values
from bridge.config.setting_lists import ListKey, SettingList, register_list
from bridge.config.values import BadValue

NAME_LENGTH: Final = 100
MESSAGE_LENGTH: Final = 4_000
MOST: Final = 100_000
"""The most people or tracks that a limit may name."""
_DAY: Final = 86_400.0


def _name(value: object) -> str:
    name = values.text(value)
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise BadValue(f"is not a name; give 1 to {NAME_LENGTH} characters that print")
    return name


def _rooms(value: object) -> tuple[str, ...]:
    rooms = values.globs(value)
    if not rooms:
        raise BadValue('names no rooms; give a list of names with * and ?, like ["free-*"]')
    return rooms


def _over(value: object) -> Over:
    word = values.choice(*OVERS)(value)
    return next(one for one in OVERS if one == word)


def _message(value: object) -> str:
    message = values.text(value)
    if len(message) > MESSAGE_LENGTH:
        raise BadValue(f"is too long; give at most {MESSAGE_LENGTH} characters")
    return message


def _require_bound(limit: Limit) -> None:
    bounds = (limit.people, limit.tracks_per_person, limit.duration, limit.person_duration)
    if all(bound is None for bound in bounds):
        raise BadValue(
            "it bounds nothing: give people, tracks_per_person, duration or person_duration"
        )


LIMITS: Final = SettingList(
    "limit",
    Limit,
    (
        ListKey("name", _name, default=""),
        ListKey("rooms", _rooms, required=True),
        ListKey("people", values.whole_number(0, MOST)),
        ListKey("tracks-per-person", values.whole_number(0, MOST)),
        ListKey("duration", values.duration(1.0, 30 * _DAY)),
        ListKey("person-duration", values.duration(1.0, 30 * _DAY)),
        ListKey("over", _over, default="remove-newest"),
        ListKey("message", _message, default=""),
    ),
    unique="name",
    require=_require_bound,
)
register_list(LIMITS)


class _HasLimits(Protocol):
    """The part of the settings that has limits."""

    def tables(self, row: SettingList[Limit]) -> tuple[Limit, ...]: ...


def limits_of(settings: _HasLimits) -> tuple[Limit, ...]:
    """The limits of the file.  A limit without a name is called by its number: `limit 1`."""
    return named(settings.tables(LIMITS))


def named(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    return tuple(
        limit if limit.name else evolve(limit, name=f"limit {number}")
        for number, limit in enumerate(limits, 1)
    )
