"""Limits: how many people, tracks and how much time a room may have.  Pure.

The server's time of the join decides who is newest, never the order in which joins became known:
LiveKit announces them in batches without an order.  Only people count (a SIP caller is one);
agents, egress, ingress and hidden participants are never touched.

A person counts from the first report of their join, also where only a webhook has it yet: LiveKit
announces somebody who publishes nothing up to 3 s later.  A person with a provisional leave does
not count.  If that leave turns out to be untrue, they count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from math import inf
from typing import Final, Literal, TypeAlias

from attrs import frozen

from actors.session import SessionState
from actors.session.participant import COUNTED_KINDS
from actors.session.room_info import Permissions
from actors.session.sighting import join_of

Over: TypeAlias = Literal["remove-newest", "hold", "alert"]
OVERS: Final[tuple[Over, ...]] = ("remove-newest", "hold", "alert")
LimitKind: TypeAlias = Literal["people", "tracks", "duration", "person_duration"]
LimitAction: TypeAlias = Literal["remove", "mute", "end_room", "hold", "alert"]

_REMOVALS: Final[dict[LimitKind, LimitAction]] = {
    "people": "remove",
    "person_duration": "remove",
    "tracks": "mute",
    "duration": "end_room",
}
"""The act of `remove-newest` for each kind.  LiveKit can mute a track, but not unpublish it."""


@frozen
class Limit:
    """The bounds of the rooms with some names.  None: no bound."""

    name: str
    rooms: tuple[str, ...]
    """Patterns with `*` and `?`."""
    people: int | None = None
    tracks_per_person: int | None = None
    duration: float | None = None
    """Seconds since the room was made."""
    person_duration: float | None = None
    """Seconds of one join."""
    over: Over = "remove-newest"
    message: str = ""
    """Sent to the person (for a duration: to everybody) before the act."""

    def watches(self, room: str) -> bool:
        return any(fnmatchcase(room, pattern) for pattern in self.rooms)

    def action(self, kind: LimitKind) -> LimitAction:
        return _REMOVALS[kind] if self.over == "remove-newest" else self.over


@frozen
class PresentPerson:
    """One person in a room, with their open join."""

    identity: str
    sid: str
    joined_at: float
    """Unix seconds, the server's own."""
    restricted: bool = False
    """They may neither publish tracks nor send data."""


@frozen
class Excess:
    """One thing beyond a limit."""

    limit: Limit
    kind: LimitKind
    identity: str = ""
    """The person; "" if it is the whole room."""
    sid: str = ""
    """Of their join."""
    track_sid: str = ""

    @property
    def key(self) -> tuple[str, LimitKind, str, str]:
        """The same for as long as it is beyond the limit.  Another join has another key."""
        return self.limit.name, self.kind, self.sid, self.track_sid


def by_join(people: Iterable[PresentPerson]) -> list[PresentPerson]:
    """The people in the order of their joins, the oldest first."""
    return sorted(people, key=lambda one: (one.joined_at, one.sid))


def people_of(state: SessionState) -> list[PresentPerson]:
    """Everybody who counts now, by the order of their joins."""
    people = {
        one.identity: PresentPerson(
            one.identity,
            one.joins[-1].sid,
            one.joins[-1].joined_at,
            is_restricted(one.permissions),
        )
        for one in state.present.values()
        if one.takes_part and one.identity not in state.provisional_leaves
    }
    for expected in state.expected.values():
        info = expected.info
        join = join_of(info, info.joined_at, answer_observed=True)
        if info.kind not in COUNTED_KINDS or not join.effective:
            continue
        # A second join of an identity ends the first one.
        known = people.get(info.identity)
        if known is None or known.joined_at <= info.joined_at:
            people[info.identity] = PresentPerson(
                info.identity, info.sid, info.joined_at, is_restricted(info.permissions)
            )
    return by_join(people.values())


def is_restricted(permissions: Permissions | None) -> bool:
    """True if they allow neither tracks nor data; False if they are not known."""
    return permissions is not None and not (permissions.can_publish or permissions.can_publish_data)


def excesses(
    limit: Limit, state: SessionState, people: Sequence[PresentPerson], now: float
) -> Iterator[Excess]:
    """All that is beyond `limit` at `now` (Unix seconds).  `people` as by `people_of`."""
    if limit.duration is not None and now >= _began(state) + limit.duration:
        if limit.over == "hold":
            yield from (Excess(limit, "duration", one.identity, one.sid) for one in people)
        else:
            yield Excess(limit, "duration")
    if limit.people is not None:
        for one in people[limit.people :]:
            yield Excess(limit, "people", one.identity, one.sid)
    if limit.person_duration is not None:
        for one in people:
            if now >= one.joined_at + limit.person_duration:
                yield Excess(limit, "person_duration", one.identity, one.sid)
    if limit.tracks_per_person is not None:
        yield from _tracks(limit, limit.tracks_per_person, state, people)


def _tracks(
    limit: Limit, most: int, state: SessionState, people: Sequence[PresentPerson]
) -> Iterator[Excess]:
    """The newest tracks of each person, without those that are muted already."""
    sids = {one.identity: one.sid for one in people}
    tracks = dict[str, list[tuple[int, str, bool]]]()
    for track in state.tracks.values():
        if track.identity in sids and track.sid not in state.provisional_unpublishes:
            muted = track.muted.since is not None
            tracks.setdefault(track.identity, []).append((track.number, track.sid, muted))
    for identity, published in tracks.items():
        for _, sid, muted in sorted(published)[most:]:
            if not (muted and limit.over == "remove-newest"):
                yield Excess(limit, "tracks", identity, sids[identity], sid)


def next_time(
    limit: Limit, state: SessionState, people: Sequence[PresentPerson], now: float
) -> float:
    """Unix seconds when time alone makes an excess; infinite if it does not."""
    times = list[float]()
    if limit.duration is not None:
        times.append(_began(state) + limit.duration)
    if limit.person_duration is not None:
        times += (one.joined_at + limit.person_duration for one in people)
    return min((time for time in times if time > now), default=inf)


def _began(state: SessionState) -> float:
    return state.started_at if state.created_at is None else state.created_at
