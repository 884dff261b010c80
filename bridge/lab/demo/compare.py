"""What the people did against what was seen: every number of every session.

`expected` turns the truth about one room into the shape of a session, with matchers
where two clocks are involved or where LiveKit itself tells later than it happened; `diff`
walks both and names each place where they differ.  Keys that are not expected (`id`,
`worker`, `quality`, ...) are not looked at: nobody in the room knows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import attrs
from attrs import define, evolve, field, frozen

from bridge.lab.demo.performance import RoomStory, SessionJson
from bridge.lab.demo.script import Ending
from bridge.lab.people import Deed

Shape: TypeAlias = Mapping[str, Any]

PUBLISHER_LAG: Final = 2.0
"""Seconds by which anything of a person who publishes may be seen late (milliseconds in
truth, but the machine is busy with sixty people)."""
SILENT_LAG: Final = 5.0
"""The same for those who publish nothing: a tick of 3 s at the server."""
VANISHED_AFTER: Final = 22.0
"""Seconds until the server believes that somebody who vanished is gone, give or take 6."""
CLOCK: Final = 0.01
"""Seconds: times that the server tells, in milliseconds."""
TALK_LAG: Final = 2.5
"""Seconds: active speakers begin 0.4 to 0.9 s late and end 0.9 s late."""
MUTE_LAG: Final = 1.0

PEOPLE: Final = frozenset({"standard", "sip"})
"""Kinds that are people; the others are machines and not in the people's counts."""

END_REASONS: Final[Mapping[Ending, str]] = {
    "left": "room_closed",
    "deleted": "room_deleted",
    "open": "worker_stopped",
}
_WITH_THE_ROOM: Final = frozenset({"room_closed", "room_deleted"})
"""Reasons that end the person and the watcher at the same moment."""


class Matcher(Protocol):
    """An expected value that is not one plain value."""

    def matches(self, seen: object) -> bool: ...


@frozen
class Near:
    """A number, or an RFC 3339 time, within `within` of `value` seconds."""

    value: float
    within: float

    def matches(self, seen: object) -> bool:
        if isinstance(seen, str):
            try:
                seen = datetime.fromisoformat(seen).timestamp()
            except ValueError:
                return False
        return (
            isinstance(seen, int | float)
            and not isinstance(seen, bool)
            and abs(seen - self.value) <= self.within
        )

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.within:g}"


@frozen
class OneOf:
    """Any of `values`, each a plain value or a matcher."""

    values: tuple[object, ...]

    def matches(self, seen: object) -> bool:
        return any(_matches(value, seen) for value in self.values)

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


@frozen
class Difference:
    """One number that is not what it should be."""

    room: str
    path: str
    """Where in the session, as `people.alice.joins.0.left_at`."""
    expected: str
    seen: str


@frozen
class FinalTotals:
    """The numbers of the Final Summary."""

    rooms: int
    participants: int
    tracks: int
    data_messages: int | None
    seconds: float


@frozen
class Comparison:
    differences: tuple[Difference, ...]
    numbers: int
    """How many values were compared."""


def compare(
    stories: Sequence[RoomStory], sessions: Sequence[SessionJson], totals: FinalTotals
) -> Comparison:
    """What people did against what the worker shows in the end: in its sessions (whole
    ones, after the worker stopped) and in its Final Summary."""
    by_sid = {session["room_sid"]: session for session in sessions}
    differences: list[Difference] = []
    numbers = 0
    for story in stories:
        session = by_sid.pop(story.truth.room_sid, None)
        if session is None:
            differences.append(Difference(story.plan.room, "session", "one", "none"))
            continue
        wanted = expected(story, session)
        numbers += _count(wanted)
        differences.extend(diff(story.plan.room, wanted, shape(session)))
    differences.extend(
        Difference(session["room"], "session", "none", "one") for session in by_sid.values()
    )
    wanted = _expected_totals(stories, sessions)
    numbers += _count(wanted)
    differences.extend(diff("Final Summary", wanted, attrs.asdict(totals)))
    return Comparison(tuple(differences), numbers)


