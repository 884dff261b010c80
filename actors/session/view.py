"""A session as others see it: its views, and the totals of a status line.

The classes are in `actors.session.view_types`.  A value that was not observed is None, never 0:

* Before the first roster nothing is known of the room, so all its counts are None.  Webhooks
  tell of people and tracks, not of messages.
* Messages that are encrypted end to end do not reach us.  Where the room is encrypted and none
  came, nothing is known of them.  Where some came, they are a lower bound.
* Quality is None level by level until the first value came.  Talk is None until a microphone
  was subscribed or the person talked.
* A track that was there long before us has no time of publication.

An interval that is open counts until `now`, or until the end of an ended session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Final, TypeVar, cast

from attrs import frozen
from msgspec.structs import asdict

from actors.session.agent_totals import agent_totals
from actors.session.bounds import OTHER
from actors.session.end_reasons import FOUND_ENDED
from actors.session.entry_types import ENTRY_FIELDS, EntryView
from actors.session.intervals import add, stretch
from actors.session.measurement import stats_of
from actors.session.media_seconds import NOTHING, PublishedMedia, published_media
from actors.session.participant import Participant
from actors.session.state import Gap, SessionState, Track
from actors.session.time_text import rfc3339
from actors.session.timeline_entry import TimelineEntry
from actors.session.view_parts import (
    participant_view,
    quality_view,
    recording_views,
    rounded,
    time_of,
    track_view,
)
from actors.session.view_types import (
    GapView,
    MessagesView,
    PeopleView,
    SessionRow,
    SessionView,
    TalkView,
    TrackCounts,
)

N = TypeVar("N", int, float)

MOST_LISTED: Final = 100
"""Identities and topics of a session in a list."""
_ENTRY_FIELDS: Final = frozenset(ENTRY_FIELDS)


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
    """The totals of a session, current and overall.  Takes the same time for any session."""
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


def session_row(state: SessionState, now: float) -> SessionRow:
    """The session as lists have it: without participants, tracks and timeline.

    Of talk by identity and messages by topic it has the `MOST_LISTED` largest, and the sum of
    the others under `OTHER`: a session with thousands of them makes a small row.
    """
    until = _until(state, now)
    media = published_media(state, every_track(state), until)
    return _row(state, until, everyone(state), media, MOST_LISTED)


def session_view(
    state: SessionState, now: float, timeline: Iterable[TimelineEntry] | None = None
) -> SessionView:
    """The whole session.  Without a `timeline` that key is None: it is not kept."""
    entries = None if timeline is None else tuple(map(entry_view, timeline))
    return view_with(state, now, entries)


def view_with(
    state: SessionState, now: float, timeline: Collection[EntryView] | None
) -> SessionView:
    """The same with entries that are views already, or become ones when they are read."""
    until = _until(state, now)
    people = everyone(state)
    encrypted = bool(state.encrypted)
    tracks = every_track(state)
    media = published_media(state, tracks, until)
    return SessionView(
        **asdict(_row(state, until, people, media, None)),
        participants=tuple(
            participant_view(
                person, media.get(person.identity, NOTHING), until, encrypted, state.agents
            )
            for person in people
        ),
        tracks=tuple(track_view(track, until, stats_of(state, track.sid)) for track in tracks),
        timeline=timeline,
    )


def entry_view(entry: TimelineEntry) -> EntryView:
    """One row of a timeline.  A key that no entry has any more is left out."""
    data = {key: value for key, value in entry.data.items() if key in _ENTRY_FIELDS}
    if "joined_at" in data:
        data["joined_at"] = rfc3339(data["joined_at"])
    return EntryView(at=time_of(entry.at), event=entry.event, **data)


def coverage(state: SessionState, now: float) -> float:
    """The watched share of the time since our first entry, 0 to 1.

    `entered_after` has the time before the entry.
    """
    if state.watched_from is None:
        return 0.0
    watched, unseen = watched_and_unseen(state, now)
    return 1.0 if watched + unseen == 0.0 else watched / (watched + unseen)


def watched_and_unseen(state: SessionState, now: float) -> tuple[float, float]:
    """Seconds since our first entry: those that were watched, and those of the gaps."""
    if state.watched_from is None:
        return 0.0, 0.0
    until = _until(state, now)
    duration = stretch(state.watched_from, until)
    watched = min(duration, state.watched.total(until))
    return watched, duration - watched


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


def _largest(amounts: dict[str, N], most: int | None) -> dict[str, N]:
    """The `most` largest, and the sum of the others; all of them where `most` is None."""
    if most is None or len(amounts) <= most:
        return amounts
    ranked = sorted(amounts.items(), key=lambda item: (item[0] != OTHER, item[1]), reverse=True)
    rest = sum(amount for _, amount in ranked[most:])
    return {**dict(ranked[:most]), OTHER: cast("N", round(rest, 3))}


def _until(state: SessionState, now: float) -> float:
    return now if state.ended_at is None else state.ended_at


def _row(
    state: SessionState,
    until: float,
    people: list[Participant],
    media: Mapping[str, PublishedMedia],
    most: int | None,
) -> SessionRow:
    """`most`: identities and topics that are listed by name; None for all of them."""
    counted = [person for person in people if person.counted]
    truncated = state.truncated
    quality, talk = truncated.quality, {OTHER: truncated.talk} if truncated.talk is not None else {}
    for person in counted:
        quality = add(quality, person.quality.totals(until))
        if person.audible:
            talk[person.identity] = talk.get(person.identity, 0.0) + person.talk.total(until)
    entered, offset = entered_after(state), state.clock_offset
    known = state.watched_from is not None or state.webhook_received
    spoken = {identity: rounded(seconds) for identity, seconds in talk.items()}
    return SessionRow(
        id=state.room_sid,
        room=state.room,
        room_sid=state.room_sid,
        job_ids=state.job_ids,
        worker=state.worker,
        agent_name=state.agent_name,
        status="ended" if state.ended else "active",
        end_reason=state.end_reason,
        started_at=time_of(state.started_at),
        ended_at=rfc3339(state.ended_at),
        duration=rounded(stretch(state.started_at, until)),
        entered_after=None if entered is None else rounded(entered),
        coverage=round(coverage(state, until), 4),
        encrypted=state.encrypted,
        agents=agent_totals(state.agents),
        gaps=_gaps(state, until),
        clock_offset=None if offset is None else round(offset, 3) + 0.0,  # never -0.0
        metadata=state.metadata,
        people=_people(state, people) if known else NO_PEOPLE,
        people_seconds=(
            rounded(truncated.seconds + _people_seconds(state, counted, until)) if known else None
        ),
        first_media_after=_first_media_after(counted, media),
        track_counts=TrackCounts(
            current=len(state.tracks) if known else None,
            total=state.tracks_total if known else None,
            by_source={**state.by_source},
        ),
        data_messages=_messages(state, until, most),
        truncated=truncated.dropped,
        quality=quality_view(quality),
        talk=TalkView(
            seconds=rounded(sum(talk.values())) if talk else None,
            by_identity=_largest(spoken, most),
        ),
        recordings=recording_views(state) if known else None,
        active_recording=state.recorded_now if state.watching else None,
    )


def _first_media_after(
    people: Iterable[Participant], media: Mapping[str, PublishedMedia]
) -> float | None:
    """The median; of an even number the lower one of the two in the middle."""
    each = [media.get(one.identity, NOTHING).seconds_after(one.joins) for one in people]
    known = sorted(seconds for seconds in each if seconds is not None)
    return rounded(known[(len(known) - 1) // 2]) if known else None


NO_PEOPLE: Final = PeopleView(
    current=None, peak=None, unique=None, joins=None, aborted=None, aborted_by_reason={}
)
"""Before anything is known of the room."""


def _people(state: SessionState, people: list[Participant]) -> PeopleView:
    return PeopleView(
        current=state.current,
        # Some of those who are here may prove to have left before others came.
        peak=max(state.peak, state.current),
        unique=state.unique,
        joins=state.joins,
        aborted=state.aborted_joins,
        aborted_by_reason=_aborted_by_reason(state, people) if state.aborted_joins else {},
    )


def _aborted_by_reason(state: SessionState, people: list[Participant]) -> dict[str, int]:
    """Those beyond a bound, whose reason is not stored, are under `OTHER`."""
    reasons = Counter(
        join.reason or "unknown"
        for person in people
        for join in person.joins
        if person.is_aborted(join)
    )
    beyond = state.aborted_joins - reasons.total()
    return {**reasons, OTHER: beyond} if beyond > 0 else dict(reasons)


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


def _gaps(state: SessionState, until: float) -> tuple[GapView, ...]:
    """The last one has no end while it is open."""
    gaps = every_gap(state, until)
    open_gap = len(gaps) - 1 if len(gaps) > len(state.gaps) and not state.ended else None
    return tuple(
        GapView(
            since=time_of(gap.since),
            until=None if number == open_gap else rfc3339(gap.until),
            reason=gap.reason,
        )
        for number, gap in enumerate(gaps)
    )


def _messages(state: SessionState, until: float, most: int | None) -> MessagesView | None:
    """None where messages are encrypted, so that none of them came to us."""
    data = state.messages
    if state.messages_hidden:
        return None
    by_topic = _largest({**data.by_topic}, most)
    if state.watched_from is None:
        return MessagesView(
            total=None, bytes=None, by_topic=by_topic, attachments=None, lower_bound=None
        )
    return MessagesView(
        total=data.total,
        bytes=data.bytes,
        by_topic=by_topic,
        attachments=data.attachments,
        lower_bound=bool(state.encrypted) or _missed_something(state, until),
    )


def _missed_something(state: SessionState, until: float) -> bool:
    """True if messages may have been sent before our entry, or in a gap of the watch.

    Nobody sends any before the first person is there.  The moment between the last that we saw of
    a room and the end of its session is no gap, but where the room went on without us.
    """
    since = state.watched_from
    if since is None:
        return False
    if entered_after(state):
        return True
    last = state.gap_since
    if last is not None and state.ended and state.end_reason != FOUND_ENDED:
        until = min(last, until)
    return stretch(since, until) - state.watched.total(until) > 0.001
