"""A session as lanes, one a person: what the page and the terminal draw its timeline from.

Made from the JSON of one session (`docs/contract.md`), with its `timeline`.  Who was there and
what was published come from `participants` and `tracks`, which have the corrections and outlive the
timeline; talk, quality, mutes and messages come from the timeline and are missing as far as
it is not kept any more.  Nobody is heard beyond what was seen: talk and quality end where a
gap begins, and where their person leaves.  A telephone call that rings is no presence: its
lane begins when it was answered, as its seconds do.

All times are seconds since the session started, within 0 and `length(session)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, Final, TypeAlias

from attrs import frozen

from actors.session import QUALITIES
from actors.session.ends import FOUND_ENDED

Json: TypeAlias = Mapping[str, Any]


@frozen(order=True)
class LaneSpan:
    """From `start` to `end`, never longer than the session and never empty."""

    start: float
    end: float


Spans: TypeAlias = tuple[LaneSpan, ...]
"""In order."""


@frozen
class TimelineLane:
    """One person.  Texts are as they were typed: not yet harmless."""

    identity: str
    name: str
    kind: str
    seconds: float
    """Present in all, also in joins that are not kept one by one."""
    present: Spans
    talk: Spans
    published: Mapping[str, Spans]
    """By source: `microphone`, `camera`, `screen`, ..."""
    muted: Mapping[str, Spans]
    """By source, within `published`."""
    quality: Mapping[str, Spans]
    """By level: `excellent`, `good`, `poor`, `lost`."""
    data: tuple[float, ...]
    """When this person sent a message."""


def length(session: Json) -> float:
    """Seconds that the timeline is long; of a live session until now."""
    return session["duration"] or 0.0


def gaps(session: Json) -> Spans:
    """When nobody watched, as far as the timeline tells."""
    clock = _Clock(session)
    found = list[_Pair]()
    since: float | None = None
    seen = 0.0
    for entry in session["timeline"] or ():
        event, at = entry["event"], clock.at(entry["at"])
        if event == "reconnecting":
            since = at
        elif event == "suspended":
            found.append((at - entry["gap"], at))
        elif event == "reconnected":
            found.append((at - entry["gap"], at))
            since = None
        elif event == "session_ended":
            last_seen = seen if entry["reason"] == FOUND_ENDED else at
            found.append((last_seen if since is None else since, at))
            since = None
        seen = max(seen, at)
    if since is not None:
        found.append((since, clock.length))
    return clock.spans(found)


def lanes(session: Json) -> list[TimelineLane]:
    """One for everyone who is kept one by one, in the order of first sight."""
    clock = _Clock(session)
    heard, tracks = _heard(session, clock), _tracks(session)
    return [
        _lane(person, tracks.get(person["identity"], ()), clock, heard)
        for person in session["participants"]
    ]


def starts_late(session: Json) -> bool:
    """Whether the beginning of the timeline, or all of it, is not kept any more."""
    timeline = session["timeline"]
    if timeline is None:
        return True
    watched = bool(session["coverage"])
    return watched and all(entry["event"] != "session_started" for entry in timeline)


# ---------------------------------------------------------------- inside

_Pair: TypeAlias = tuple[float, float]
_Pairs: TypeAlias = Iterable[_Pair]


class _Clock:
    """The session's own time."""

    def __init__(self, session: Json) -> None:
        self.length: Final = length(session)
        self._start = datetime.fromisoformat(session["started_at"]).timestamp()

    def at(self, rfc3339: str) -> float:
        return round(datetime.fromisoformat(rfc3339).timestamp() - self._start, 3)

    def span(self, start: str | None, end: str | None) -> _Pair:
        """What began before us, or did not end."""
        return (
            0.0 if start is None else self.at(start),
            self.length if end is None else self.at(end),
        )

    def spans(self, pairs: _Pairs) -> Spans:
        """Cut to the session, in order, those that touch made one."""
        return _merged(_cut(pairs, 0.0, self.length))


class _Switches:
    """Things that go on and off, or from one value to the next, by key."""

    def __init__(self) -> None:
        self.pairs: Final = defaultdict[Hashable, list[_Pair]](list)
        self._since: dict[Hashable, float] = {}

    def on(self, key: Hashable, at: float) -> None:
        self._since.setdefault(key, at)

    def off(self, key: Hashable, at: float) -> None:
        since = self._since.pop(key, None)
        if since is not None:
            self.pairs[key].append((since, at))

    def only(self, keys: Iterable[Hashable], at: float) -> None:
        """These are on, all others off."""
        keys = set(keys)
        for key in self._since.keys() - keys:
            self.off(key, at)
        for key in keys:
            self.on(key, at)