def shape(session: SessionJson) -> Shape:
    """A session with its lists keyed: people by identity, tracks by SID with their mutes
    from the timeline."""
    mutes = Counter(
        entry["sid"] for entry in session["timeline"] or () if entry["event"] == "track_muted"
    )
    return {
        **session,
        "participants": {person["identity"]: person for person in session["participants"]},
        "tracks": {
            track["sid"]: {**track, "mutes": mutes[track["sid"]]} for track in session["tracks"]
        },
    }


def diff(room: str, expected: object, seen: object, path: str = "") -> Iterator[Difference]:
    """Where `seen` is not as `expected`.  In mappings all keys of `expected` count; those of
    the tables `people`, `tracks` and of counters must be no more than expected."""
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        yield from _diff_mappings(room, expected, seen, path)
    elif isinstance(expected, list) and isinstance(seen, Sequence) and not isinstance(seen, str):
        if len(expected) != len(seen):
            yield Difference(room, f"{path}.length", str(len(expected)), str(len(seen)))
        for i, (one, other) in enumerate(zip(expected, seen, strict=False)):
            yield from diff(room, one, other, f"{path}.{i}")
    elif not _matches(expected, seen):
        yield Difference(room, path, _shown(expected), _shown(seen))


_CLOSED: Final = frozenset(
    {"participants", "tracks", "by_topic", "by_source", "by_identity", "attributes"}
)
"""Mappings in which nothing else may be."""


def _diff_mappings(
    room: str, expected: Mapping[str, object], seen: Mapping[str, object], path: str
) -> Iterator[Difference]:
    for key, value in expected.items():
        place = f"{path}.{key}" if path else key
        if key not in seen:
            yield Difference(room, place, _shown(value), "nothing")
        else:
            yield from diff(room, value, seen[key], place)
    if path.rpartition(".")[2] in _CLOSED:
        for key in seen.keys() - expected.keys():
            yield Difference(room, f"{path}.{key}", "nothing", _shown(seen[key]))


def _matches(expected: object, seen: object) -> bool:
    if isinstance(expected, Near | OneOf):
        return expected.matches(seen)
    return expected == seen and isinstance(expected, bool) == isinstance(seen, bool)


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Near | OneOf) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ------------------------------------------------------------- what must be seen


@define
class _Join:
    sid: str
    joined_at: float
    lag: float = SILENT_LAG
    left: Deed | None = None


@define
class _Track:
    identity: str
    source: str
    published_at: float
    unpublished_at: float | None = None
    mutes: int = 0
    muted_seconds: float = 0.0
    muted_since: float | None = None

    def end(self, at: float) -> None:
        self.unmute(at)
        self.unpublished_at = at

    def unmute(self, at: float) -> None:
        if self.muted_since is not None:
            self.muted_seconds += at - self.muted_since
            self.muted_since = None


@define
class _Person:
    kind: str
    name: str
    metadata: str
    attributes: dict[str, str]
    joins: list[_Join] = field(factory=list[_Join])
    messages: int = 0
    spoke: float = 0.0


