"""A session as others see it: the JSON of `docs/contract.md`, and the totals of a status line.

Everything here is a plain dict of str, int, float, bool, None, list and dict, ready
for any JSON encoder.  Times are RFC 3339 in UTC with milliseconds, durations seconds.
What was not observed is None, never 0:

* before the first roster nothing of the room is known, so all its counts are None; webhooks
  tell of people and tracks, not of messages;
* messages that are encrypted end to end do not reach us: where the room is encrypted and none
  came, nothing is known of them; where some came they are the least that there were;
* quality is None level by level until the first value was told, talk until a
  microphone was subscribed or the person was heard;
* a track that was there long before us has no time of publication;
* a time that has a ``…_within`` beside it may be wrong by that many seconds.

What is open counts until `now`, or until the end of an ended session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import inf
from typing import Any, Final, cast

from attrs import frozen

from actors.session import recordings
from actors.session.ends import FOUND_ENDED
from actors.session.events import QUALITIES
from actors.session.intervals import QualitySeconds, add, stretch
from actors.session.presence import CALL_STATUS
from actors.session.state import OTHER, Gap, Join, Participant, SessionState, Track
from actors.session.timeline_entry import TimelineEntry

MOST_LISTED: Final = 100
"""Identities and topics of a session in a list."""
_TIME_KEYS: Final = frozenset({"joined_at"})
"""Keys of an entry's data that are Unix seconds."""


@frozen
class Totals:
    """The numbers of a status line, the report and the final summary."""

    room: str
    active: bool
    participants: int
    """People who are here now; `participants_total` is everyone who ever was."""
    participants_total: int
    tracks: int
    tracks_total: int
    messages: int | None
    """None where they are encrypted and none came."""
    unattributed: int
    """Messages among those whose sender is not known."""
    duration: float
    """Seconds since the session began, until its end."""
    watched: float
    """Seconds of those in which the room was watched."""


def totals(state: SessionState, now: float) -> Totals:
    """What is there now, and what was there ever.  Takes the same time for any session."""
    until = _until(state, now)
    return Totals(
        room=state.room,
        active=not state.ended,
        participants=state.current,
        participants_total=state.unique,
        tracks=len(state.tracks),
        tracks_total=state.tracks_total,
        messages=None if state.messages_hidden else state.messages.total,
        unattributed=state.messages.unattributed,
        duration=stretch(state.started_at, until),
        watched=state.watched.total(until),
    )


def everyone(state: SessionState) -> list[Participant]:
    """Everyone who was ever seen and is still kept, in the order of first sight."""
    present = state.present
    people = [person for person in state.past.values() if person.identity not in present]
    people.extend(present.values())
    return sorted(people, key=lambda person: person.number)


def every_track(state: SessionState) -> list[Track]:
    """Every track that was ever seen and is still kept, in the order of first sight."""
    tracks = [track for track in state.past_tracks.values() if track.sid not in state.tracks]
    tracks.extend(state.tracks.values())
    return sorted(tracks, key=lambda track: track.number)


def session_row(state: SessionState, now: float) -> dict[str, Any]:
    """The session as lists have it: without people, tracks and timeline.

    Of talk by identity and messages by topic it has the `MOST_LISTED` largest, and the sum of
    the others under `OTHER`: of a session with thousands of them a row stays small.
    """
    row = _row(state, _until(state, now), everyone(state))
    talk, messages = row["talk"], row["data_messages"]
    talk["by_identity"] = _largest(talk["by_identity"])
    if messages is not None:
        messages["by_topic"] = _largest(messages["by_topic"])
    return row


def session_view(
    state: SessionState, now: float, timeline: Iterable[TimelineEntry] | None = None
) -> dict[str, Any]:
    """The whole session.  Without a `timeline` that key is None: it was not kept."""
    until = _until(state, now)
    people = everyone(state)
    return {
        **_row(state, until, people),
        "participants": [_person(person, until, bool(state.encrypted)) for person in people],
        "tracks": [_track(track, until) for track in every_track(state)],
        "timeline": None if timeline is None else [entry_view(entry) for entry in timeline],
    }


def entry_view(entry: TimelineEntry) -> dict[str, Any]:
    """One row of a timeline."""
    return {
        "at": rfc3339(entry.at),
        "event": entry.event,
        **{
            key: rfc3339(value) if key in _TIME_KEYS else _plain(value)
            for key, value in entry.data.items()
        },
    }


def rfc3339(at: float | None) -> str | None:
    """Unix seconds as RFC 3339 in UTC with milliseconds; None also where no calendar has it."""
    if at is None:
        return None
    try:
        minute, rest = divmod(round(at * 1000), 60_000)
        return f"{_minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"
    except (OverflowError, ValueError, OSError):
        return None


@lru_cache(maxsize=10_000)
def _minute(minute: int) -> str:
    """All of a time but its seconds.  A session has thousands of times and few minutes."""
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")[:16] + ":"


