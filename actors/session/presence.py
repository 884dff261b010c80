"""Who is in the room: arrivals, leaves, rejoins, and leaves that turn out untrue.

A person is an identity, a join is a participant SID.  Functions take a state and give
the next; what is to be told goes to `out`.  The rules and where they come from are in
`actors.session.fold`.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal, TypeAlias

from actors.session.entry import Entry
from actors.session.events import ParticipantInfo, ParticipantJoined, ParticipantLeft
from actors.session.state import (
    COUNTED_KINDS,
    MAX_JOINS,
    MAX_PEOPLE,
    MAX_TEXT,
    RECONNECT_WINDOW,
    SETTLE,
    Join,
    Leave,
    Person,
    SessionState,
    change,
)
from actors.session.steps import add
from actors.session.tracks import finish, finish_all_of, show
from actors.session.waiting import anomaly, hold, with_leaving

How: TypeAlias = Literal["announced", "found", "missed"]
"""How somebody is seen: by an event, by the roster at our own arrival, by a later one.

An event may be late or doubled; a roster is what is true now.
"""

_EVENT: Final[dict[How, str]] = {
    "announced": "participant_connected",
    "found": "participant_found",
    "missed": "participant_connected",
}


def on_joined(state: SessionState, event: ParticipantJoined, out: list[Entry]) -> SessionState:
    info = event.participant
    if state.reconnecting and not _knows(state, info):
        return hold(state, event)
    return arrive(state, info, event.at, "announced", out)


def on_left(state: SessionState, event: ParticipantLeft, out: list[Entry]) -> SessionState:
    person = state.present.get(event.identity)
    if person is None:
        gone = state.past.get(event.identity)
        if gone is None or _find(gone.joins, event.sid) is None:
            return hold(state, event) if state.held else anomaly(state)
        gone = _with_reason(gone, event.sid, event.reason)
        return change(anomaly(state), past=state.past.put(gone.identity, gone))
    join = person.joins[-1]
    if event.sid and join.sid and event.sid != join.sid:
        # Of an earlier join, which the later one has closed already.
        if state.held and _find(person.joins, event.sid) is None:
            return hold(state, event)
        person = change(_with_reason(person, event.sid, event.reason), owed=None)
        return _put(anomaly(state), person)
    if person.owed is not None:
        if event.at - person.owed <= RECONNECT_WINDOW:
            # The leave of the join before, told with the SID of the new one or with none.
            if len(person.joins) > 1:
                person = _with_reason(person, person.joins[-2].sid, event.reason)
            return _put(state, change(person, owed=None))
        state = _put(state, change(person, owed=None))
    leave = state.leaving.get(event.identity)
    if event.reason is not None:
        return depart(
            state, event.identity, event.at if leave is None else leave.at, event.reason, out
        )
    if leave is not None:
        return anomaly(state)
    return doubt(state, event.identity, event.at, inf if state.reconnecting else event.at + SETTLE)


def arrive(
    state: SessionState, info: ParticipantInfo, at: float, how: How, out: list[Entry]
) -> SessionState:
    """Somebody is in the room, with what `info` says of them."""
    identity, sid = info.identity, info.sid
    joined_at = info.joined_at if info.joined_at > 0 else at
    person = state.present.get(identity)
    if person is None:
        person = state.past.get(identity)
        if person is None:
            return _first_seen(state, info, joined_at, at, how, out)
        known = _find(person.joins, sid)
        if known is not None:
            if how == "announced" and (
                person.joins[known].reason is not None or known + 1 < len(person.joins)
            ):
                return anomaly(state)
            return _reopen(state, person, known, info, at, how, out)
        if how == "announced" and joined_at < person.joins[-1].joined_at:
            state, person = _missed_join(state, person, sid, joined_at, at, out)
            return change(state, past=state.past.put(identity, person))
        return _again(state, person, info, joined_at, at, how, out)

    join = person.joins[-1]
    if sid == join.sid or not sid:
        return _stays(state, person, info, at, how, out)
    if _find(person.joins, sid) is not None:
        return anomaly(state)
    if joined_at < join.joined_at:
        state, person = _missed_join(state, person, sid, joined_at, at, out)
        return _put(state, person)
    leave = state.leaving.get(identity)
    unseen = state.blind_since
    heard = leave.at if leave else joined_at if unseen is None else unseen
    state, person = _part(state, identity, min(heard, joined_at), None, out)
    if leave is None and how == "announced":
        person = change(person, owed=at)
    return _again(state, person, info, joined_at, at, how, out)


def depart(
    state: SessionState, identity: str, at: float, reason: str | None, out: list[Entry]
) -> SessionState:
    """Somebody left for certain, at `at`."""
    state, person = _part(state, identity, at, reason, out)
    return shelve(state, person)


def doubt(state: SessionState, identity: str, at: float, due: float) -> SessionState:
    """Somebody seems to have left at `at`: believe it at `due`, unless they are back.

    What is measured of them stops at `at`; quality goes on if it was not true.
    """
    person = state.present[identity]
    leaving = {**state.leaving, identity: Leave(at, due, person.quality.level)}
    state = with_leaving(state, leaving)
    return _put(_silenced(state, identity), _quiet(person, at))


def settle(state: SessionState, until: float, out: list[Entry]) -> SessionState:
    """Believe every provisional end that is due by `until`."""
    for sid, leave in state.unpublishing.items():
        if leave.due <= until:
            state = finish(state, sid, leave.at, out)
    for identity, leave in state.leaving.items():
        if leave.due <= until:
            state = depart(state, identity, leave.at, None, out)
    return state


def leave_silently(state: SessionState, identity: str, at: float) -> SessionState:
    """Close somebody's join because the session ends, not because they left."""
    state, person = _out(state, identity, at, None)
    return shelve(state, person)


