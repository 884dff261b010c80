"""`[[limit]]`: how many people, tracks and how much time a room may have.  Pure.

    [[limit]]
    rooms = ["free-*"]
    people = 10
    tracks_per_person = 3
    duration = "1h"                   # of the room
    person_duration = "40m"           # of one join
    over = "remove-newest"            # or "hold", "alert"
    message = "This room is full."

The server's time of the join says who is newest, never the order in which joins became known:
LiveKit announces them in batches without an order.  Only people count (a SIP caller is one);
agents, egress, ingress and hidden participants are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

from actors.rules.acts import TEXT_LENGTH
from actors.rules.comparisons import BadComparison, seconds
from actors.rules.conditions import people_of
from actors.session import SessionState
from actors.session.participant import Participant

Over: TypeAlias = Literal["remove-newest", "hold", "alert"]
OVER: Final[tuple[Over, ...]] = ("remove-newest", "hold", "alert")
KEYS: Final = (
    "name", "rooms", "people", "tracks_per_person", "duration", "person_duration", "over", "message"
)  # fmt: skip
MOST: Final = 100_000


class BadLimit(ValueError):
    """What is wrong with a limit; `key` says where."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


@frozen
class Limit:
    """What the rooms of some names may have.  None: no bound."""

    name: str
    rooms: tuple[str, ...]
    people: int | None = None
    tracks_per_person: int | None = None
    duration: float | None = None
    """Seconds since the room was made."""
    person_duration: float | None = None
    """Seconds of one join."""
    over: Over = "remove-newest"
    message: str = ""

    def watches(self, room: str) -> bool:
        return any(fnmatchcase(room, pattern) for pattern in self.rooms)


Kind: TypeAlias = Literal["people", "tracks", "duration", "person_duration"]


@frozen
class Excess:
    """One thing that is beyond a limit."""

    limit: Limit
    kind: Kind
    identity: str = ""
    """The person; "" where it is the whole room."""
    join_sid: str = ""
    track_sid: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for as long as it is beyond: it is acted on once."""
        return self.limit.name, self.kind, self.join_sid, self.track_sid


def excesses(limit: Limit, state: SessionState, now: float) -> Iterator[Excess]:
    """All that is beyond `limit` at `now` (Unix seconds)."""
    if limit.duration is not None and now >= _made(state) + limit.duration:
        yield Excess(limit, "duration")
    people = people_of(state)
    if limit.people is not None:
        for person in sorted(people, key=_joined)[limit.people :]:
            yield Excess(limit, "people", person.identity, person.joins[-1].sid)
    for person in people:
        sid = person.joins[-1].sid
        if limit.person_duration is not None and now >= _joined(person)[0] + limit.person_duration:
            yield Excess(limit, "person_duration", person.identity, sid)
        if limit.tracks_per_person is not None:
            mine = [one for one in state.tracks.values() if one.identity == person.identity]
            mine.sort(key=lambda track: track.number)
            for track in mine[limit.tracks_per_person :]:
                yield Excess(limit, "tracks", person.identity, sid, track.sid)


def next_time(limit: Limit, state: SessionState, now: float) -> float:
    """Unix seconds when time alone makes an excess; infinite where it does not."""
    times = list[float]()
    if limit.duration is not None:
        times.append(_made(state) + limit.duration)
    if limit.person_duration is not None:
        times += (_joined(person)[0] + limit.person_duration for person in people_of(state))
    return min((time for time in times if time > now), default=inf)


def _made(state: SessionState) -> float:
    return state.started_at if state.created_at is None else state.created_at


def _joined(person: Participant) -> tuple[float, int]:
    join = person.joins[-1]
    return join.joined_at, person.number


# ---------------------------------------------------------------- the config file


def read_limits(tables: Sequence[Mapping[str, Any]]) -> tuple[Limit, ...]:
    """Raises `BadLimit`, with the number in its key."""
    limits = list[Limit]()
    for number, table in enumerate(tables, 1):
        try:
            limit = _read(table, number)
        except BadLimit as error:
            raise BadLimit(f"limit {number}: {error.key}", str(error)) from None
        if any(limit.name == other.name for other in limits):
            raise BadLimit(f"limit {number}: name", "another limit has this name")
        limits.append(limit)
    return tuple(limits)


def _read(table: Mapping[str, Any], number: int) -> Limit:
    for key in table:
        if key not in KEYS:
            raise BadLimit(key, f"there is no such key; a limit takes {', '.join(KEYS)}")
    name = table.get("name", f"limit {number}")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
        raise BadLimit("name", "it must be a text of 1 to 100 characters")
    rooms: object = table.get("rooms")
    patterns: list[object] = rooms if isinstance(rooms, list) else [rooms]  # pyright: ignore[reportUnknownVariableType]
    if not patterns or not all(isinstance(one, str) for one in patterns):
        raise BadLimit("rooms", 'it must be a list of room names, like ["free-*"]')
    over = table.get("over", "remove-newest")
    if over not in OVER:
        raise BadLimit("over", f"it must be one of {', '.join(OVER)}")
    message = table.get("message", "")
    if not isinstance(message, str) or len(message) > TEXT_LENGTH:
        raise BadLimit("message", f"it must be a text of at most {TEXT_LENGTH} characters")
    limit = Limit(
        name,
        tuple(map(str, patterns)),
        _count(table, "people"),
        _count(table, "tracks_per_person"),
        _span(table, "duration"),
        _span(table, "person_duration"),
        over,
        message,
    )
    bounds = (limit.people, limit.tracks_per_person, limit.duration, limit.person_duration)
    if all(one is None for one in bounds):
        raise BadLimit("people", "it needs people, tracks_per_person, duration or person_duration")
    return limit


def _count(table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise BadLimit(key, f"it must be a whole number from 0 to {MOST}")
    return value


def _span(table: Mapping[str, Any], key: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise BadComparison("it must be a text like 30m")
        span = seconds(value)
    except BadComparison as error:
        raise BadLimit(key, str(error)) from None
    if span <= 0:
        raise BadLimit(key, "it must be more than 0s")
    return span
