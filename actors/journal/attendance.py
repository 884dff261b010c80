"""The attendance of rooms, and the visits of one person, over many sessions.

It asks a `SessionReader` and nothing else, so each store and each distance has the same answer.  A
row is one participant in one session.  Only people are listed: agents, egress and ingress are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from actors.journal.session_filters import ALL, SPECIAL, Filters, regex_of
from actors.journal.session_reader import SessionReader, SessionUnreadable
from actors.session import JoinView, ParticipantView, SessionRow, SessionView
from actors.session.entry_types import Time
from actors.session.participant import COUNTED_KINDS
from actors.session.room_info import ParticipantKind
from actors.session.view_base import Count, Seconds, View


class AttendanceRow(View, frozen=True, kw_only=True):
    """One person in one session, all joins together."""

    session: str
    """Id of the session."""
    room: str
    """Name of the room."""
    identity: str
    """The name under which the person joined."""
    person: str
    """Whom the identity counts as (--person-key)."""
    name: str
    """The display name, as last known."""
    kind: ParticipantKind
    """Of this participant: a person, or a caller."""
    joins: Count
    """Joins in which the person took part."""
    aborted: Count
    """Joins that ended before the person took part."""
    joined_at: Time | None
    """When the first of the joins began that are listed."""
    left_at: Time | None
    """When the last join ended; null while the person is there."""
    left_within: Seconds | None
    """Seconds by which `left_at` may be wrong."""
    leave_reason: str | None
    """LiveKit's reason for the last leave."""
    seconds: Seconds
    """Seconds present."""
    talk_seconds: Seconds | None
    """Seconds of talk; null where no microphone was subscribed."""
    camera_seconds: Seconds
    """Seconds in which a camera was published and not muted."""
    first_media_after: Seconds | None
    """Seconds from the join to the first track."""
    data_messages: Count | None
    """Messages; null where encryption hides them."""


class PersonDay(View, frozen=True, kw_only=True):
    """One person on one day."""

    date: str
    """The day, in UTC."""
    sessions: Count
    """Sessions in which the person was that day."""
    seconds: Seconds
    """Seconds present that day; a visit over midnight counts for both days."""


class PersonTotals(View, frozen=True, kw_only=True):
    """All visits that are listed, added up."""

    sessions: Count
    """Sessions."""
    joins: Count
    """Joins in which the person took part."""
    aborted: Count
    """Joins that ended before."""
    seconds: Seconds
    """Seconds present."""
    talk_seconds: Seconds | None
    """Seconds of talk; null where none was observed."""
    data_messages: Count | None
    """Messages; null where none was observed."""


@frozen
class AttendancePage:
    """Rows of some sessions, the newest session first."""

    rows: list[AttendanceRow]
    spans: list[tuple[str, float, float]]
    """Of each visit: session, begin and end in Unix seconds."""
    next: str | None
    """The cursor of the sessions after these; None: there are no more."""


Chosen = Callable[[ParticipantView], bool]


def read_attendance(
    reader: SessionReader, limit: int, cursor: str | None = None, filters: Filters = ALL
) -> AttendancePage:
    """The people of at most `limit` sessions.

    With a filter by person only those who match it.  Raises `BadCursor`.
    """
    pattern = None if filters.person is None else regex_of(filters.person)

    def chosen(one: ParticipantView) -> bool:
        names = (one.identity, one.name, one.person)
        return pattern is None or any(map(pattern.match, names))

    return _read(reader, limit, cursor, filters, chosen)


def read_visits(
    reader: SessionReader,
    person: str,
    limit: int,
    cursor: str | None = None,
    filters: Filters = ALL,
) -> AttendancePage:
    """The visits of one person, who is given by an identity or a person key.  Raises `BadCursor`.

    A display name is none of these: others may choose the same one.
    """
    filters = evolve(filters, person=exactly(person))
    return _read(reader, limit, cursor, filters, lambda one: person in (one.identity, one.person))


def exactly(text: str) -> str:
    """The pattern that matches this text only."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)


_SPECIAL: Final = SPECIAL | {"\\", "]"}


def _read(
    reader: SessionReader, limit: int, cursor: str | None, filters: Filters, chosen: Chosen
) -> AttendancePage:
    page = reader.sessions(limit, cursor, filters)
    rows, spans = list[AttendanceRow](), list[tuple[str, float, float]]()
    for one in page.sessions:
        view = _view(reader, one)
        for participant in () if view is None else view.participants:
            if participant.kind in COUNTED_KINDS and chosen(participant):
                rows.append(_row(one, participant))
                spans += [(one.id, *span) for span in _spans(one, participant.joins)]
    return AttendancePage(rows, spans, page.next)


def _view(reader: SessionReader, row: SessionRow) -> SessionView | None:
    """The session, or None: it was dropped meanwhile, has no id, or cannot be read."""
    try:
        with reader.open_session(row.id or row.room) as session:
            return None if session is None else session.view
    except SessionUnreadable:
        return None


def _row(session: SessionRow, one: ParticipantView) -> AttendanceRow:
    last = one.joins[-1] if one.joins else None
    return AttendanceRow(
        session=session.id,
        room=session.room,
        identity=one.identity,
        person=one.person,
        name=one.name,
        kind=one.kind,
        joins=sum(join.active for join in one.joins),
        aborted=sum(not join.active and join.left_at is not None for join in one.joins),
        joined_at=one.joins[0].joined_at if one.joins else None,
        left_at=last and last.left_at,
        left_within=last and last.left_within,
        leave_reason=last and last.leave_reason,
        seconds=one.seconds,
        talk_seconds=one.talk_seconds,
        camera_seconds=one.camera_seconds,
        first_media_after=one.first_media_after,
        data_messages=one.data_messages,
    )


def _spans(session: SessionRow, joins: Iterable[JoinView]) -> Iterable[tuple[float, float]]:
    now = _seconds(session.ended_at) or (_seconds(session.started_at) or 0.0) + session.duration
    for join in joins:
        begin, end = _seconds(join.joined_at), _seconds(join.left_at) or now
        if join.active and begin is not None and end > begin:
            yield begin, end


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()


def totals_of(rows: Sequence[AttendanceRow]) -> PersonTotals:
    """The sum of these rows."""
    talk = [row.talk_seconds for row in rows if row.talk_seconds is not None]
    messages = [row.data_messages for row in rows if row.data_messages is not None]
    return PersonTotals(
        sessions=len({row.session for row in rows}),
        joins=sum(row.joins for row in rows),
        aborted=sum(row.aborted for row in rows),
        seconds=round(sum(row.seconds for row in rows), 3),
        talk_seconds=round(sum(talk), 3) if talk else None,
        data_messages=sum(messages) if messages else None,
    )


def days_of(spans: Iterable[tuple[str, float, float]]) -> list[PersonDay]:
    """Visits by day (UTC), the newest day first; a visit over midnight is split there."""
    seconds, sessions = dict[str, float](), dict[str, set[str]]()
    for session, begin, end in spans:
        while begin < end:
            day = datetime.fromtimestamp(begin, UTC).replace(hour=0, minute=0, second=0)
            midnight = (day.replace(microsecond=0) + timedelta(days=1)).timestamp()
            date = day.date().isoformat()
            seconds[date] = seconds.get(date, 0.0) + min(end, midnight) - begin
            sessions.setdefault(date, set()).add(session)
            begin = midnight
    return [
        PersonDay(date=date, sessions=len(sessions[date]), seconds=round(seconds[date], 3))
        for date in sorted(seconds, reverse=True)
    ]