def coverage(state: SessionState, now: float) -> float:
    """Which share of the time since our first entry was watched, 0 to 1.

    What was before the entry is told by `entered_after`.
    """
    until = _until(state, now)
    if state.watched_from is None:
        return 0.0
    life = stretch(state.watched_from, until)
    return 1.0 if life == 0.0 else min(1.0, state.watched.total(until) / life)


def entered_after(state: SessionState) -> float | None:
    """Seconds from the room's first person to our first entry; 0 where we were there first."""
    if state.watched_from is None or state.first_person_at is None:
        return None
    return stretch(state.first_person_at, state.watched_from)


def every_gap(state: SessionState, now: float) -> list[Gap]:
    """The gaps that are kept, and the one that is open at the end or at `now`."""
    since, until = state.gap_since, _until(state, now)
    if since is None or until <= since:
        return list(state.gaps)
    return [*state.gaps, Gap(since, until, state.gap_reason or "connection_lost")]


def _largest(amounts: dict[str, Any]) -> dict[str, Any]:
    if len(amounts) <= MOST_LISTED:
        return amounts
    ranked = sorted(amounts.items(), key=lambda item: (item[0] != OTHER, item[1]), reverse=True)
    kept = dict(ranked[:MOST_LISTED])
    rest = sum(amount for _, amount in ranked[MOST_LISTED:])
    return {**kept, OTHER: round(rest, 3)}


def _until(state: SessionState, now: float) -> float:
    return now if state.ended_at is None else state.ended_at


def _row(state: SessionState, until: float, people: list[Participant]) -> dict[str, Any]:
    counted = [person for person in people if person.counted]
    truncated = state.truncated
    quality, talk = truncated.quality, {OTHER: truncated.talk} if truncated.talk is not None else {}
    seconds = truncated.seconds
    for person in counted:
        quality = add(quality, person.quality.totals(until))
        if person.audible:
            talk[person.identity] = talk.get(person.identity, 0.0) + person.talk.total(until)
    seconds += _people_seconds(state, counted, until)
    entered, offset = entered_after(state), state.clock_offset
    watched = state.watched_from is not None
    seen = watched or state.webhook_received
    return {
        "id": state.room_sid,
        "room": state.room,
        "room_sid": state.room_sid,
        "job_ids": list(state.job_ids),
        "worker": state.worker,
        "agent_name": state.agent_name,
        "status": "ended" if state.ended else "active",
        "end_reason": state.end_reason,
        "started_at": rfc3339(state.started_at),
        "ended_at": rfc3339(state.ended_at),
        "duration": _seconds(stretch(state.started_at, until)),
        "entered_after": None if entered is None else _seconds(entered),
        "coverage": round(coverage(state, until), 4),
        "encrypted": state.encrypted,
        "gaps": _gaps(state, until),
        "clock_offset": None if offset is None else round(offset, 3) + 0.0,  # never -0.0
        "metadata": state.metadata,
        "people": {
            "current": state.current if seen else None,
            # Of those who are here some may turn out to have left before others came.
            "peak": max(state.peak, state.current) if seen else None,
            "unique": state.unique if seen else None,
            "joins": state.joins if seen else None,
            "aborted": state.aborted_joins if seen else None,
        },
        "people_seconds": _seconds(seconds) if seen else None,
        "track_counts": {
            "current": len(state.tracks) if seen else None,
            "total": state.tracks_total if seen else None,
            "by_source": dict(state.by_source),
        },
        "data_messages": _messages(state, until),
        "truncated": truncated.dropped,
        "quality": _quality(quality),
        "talk": {
            "seconds": _seconds(sum(talk.values())) if talk else None,
            "by_identity": {identity: _seconds(spoken) for identity, spoken in talk.items()},
        },
        "recordings": _recordings(state) if seen else None,
    }


def _people_seconds(state: SessionState, counted: list[Participant], until: float) -> float:
    """Seconds in which people were present, added up: of each person, whether under one
    identity or under several at once."""
    if state.person_key is None:
        return sum(person.seconds(until) for person in counted)
    seconds = sum(person.older_seconds for person in counted)
    spans: dict[str, list[tuple[float, float]]] = {}
    for person in counted:
        spans.setdefault(person.person, []).extend(
            (join.since, until if join.left_at is None else join.left_at)
            for join in person.joins
            if person.is_visit(join)
        )
    for of_one in spans.values():
        reached = -inf
        for since, end in sorted(of_one):
            seconds += stretch(max(since, reached), end)
            reached = max(reached, end)
    return seconds


def _gaps(state: SessionState, until: float) -> list[dict[str, Any]]:
    """The last one has no end while it is open."""
    shown = [
        {"from": rfc3339(gap.since), "to": rfc3339(gap.until), "reason": gap.reason}
        for gap in every_gap(state, until)
    ]
    if len(shown) > len(state.gaps) and not state.ended:
        shown[-1]["to"] = None
    return shown