@define
class _Room:
    """The fold of one room's deeds, by the people's own account."""

    begun: float
    """Unix seconds when the watcher came: messages before that were nobody's to see."""
    people: dict[str, _Person] = field(factory=dict[str, _Person])
    tracks: dict[str, _Track] = field(factory=dict[str, _Track])
    messages: int = 0
    bytes: int = 0
    topics: Counter[str] = field(factory=Counter[str])
    here: set[str] = field(factory=set[str])
    peak: int = 0

    def apply(self, deed: Deed) -> None:
        _FOLD[deed.deed](self, deed)

    def on_joined(self, deed: Deed) -> None:
        data = deed.data
        person = self.people.setdefault(
            deed.identity, _Person(data["kind"], data["name"], data["metadata"], {})
        )
        person.name, person.metadata = data["name"], data["metadata"]
        person.attributes = dict(data["attributes"])
        person.joins.append(_Join(deed.sid, data["joined_at"]))
        if person.kind in PEOPLE:
            self.here.add(deed.identity)
            self.peak = max(self.peak, len(self.here))

    def on_left(self, deed: Deed) -> None:
        self.people[deed.identity].joins[-1].left = deed
        self.here.discard(deed.identity)
        for track in self.tracks.values():
            if track.identity == deed.identity and track.unpublished_at is None:
                track.end(deed.at)

    def on_published(self, deed: Deed) -> None:
        self.people[deed.identity].joins[-1].lag = PUBLISHER_LAG
        self.tracks[deed.data["track"]] = _Track(deed.identity, deed.data["source"], deed.at)

    def on_unpublished(self, deed: Deed) -> None:
        self.tracks[deed.data["track"]].end(deed.at)

    def on_muted(self, deed: Deed) -> None:
        track = self.tracks[deed.data["track"]]
        track.mutes += 1
        track.muted_since = deed.at

    def on_unmuted(self, deed: Deed) -> None:
        self.tracks[deed.data["track"]].unmute(deed.at)

    def on_spoke(self, deed: Deed) -> None:
        self.people[deed.identity].spoke += deed.data["seconds"]

    def on_sent(self, deed: Deed) -> None:
        if deed.data["to"] or deed.at < self.begun:
            return  # LiveKit shows it to nobody else, or nobody watched
        self.messages += 1
        self.bytes += deed.data["size"]
        self.topics[deed.data["topic"]] += 1
        self.people[deed.identity].messages += 1

    def on_name(self, deed: Deed) -> None:
        self.people[deed.identity].name = deed.data["name"]

    def on_metadata(self, deed: Deed) -> None:
        self.people[deed.identity].metadata = deed.data["metadata"]

    def on_attributes(self, deed: Deed) -> None:
        merged = {**self.people[deed.identity].attributes, **deed.data["changed"]}
        self.people[deed.identity].attributes = {k: v for k, v in merged.items() if v}

    def nothing(self, deed: Deed) -> None:
        """A resume: the very point of it is that nobody sees it."""


_FOLD: Final = {
    "joined": _Room.on_joined,
    "left": _Room.on_left,
    "published": _Room.on_published,
    "unpublished": _Room.on_unpublished,
    "muted": _Room.on_muted,
    "unmuted": _Room.on_unmuted,
    "spoke": _Room.on_spoke,
    "sent": _Room.on_sent,
    "name": _Room.on_name,
    "metadata": _Room.on_metadata,
    "attributes": _Room.on_attributes,
    "scenario": _Room.nothing,
    "reconnected": _Room.nothing,
}


def expected(story: RoomStory, session: SessionJson) -> Shape:
    """What the session of this room must be.  Of `session` itself only the times of its
    beginning and end are taken: what was before or after was not there to be seen."""
    begun = datetime.fromisoformat(session["started_at"]).timestamp()
    ended = session["ended_at"]
    end = None if ended is None else datetime.fromisoformat(ended).timestamp()
    room = _Room(begun)
    for deed in story.truth.deeds:
        room.apply(deed)
    people = {identity: _person(person, end) for identity, person in room.people.items()}
    counted = [people[identity] for identity, one in room.people.items() if one.kind in PEOPLE]
    audible = {track.identity for track in room.tracks.values() if track.source == "microphone"}
    talk = {
        identity: Near(person.spoke, TALK_LAG if person.spoke else 0.0)
        for identity, person in room.people.items()
        if identity in audible and person.kind in PEOPLE
    }
    return {
        "room": story.plan.room,
        "room_sid": story.truth.room_sid,
        "status": "ended",
        "end_reason": END_REASONS[story.plan.ending],
        "metadata": story.metadata,
        "people": {
            "current": 0,
            "peak": room.peak,
            "unique": len(counted),
            "joins": sum(len(person["joins"]) for person in counted),
        },
        "people_seconds": _sum([person["seconds"] for person in counted]),
        "track_counts": {
            "current": 0,
            "total": len(room.tracks),
            "by_source": dict(Counter(track.source for track in room.tracks.values())),
        },
        "data_messages": {
            "total": room.messages,
            "bytes": room.bytes,
            "by_topic": dict(room.topics),
            "attachments": 0,
            "lower_bound": False,
        },
        "encrypted": False if room.tracks else None,
        "recordings": [],
        "talk": {"seconds": _sum(list(talk.values())) if talk else None, "by_identity": talk},
        "participants": people,
        "tracks": {sid: _track(track, begun, end) for sid, track in room.tracks.items()},
    }