def shelve(state: SessionState, person: Person) -> SessionState:
    """Put somebody who left to the past, as far as there is room for them."""
    past, folded = state.past, state.folded
    before = past.get(person.identity)
    if before is None and len(past) >= MAX_PEOPLE:
        folded = change(folded, people=folded.people + 1)
        if person.counted:
            folded = change(
                folded,
                seconds=folded.seconds + person.seconds(0.0),
                quality=add(folded.quality, person.quality.totals(0.0)),
                talk=(folded.talk or 0.0) + person.talk.seconds if person.audible else folded.talk,
            )
        return change(state, folded=folded)
    room_for_text = MAX_TEXT - state.past_text + (_text(before) if before else 0)
    text = _text(person)
    if text > room_for_text:
        person, text = change(person, metadata=None, attributes=None), 0
        folded = change(folded, texts=folded.texts + 1)
    return change(
        state,
        past=past.put(person.identity, person),
        past_text=MAX_TEXT - room_for_text + text,
        folded=folded,
    )


def _first_seen(
    state: SessionState,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    identity = info.identity
    messages = state.early.get(identity, 0)
    if messages:
        early = {other: count for other, count in state.early.items() if other != identity}
        state = change(state, early=early)
    person = Person(state.numbered, identity, info.kind, data_messages=messages)
    state = change(
        state,
        numbered=state.numbered + 1,
        unique=state.unique + (info.kind in COUNTED_KINDS),
    )
    told = {"rejoin": False, "reconnect": False}
    return _enter(state, person, Join(info.sid, joined_at), info, at, how, told, True, out)


def _again(
    state: SessionState,
    person: Person,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    """Somebody who was here before, with a new join."""
    last = person.joins[-1]
    left_at = last.joined_at if last.left_at is None else last.left_at
    back = at if how == "announced" else joined_at
    told = {"rejoin": True, "reconnect": back - left_at <= RECONNECT_WINDOW}
    if left_at > joined_at:
        # The leave was heard late: nobody is in the room twice.
        last = change(last, left_at=max(joined_at, last.joined_at))
        person = change(person, joins=(*person.joins[:-1], last))
    return _enter(state, person, Join(info.sid, joined_at), info, at, how, told, True, out)


def _reopen(
    state: SessionState,
    person: Person,
    known: int,
    info: ParticipantInfo,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    """The same join is back: it never ended, whatever was believed."""
    join = person.joins[known]
    left_at = at if join.left_at is None else join.left_at
    told = {"rejoin": True, "reconnect": at - left_at <= RECONNECT_WINDOW}
    person = change(person, joins=(*person.joins[:known], *person.joins[known + 1 :]))
    join = change(join, left_at=None, reason=None)
    return _enter(state, person, join, info, at, how, told, False, out)


def _enter(
    state: SessionState,
    person: Person,
    join: Join,
    info: ParticipantInfo,
    at: float,
    how: How,
    told: dict[str, bool],
    new: bool,
    out: list[Entry],
) -> SessionState:
    """Open `join` of somebody who is not present; `new` if it was not counted before."""
    joins, folded = (*person.joins, join), state.folded
    older, older_seconds = person.older_joins, person.older_seconds
    if len(joins) > MAX_JOINS:
        older, older_seconds = older + 1, older_seconds + joins[0].seconds(at)
        joins, folded = joins[1:], change(folded, joins=folded.joins + 1)
    person = change(
        person,
        name=info.name,
        metadata=info.metadata,
        attributes=info.attributes,
        joins=joins,
        older_joins=older,
        older_seconds=older_seconds,
    )
    counted = person.counted
    current = state.current + counted
    first = state.first_joined_at
    state = change(
        state,
        present={**state.present, person.identity: person},
        current=current,
        peak=max(state.peak, current),
        joins=state.joins + (new and counted),
        first_joined_at=join.joined_at if first is None else min(first, join.joined_at),
        folded=folded,
    )
    who = {
        "identity": person.identity,
        "sid": join.sid,
        "kind": person.kind,
        "name": person.name,
        "joined_at": join.joined_at,
    }
    out.append(Entry(at, _EVENT[how], who if how == "found" else {**who, **told}))
    if info.metadata:
        out.append(_metadata(at, info))
    return _with_tracks(state, info, at, how, out)


def _stays(
    state: SessionState,
    person: Person,
    info: ParticipantInfo,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    """The join that is open was seen again: if it seemed to be over, it is not."""
    leave = state.leaving.get(info.identity)
    if leave is None:
        if how == "announced":
            return anomaly(state)
    else:
        left = {other: wait for other, wait in state.leaving.items() if other != info.identity}
        state = with_leaving(state, left)
        person = change(person, quality=person.quality.to(leave.quality, leave.at))
        state = _put(state, person)
    state = _compared(state, person, info, at, out)
    return _with_tracks(state, info, at, how, out)


def _compared(
    state: SessionState, person: Person, info: ParticipantInfo, at: float, out: list[Entry]
) -> SessionState:
    """Take over what `info` says of somebody present, and tell what differs."""
    identity = info.identity
    before = person.attributes or {}
    changed = {
        key: info.attributes.get(key, "")
        for key in {**before, **info.attributes}
        if before.get(key, "") != info.attributes.get(key, "")
    }
    if info.name != person.name:
        out.append(Entry(at, "participant_name", {"identity": identity, "name": info.name}))
    if info.metadata != person.metadata:
        out.append(_metadata(at, info))
    if changed:
        told = {"identity": identity, "changed": changed}
        out.append(Entry(at, "participant_attributes", told))
    elif info.name == person.name and info.metadata == person.metadata:
        return state
    return _put(
        state,
        change(person, name=info.name, metadata=info.metadata, attributes=info.attributes),
    )


def _with_tracks(
    state: SessionState, info: ParticipantInfo, at: float, how: How, out: list[Entry]
) -> SessionState:
    """Everything that `info` shows as published is published."""
    published_at = at if how == "announced" else None
    for track in info.tracks:
        state = show(state, info.identity, track, at, published_at, how == "found", out)
    return state


def _missed_join(
    state: SessionState, person: Person, sid: str, joined_at: float, at: float, out: list[Entry]
) -> tuple[SessionState, Person]:
    """A join told after a later one of the same person: it is over since that one."""
    joins = person.joins
    if person.older_joins and joined_at <= joins[0].joined_at:
        return anomaly(state), person  # it may be one of those that are not kept
    later = next(index for index, join in enumerate(joins) if join.joined_at > joined_at)
    join = Join(sid, joined_at, joins[later].joined_at)
    before = joins[:later]
    if before and (before[-1].left_at or 0.0) > joined_at:
        before = (*before[:-1], change(before[-1], left_at=joined_at))
    joins = (*before, join, *joins[later:])
    older, older_seconds, folded = person.older_joins, person.older_seconds, state.folded
    if len(joins) > MAX_JOINS:
        older, older_seconds = older + 1, older_seconds + joins[0].seconds(at)
        joins, folded = joins[1:], change(folded, joins=folded.joins + 1)
    person = change(person, joins=joins, older_joins=older, older_seconds=older_seconds)
    state = change(state, joins=state.joins + person.counted, folded=folded)
    told = {"identity": person.identity, "sid": sid, "kind": person.kind}
    more = {"name": person.name, "joined_at": joined_at, "rejoin": later > 0, "reconnect": False}
    out.append(Entry(at, "participant_connected", {**told, **more}))
    out.append(_gone(person, join))
    return state, person


def _part(
    state: SessionState, identity: str, at: float, reason: str | None, out: list[Entry]
) -> tuple[SessionState, Person]:
    """Close somebody's join and tracks, and tell it."""
    state = finish_all_of(state, identity, at, out)
    state, person = _out(state, identity, at, reason)
    out.append(_gone(person, person.joins[-1]))
    return state, person


def _out(
    state: SessionState, identity: str, at: float, reason: str | None
) -> tuple[SessionState, Person]:
    """Take somebody out of the room, with what was measured closed at `at`."""
    person = state.present[identity]
    join = person.joins[-1]
    left_at = max(at, join.joined_at)
    join = change(join, left_at=left_at, reason=reason)
    person = change(_quiet(person, left_at), joins=(*person.joins[:-1], join), owed=None)
    present = {other: one for other, one in state.present.items() if other != identity}
    state = change(
        _silenced(state, identity),
        present=present,
        current=state.current - person.counted,
    )
    if identity in state.leaving:
        left = {other: leave for other, leave in state.leaving.items() if other != identity}
        state = with_leaving(state, left)
    return state, person


def _quiet(person: Person, at: float) -> Person:
    return change(person, quality=person.quality.to(None, at), talk=person.talk.off(at))


def _silenced(state: SessionState, identity: str) -> SessionState:
    if identity not in state.speaking:
        return state
    return change(state, speaking=state.speaking - {identity})


def _with_reason(person: Person, sid: str, reason: str | None) -> Person:
    """Note why an earlier join ended, where that is not known yet."""
    index = _find(person.joins, sid)
    if index is None or reason is None:
        return person
    join = person.joins[index]
    if join.left_at is None or join.reason is not None:
        return person
    told = change(join, reason=reason)
    return change(person, joins=(*person.joins[:index], told, *person.joins[index + 1 :]))


def _knows(state: SessionState, info: ParticipantInfo) -> bool:
    """Whether this join belongs to this life of the room for certain."""
    person = state.present.get(info.identity) or state.past.get(info.identity)
    return person is not None and _find(person.joins, info.sid) is not None


def _find(joins: tuple[Join, ...], sid: str) -> int | None:
    """Index of the join with this SID; the empty SID is nobody's."""
    if sid:
        for index in range(len(joins) - 1, -1, -1):
            if joins[index].sid == sid:
                return index
    return None


def _put(state: SessionState, person: Person) -> SessionState:
    return change(state, present={**state.present, person.identity: person})


def _text(person: Person) -> int:
    attributes = person.attributes or {}
    return len(person.metadata or "") + sum(
        len(key) + len(value) for key, value in attributes.items()
    )


def _metadata(at: float, info: ParticipantInfo) -> Entry:
    told = {"identity": info.identity, "metadata": info.metadata}
    return Entry(at, "participant_metadata", told)


def _gone(person: Person, join: Join) -> Entry:
    left_at = join.joined_at if join.left_at is None else join.left_at
    told = {
        "identity": person.identity,
        "sid": join.sid,
        "kind": person.kind,
        "reason": join.reason,
        "seconds": round(join.seconds(left_at), 3),
    }
    return Entry(left_at, "participant_disconnected", told)