def _messages(state: SessionState, until: float) -> dict[str, Any] | None:
    """None where messages are encrypted, so that none of them came to us."""
    data = state.messages
    if state.messages_hidden:
        return None
    watched = state.watched_from is not None
    return {
        "total": data.total if watched else None,
        "bytes": data.bytes if watched else None,
        "by_topic": dict(data.by_topic),
        "attachments": data.attachments if watched else None,
        "lower_bound": bool(state.encrypted) or _missed_something(state, until)
        if watched
        else None,
    }


def _missed_something(state: SessionState, until: float) -> bool:
    """Whether there was a gap in the watch, in which messages may have been sent.

    The moment between the last that we saw of a room and the end of its session is none, but
    where the room went on without us.
    """
    since = state.watched_from
    if since is None:
        return False
    last = state.gap_since
    if last is not None and state.ended and state.end_reason != FOUND_ENDED:
        until = min(last, until)
    return stretch(since, until) - state.watched.total(until) > 0.001


def _recordings(state: SessionState) -> list[dict[str, Any]]:
    """Every recording that is known, oldest first: by webhooks, else by the room's word."""
    known = [
        (
            one.started_at,
            {
                "id": one.id,
                "kind": one.kind,
                "started_at": rfc3339(one.started_at),
                "ended_at": rfc3339(one.ended_at),
                "status": one.status,
                "error": one.error,
                "file": one.file,
            },
        )
        for one in state.recordings.values()
    ]
    known += [
        (
            one.started_at,
            {
                "id": None,
                "kind": None,
                "started_at": rfc3339(one.started_at),
                "ended_at": rfc3339(one.ended_at),
                "status": None,
                "error": None,
                "file": None,
            },
        )
        for one in recordings.intervals_without_recording(state)
    ]
    return [shown for _, shown in sorted(known, key=lambda pair: pair[0] or inf)]


def _person(person: Participant, until: float, encrypted: bool) -> dict[str, Any]:
    """`encrypted` is the room: then only of somebody whose tracks are plain it is known that
    they sent nothing."""
    unknown = encrypted and person.encrypted is not False and not person.data_messages
    return {
        "identity": person.identity,
        "person": person.person,
        "name": person.name,
        "kind": person.kind,
        "sids": [join.sid for join in person.joins],
        "joins": [_join(person, join) for join in person.joins],
        "seconds": _seconds(person.seconds(until)),
        "metadata": person.metadata,
        "attributes": None if person.attributes is None else dict(person.attributes),
        "quality": _quality(person.quality.totals(until)),
        "talk_seconds": _seconds(person.talk.total(until)) if person.audible else None,
        "data_messages": None if unknown else person.data_messages,
        "sip": _call(person, until),
    }


def _join(person: Participant, join: Join) -> dict[str, Any]:
    return {
        "sid": join.sid,
        "kind": join.kind or person.kind,
        "joined_at": rfc3339(join.joined_at),
        "left_at": rfc3339(join.left_at),
        "left_within": _within(join.left_within),
        "leave_reason": join.reason,
        "active": join.effective,
    }


def _call(person: Participant, until: float) -> dict[str, Any] | None:
    """The newest telephone call of somebody, as LiveKit's SIP service describes it in the
    attributes ``sip.*``; None of whoever never called."""
    join = next((j for j in reversed(person.joins) if (j.kind or person.kind) == "sip"), None)
    if join is None:
        return None
    attributes = person.attributes or {}
    ours, theirs = (
        attributes.get("sip.trunkPhoneNumber"),
        attributes.get("sip.phoneNumber"),
    )
    inbound = "sip.ruleID" in attributes
    rang_until = join.answered_at
    if join.ringing:
        rang_until = until if join.left_at is None else join.left_at
    return {
        "call_id": attributes.get("sip.callID"),
        "status": attributes.get(CALL_STATUS),
        "from": theirs if inbound else ours,
        "to": ours if inbound else theirs,
        "trunk": attributes.get("sip.trunkID"),
        "answered_at": rfc3339(join.answered_at),
        "ringing_seconds": (
            None if rang_until is None else _seconds(stretch(join.joined_at, rang_until))
        ),
        "hangup_cause": join.reason,
    }


def _track(track: Track, until: float) -> dict[str, Any]:
    return {
        "sid": track.sid,
        "identity": track.identity,
        "kind": track.kind,
        "source": track.source,
        "published_at": rfc3339(track.published_at),
        "published_within": _within(track.published_within),
        "unpublished_at": rfc3339(track.unpublished_at),
        "muted_seconds": _seconds(track.muted.total(until)),
        "encrypted": track.encrypted,
        "stats": None,
    }


def _quality(seconds: QualitySeconds | None) -> dict[str, float | None]:
    if seconds is None:
        return dict.fromkeys(QUALITIES)
    return {level: _seconds(held) for level, held in zip(QUALITIES, seconds, strict=True)}


def _within(seconds: float | None) -> float | None:
    return None if seconds is None else _seconds(seconds)


def _seconds(duration: float) -> float:
    return round(duration, 3) if duration else 0.0


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value