def _person(person: _Person, end: float | None) -> dict[str, Any]:
    stays = [_stay(join, end) for join in person.joins]
    return {
        "name": person.name,
        "kind": person.kind,
        "sids": [join.sid for join in person.joins],
        "joins": [shown for shown, _ in stays],
        "seconds": _sum([seconds for _, seconds in stays]),
        "metadata": person.metadata,
        "attributes": person.attributes,
        "data_messages": person.messages,
    }


def _stay(join: _Join, end: float | None) -> tuple[dict[str, Any], Near]:
    """One join as the session must show it, and its length."""
    shown: dict[str, Any] = {"sid": join.sid, "joined_at": Near(join.joined_at, CLOCK)}
    deed = join.left
    reason = None if deed is None else deed.data["reason"]
    if deed is None or reason in _WITH_THE_ROOM:
        # The session's own end closes it, and whether the server got to name a reason for
        # this person before is a race.
        at = end if deed is None or end is None else deed.at
        left = Near(at or 0.0, PUBLISHER_LAG)
        shown["leave_reason"] = OneOf((None, reason)) if reason else None
    elif reason == "connection_timeout":
        left = Near(deed.at + VANISHED_AFTER, 6.0)
        shown["leave_reason"] = reason
    else:
        left = Near(deed.at, join.lag)
        shown["leave_reason"] = reason
    shown["left_at"] = left
    return shown, Near(left.value - join.joined_at, left.within)


def _track(track: _Track, begun: float, end: float | None) -> dict[str, Any]:
    over = track.unpublished_at
    if over is None or (end is not None and over > end):
        over = end
    muted = evolve(track)
    muted.unmute(over or 0.0)
    published: object = Near(track.published_at, PUBLISHER_LAG)
    if track.published_at < begun + PUBLISHER_LAG:
        # It may have been there when the watcher came, and then nobody knows since when.
        published = OneOf((None, published))
    return {
        "identity": track.identity,
        "kind": "audio" if track.source in ("microphone", "screen_audio") else "video",
        "source": track.source,
        "published_at": published,
        "unpublished_at": Near(over or 0.0, PUBLISHER_LAG),
        "muted_seconds": Near(muted.muted_seconds, MUTE_LAG),
        "mutes": track.mutes,
    }


def _sum(numbers: Sequence[Near]) -> Near:
    return Near(sum(one.value for one in numbers), sum(one.within for one in numbers) + CLOCK)


def _expected_totals(stories: Sequence[RoomStory], sessions: Sequence[SessionJson]) -> Shape:
    rooms = [expected(story, session) for story, session in _pairs(stories, sessions)]
    people = {
        identity
        for room in rooms
        for identity, person in room["participants"].items()
        if person["kind"] in PEOPLE
    }
    return {
        "rooms": len(stories),
        "participants": len(people),
        "tracks": sum(room["track_counts"]["total"] for room in rooms),
        "data_messages": sum(room["data_messages"]["total"] for room in rooms),
        "seconds": Near(sum(session["duration"] for session in sessions), 1.0 * len(sessions)),
    }


def _pairs(
    stories: Sequence[RoomStory], sessions: Sequence[SessionJson]
) -> Iterator[tuple[RoomStory, SessionJson]]:
    by_sid = {session["room_sid"]: session for session in sessions}
    for story in stories:
        if story.truth.room_sid in by_sid:
            yield story, by_sid[story.truth.room_sid]


def _count(expected: object) -> int:
    if isinstance(expected, Mapping):
        return sum(_count(value) for value in expected.values())
    if isinstance(expected, list):
        return sum(_count(value) for value in expected)
    return 1
