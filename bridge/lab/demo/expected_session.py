"""The expected view of a session, computed from the actions of the people in its room.

Two clocks are involved, and LiveKit reports some things later than they happened, so many
values are matchers (`bridge.lab.demo.differences`).  Keys that are not expected (`id`,
`worker`, `quality`, ...) are not compared: nobody in the room knows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import define, evolve, field

from actors.session import EndReason, SessionView
from actors.session.end_reasons import SEEN_ENDS
from bridge.lab.demo.differences import Near, OneOf
from bridge.lab.demo.play_script import RoomStory, TrueRecording
from bridge.lab.demo.script import GATECRASHER, LIMIT_NAME, Ending
from bridge.lab.people import Deed

Shape: TypeAlias = Mapping[str, Any]

PUBLISHER_LAG: Final = 2.0
"""Seconds by which events of a person who publishes may come late.  Milliseconds on an idle
machine; this one runs sixty people."""
SILENT_LAG: Final = 5.0
"""The same for those who publish nothing: a tick of 3 s at the server."""
VANISHED_AFTER: Final = 22.0
"""Seconds, plus or minus 6, until the server drops a person whose connection broke."""
CLOCK: Final = 0.01
"""Seconds: times that the server tells, in milliseconds."""
TALK_LAG: Final = 2.5
"""Seconds: active speakers begin 0.4 to 0.9 s late and end 0.9 s late."""
MUTE_LAG: Final = 1.0

PEOPLE: Final = frozenset({"standard", "sip"})
"""Kinds that are people; the others are machines and not in the people's counts."""

END_REASONS: Final[Mapping[Ending, EndReason]] = {
    "left": "room_closed",
    "deleted": "room_deleted",
    "open": "worker_stopped",
}


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
    """Unix seconds when the watcher came.  It cannot know of earlier messages."""
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
        """A resume: no other participant may notice it."""


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


def expected(story: RoomStory, session: SessionView) -> Shape:
    """The session that this room must have.  Only the start and the end time are taken from
    `session` itself: the watcher cannot know what happened before or after."""
    begun = datetime.fromisoformat(session.started_at).timestamp()
    ended = session.ended_at
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
        },
        "encrypted": False if room.tracks else None,
        "recordings": [_recording(one) for one in story.recordings],
        "acts": _acts(story),
        "talk": {"seconds": _sum(list(talk.values())) if talk else None, "by_identity": talk},
        "participants": people,
        "tracks": {sid: _track(track, begun, end) for sid, track in room.tracks.items()},
    }


def _recording(one: TrueRecording) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": "template",
        "status": "active" if one.ended_at is None else "complete",
        "started_at": Near(one.started_at, CLOCK),
        "ended_at": None if one.ended_at is None else Near(one.ended_at, CLOCK),
        "error": None,
        "file": one.file,
        "rule": one.rule,
        "lost_at": None,
    }


def _acts(story: RoomStory) -> dict[str, int]:
    """What the worker did in the room: `act_done limit remove identity`, and how often."""
    if not story.plan.places:
        return {}
    return {f"act_done {LIMIT_NAME} remove {GATECRASHER}": 1}


def _person(person: _Person, end: float | None) -> dict[str, Any]:
    joins = [_expected_join(join, end) for join in person.joins]
    return {
        "name": person.name,
        "kind": person.kind,
        "sids": [join.sid for join in person.joins],
        "joins": [shown for shown, _ in joins],
        "seconds": _sum([seconds for _, seconds in joins]),
        "metadata": person.metadata,
        "attributes": person.attributes,
        "data_messages": person.messages,
    }


def _expected_join(join: _Join, end: float | None) -> tuple[dict[str, Any], Near]:
    """One join as the session must show it, and its length."""
    shown: dict[str, Any] = {"sid": join.sid, "joined_at": Near(join.joined_at, CLOCK)}
    deed = join.left
    reason = None if deed is None else deed.data["reason"]
    if deed is None or reason in SEEN_ENDS:  # the person and the watcher leave at one moment
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


def expected_totals(stories: Sequence[RoomStory], sessions: Sequence[SessionView]) -> Shape:
    """The numbers of the Final Summary."""
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
        "seconds": Near(sum(session.duration for session in sessions), 1.0 * len(sessions)),
    }


def _pairs(
    stories: Sequence[RoomStory], sessions: Sequence[SessionView]
) -> Iterator[tuple[RoomStory, SessionView]]:
    by_sid = {session.room_sid: session for session in sessions}
    for story in stories:
        if story.truth.room_sid in by_sid:
            yield story, by_sid[story.truth.room_sid]