class _Heard:
    """What the timeline tells of people: the entries of the session read once, in order."""

    def __init__(self) -> None:
        self.talk: Final = _Switches()
        """By identity."""
        self.quality: Final = _Switches()
        """By identity and level."""
        self.muted: Final = _Switches()
        """By the track's SID."""
        self.data: Final = defaultdict[str, list[float]](list)
        self.answered: Final = dict[str, float]()
        """When a telephone call was answered, by the SID of its join."""
        self._levels: dict[str, str] = {}
        self._reconnecting = False

    def speakers(self, entry: Json, at: float) -> None:
        self.talk.only(entry["identities"], at)

    def level(self, entry: Json, at: float) -> None:
        identity, level = entry["identity"], entry["quality"]
        self.gone(entry, at)
        self._levels[identity] = level
        self.quality.on((identity, level), at)

    def connect(self, entry: Json, at: float) -> None:
        if entry["kind"] == "sip":  # It is told once the call was answered.
            self.answered.setdefault(entry["sid"], at)

    def gone(self, entry: Json, at: float) -> None:
        identity = entry["identity"]
        self.quality.off((identity, self._levels.pop(identity, None)), at)

    def mute(self, entry: Json, at: float) -> None:
        self.muted.on(entry["sid"], at)

    def unmute(self, entry: Json, at: float) -> None:
        self.muted.off(entry["sid"], at)

    def publish(self, entry: Json, at: float) -> None:
        (self.mute if entry["muted"] else self.unmute)(entry, at)

    def message(self, entry: Json, at: float) -> None:
        if entry["identity"] is not None:
            self.data[entry["identity"]].append(at)

    def lost_sight(self, _entry: Json, at: float) -> None:
        self.talk.only((), at)
        self._reconnecting = True

    def saw_again(self, entry: Json, at: float) -> None:
        if not self._reconnecting:
            self._forget(at - entry["gap"])
        self._reconnecting = False

    def was_suspended(self, entry: Json, at: float) -> None:
        self.talk.only((), at - entry["gap"])

    def over(self, _entry: Json, at: float) -> None:
        self._forget(at)
        self.muted.only((), at)
        self._reconnecting = False

    def _forget(self, at: float) -> None:
        self.talk.only((), at)
        self.quality.only((), at)
        self._levels.clear()


_TAKES: Final = {
    "speakers_changed": _Heard.speakers,
    "quality_changed": _Heard.level,
    "participant_connected": _Heard.connect,
    "participant_disconnected": _Heard.gone,
    "track_published": _Heard.publish,
    "track_muted": _Heard.mute,
    "track_unmuted": _Heard.unmute,
    "track_unpublished": _Heard.unmute,
    "data_message": _Heard.message,
    "reconnecting": _Heard.lost_sight,
    "reconnected": _Heard.saw_again,
    "suspended": _Heard.was_suspended,
    "session_ended": _Heard.over,
}


def _heard(session: Json, clock: _Clock) -> _Heard:
    heard = _Heard()
    for entry in session["timeline"] or ():
        take = _TAKES.get(entry["event"])
        if take is not None:
            take(heard, entry, clock.at(entry["at"]))
    heard.over({}, clock.length)
    return heard


def _tracks(session: Json) -> Mapping[str, Sequence[Json]]:
    """By identity."""
    found = defaultdict[str, list[Json]](list)
    for track in session["tracks"]:
        found[track["identity"]].append(track)
    return found


def _lane(person: Json, tracks: Sequence[Json], clock: _Clock, heard: _Heard) -> TimelineLane:
    identity = person["identity"]
    present = clock.spans(_stays(person, clock, heard))
    published, muted = defaultdict[str, list[_Pair]](list), defaultdict[str, list[_Pair]](list)
    for track in tracks:
        span = clock.span(track["published_at"], track["unpublished_at"])
        published[track["source"]].append(span)
        muted[track["source"]].extend(_cut(heard.muted.pairs[track["sid"]], *span))
    levels = {level: heard.quality.pairs[identity, level] for level in QUALITIES}
    return TimelineLane(
        identity=identity,
        name=person["name"],
        kind=person["kind"],
        seconds=person["seconds"],
        present=present,
        talk=_within(clock.spans(heard.talk.pairs[identity]), present),
        published=_by_key(published, clock, present),
        muted=_by_key(muted, clock, present),
        quality=_by_key(levels, clock, present),
        data=tuple(at for at in heard.data[identity] if 0.0 <= at <= clock.length),
    )


def _stays(person: Json, clock: _Clock, heard: _Heard) -> Iterator[_Pair]:
    """The joins in which somebody took part.  A call begins when it was answered."""
    calls = [join for join in person["joins"] if join["kind"] == "sip"]
    for join in person["joins"]:
        if join["active"]:
            start, end = clock.span(join["joined_at"], join["left_at"])
            if calls and join is calls[-1] and person["sip"]["answered_at"] is not None:
                start = clock.at(person["sip"]["answered_at"])
            elif start <= heard.answered.get(join["sid"], -inf) <= end:
                start = heard.answered[join["sid"]]
            yield start, end


def _by_key(pairs: Mapping[str, _Pairs], clock: _Clock, present: Spans) -> Mapping[str, Spans]:
    """Without the keys that have nothing left."""
    cut = {key: _within(clock.spans(of_key), present) for key, of_key in pairs.items()}
    return {key: spans for key, spans in cut.items() if spans}


def _within(spans: Spans, bounds: Spans) -> Spans:
    """What of the spans is in the bounds; both are in order, so neither is read twice."""
    found, index = list[_Pair](), 0
    for span in spans:
        while index < len(bounds) and bounds[index].end <= span.start:
            index += 1
        for bound in bounds[index:]:
            if bound.start >= span.end:
                break
            found.append((max(span.start, bound.start), min(span.end, bound.end)))
    return _merged(found)


def _cut(pairs: _Pairs, start: float, end: float) -> _Pairs:
    return ((max(one, start), min(other, end)) for one, other in pairs)


def _merged(pairs: _Pairs) -> Spans:
    found = list[LaneSpan]()
    for start, end in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if found and start <= found[-1].end:
            found[-1] = LaneSpan(found[-1].start, max(end, found[-1].end))
        else:
            found.append(LaneSpan(start, end))
    return tuple(found)
