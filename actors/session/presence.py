"""Who is in the room: arrivals, leaves, rejoins, and leaves that turn out untrue.

A person is an identity, a join is a participant SID.  Functions take a state and give
the next; what is to be told goes to `out`.  The rules and where they come from are in
`actors.session.fold`.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal, TypeAlias

from attrs import evolve

from actors.session.entry import Entry
from actors.session.events import ParticipantInfo, ParticipantJoined, ParticipantLeft
from actors.session.signals import permissions_entry
from actors.session.state import (
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
from actors.session.texts import TOLD, cut_attributes, cut_text
from actors.session.tracks import finish, finish_all_of, show
from actors.session.waiting import anomaly, expect_no_more, hold, with_leaving

How: TypeAlias = Literal["announced", "found", "missed", "told"]
"""How somebody is seen: by an event, by the roster at our own arrival, by a later one, by a
webhook while we were not there.

An event or a webhook may be late or doubled; a roster is what is true now.
"""

TELLING: Final = 0.5
"""Seconds by which a corrected leave must differ to be told: half of the server's clock tick."""

_EVENT: Final[dict[How, str]] = {
    "announced": "participant_connected",
    "found": "participant_found",
    "missed": "participant_connected",
    "told": "participant_connected",
}
_MAY_BE_LATE: Final[tuple[How, How]] = ("announced", "told")


def on_joined(state: SessionState, event: ParticipantJoined, out: list[Entry]) -> SessionState:
    info = event.participant
    if state.reconnecting and not knows(state, info):
        return hold(state, event)
    return arrive(state, info, event.at, "announced", out)


def on_left(state: SessionState, event: ParticipantLeft, out: list[Entry]) -> SessionState:
    person = state.present.get(event.identity)
    if person is None:
        gone = state.past.get(event.identity)
        if gone is None or find_join(gone, event.sid) is None:
            return hold(state, event) if state.held else anomaly(state)
        return change(anomaly(state), past=state.past.put(gone.identity, _left_too(gone, event)))
    join = person.joins[-1]
    if event.sid and join.sid and event.sid != join.sid:
        # Of an earlier join, which the later one has closed already.
        if state.held and find_join(person, event.sid) is None:
            return hold(state, event)
        return _put(anomaly(state), change(_left_too(person, event), owed=None))
    if person.owed is not None:
        if event.at - person.owed <= RECONNECT_WINDOW:
            # The leave of the join before, told with the SID of the new one or with none.
            if len(person.joins) > 1:
                person = _left_too(person, evolve(event, sid=person.joins[-2].sid))
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
    state = expect_no_more(state, sid)
    joined_at = info.joined_at if info.joined_at > 0 else at
    person = state.present.get(identity)
    if person is not None:
        return _seen_again(state, person, info, joined_at, at, how, out)
    person = state.past.get(identity)
    if person is None:
        return _first_seen(state, info, joined_at, at, how, out)
    known = find_join(person, sid)
    if known is not None:
        join = person.joins[known]
        if join.told:
            return state
        if how == "announced" and (join.reason is not None or known + 1 < len(person.joins)):
            return anomaly(state)
        return _reopen(state, person, known, info, at, how, out)
    if how in _MAY_BE_LATE and joined_at < person.joins[-1].joined_at:
        return visit(state, info, Join(sid, joined_at, inf), at, out)
    return _again(state, person, info, joined_at, at, how, out)


def visit(
    state: SessionState, info: ParticipantInfo, join: Join, at: float, out: list[Entry]
) -> SessionState:
    """Add a join that is over and was not seen, in its place among the joins of that person.

    It ended no later than the next one began: at infinity means then.
    """
    identity = info.identity
    person = state.present.get(identity) or state.past.get(identity)
    if person is None:
        if state.folded.people:
            return anomaly(state)  # it may be of somebody who is not kept
        state, person = _newcomer(state, info)
    elif person.older_joins and join.joined_at <= person.joins[0].joined_at:
        return anomaly(state)  # it may be one of those that are not kept
    place = sum(other.joined_at <= join.joined_at for other in person.joins)
    if place == len(person.joins) and identity in state.present:
        state, person = _part(state, identity, join.joined_at, None, out)
    before, after = person.joins[:place], person.joins[place:]
    left_at = join.joined_at if join.left_at is None else join.left_at
    if after:
        left_at = min(left_at, after[0].joined_at)
    join = change(join, left_at=max(left_at, join.joined_at))
    told = {"rejoin": bool(before), "reconnect": False}
    if before:
        parted = min(before[-1].left_at or 0.0, join.joined_at)
        told["reconnect"] = join.joined_at - parted <= RECONNECT_WINDOW
        before = (*before[:-1], change(before[-1], left_at=max(parted, before[-1].joined_at)))
    state, person = _with_joins(state, person, (*before, join, *after), at)
    state = change(state, peak=max(state.peak, _met(state, person, join.joined_at)))
    state = _joined(state, person, join)
    out.append(Entry(at, "participant_connected", {**_who(person, join), **told}))
    out.append(_gone(person, join))
    return _put(state, person) if identity in state.present else shelve(state, person)


def depart(
    state: SessionState,
    identity: str,
    at: float,
    reason: str | None,
    out: list[Entry],
    told: bool = False,
) -> SessionState:
    """Somebody left for certain, at `at`; `told` where it is the server's word."""
    state, person = _part(state, identity, at, reason, out, told)
    return shelve(state, person)


def correct_leave(
    state: SessionState,
    person: Person,
    index: int,
    at: float,
    reason: str | None,
    out: list[Entry],
) -> SessionState:
    """The server's word on when and why a join that is over ended.

    Not after the next join began, and not after the leave was heard: a leave that has a
    reason was heard.  One without was only concluded, maybe too early.
    """
    before, join, after = person.joins[:index], person.joins[index], person.joins[index + 1 :]
    believed = join.joined_at if join.left_at is None else join.left_at
    left_at = at if join.reason is None else min(at, believed)
    if after:
        left_at = min(left_at, after[0].joined_at)
    corrected = change(
        join, left_at=max(left_at, join.joined_at), reason=reason or join.reason, told=True
    )
    person = change(person, joins=(*before, corrected, *after))
    if abs(left_at - believed) > TELLING or corrected.reason != join.reason:
        out.append(evolve(_gone(person, corrected), event="participant_left_at"))
    if person.identity in state.present:
        return _put(state, person)
    return change(state, past=state.past.put(person.identity, person))


def doubt(state: SessionState, identity: str, at: float, due: float) -> SessionState:
    """Somebody seems to have left at `at`: believe it at `due`, unless they are back.

    What is measured of them stops at `at`; quality goes on if it was not true.
    """
    person = state.present[identity]
    leaving = {**state.leaving, identity: Leave(at, due, person.quality.level)}
    state = with_leaving(state, leaving)
    return _put(_silenced(state, identity), _quiet(person, at))


def settle(state: SessionState, until: float, out: list[Entry]) -> SessionState:
    """Believe every provisional end that is due by `until`.

    Whoever should have been announced by then came and went in between; how long they
    stayed is not known.
    """
    for sid, one in state.expected.items():
        if one.due <= until:
            joined_at = one.info.joined_at
            join = Join(sid, joined_at, joined_at)
            state = visit(expect_no_more(state, sid), one.info, join, joined_at, out)
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


def _seen_again(
    state: SessionState,
    person: Person,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    """Somebody who is in the room: the join that is open, or another."""
    identity, sid = info.identity, info.sid
    join = person.joins[-1]
    if sid == join.sid or not sid:
        return _stays(state, person, info, at, how, out)
    if find_join(person, sid) is not None:
        return anomaly(state)
    if joined_at < join.joined_at:
        return visit(state, info, Join(sid, joined_at, inf), at, out)
    leave = state.leaving.get(identity)
    unseen = state.blind_since
    heard = leave.at if leave else joined_at if unseen is None else unseen
    state, person = _part(state, identity, min(heard, joined_at), None, out)
    if leave is None and how == "announced":
        person = change(person, owed=at)
    return _again(state, person, info, joined_at, at, how, out)


def _first_seen(
    state: SessionState,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: How,
    out: list[Entry],
) -> SessionState:
    state, person = _newcomer(state, info)
    told = {"rejoin": False, "reconnect": False}
    return _enter(state, person, Join(info.sid, joined_at), info, at, how, told, True, out)


def _newcomer(state: SessionState, info: ParticipantInfo) -> tuple[SessionState, Person]:
    """Somebody of whom nothing was known, and the messages that came before them."""
    identity = info.identity
    messages = state.early.get(identity, 0)
    if messages:
        early = {other: count for other, count in state.early.items() if other != identity}
        state = change(state, early=early)
    person = Person(
        state.numbered,
        identity,
        info.kind,
        info.name,
        info.metadata,
        info.attributes,
        data_messages=messages,
    )
    unique = state.unique + person.counted
    return change(state, numbered=state.numbered + 1, unique=unique), person


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
    state, person = _with_joins(state, person, (*person.joins, join), at)
    person = _with_texts(person, info)
    state = change(_put(state, person), current=state.current + person.counted)
    state = _peaked(state, join.joined_at)
    if new:
        state = _joined(state, person, join)
    who = _who(person, join)
    out.append(Entry(at, _EVENT[how], who if how == "found" else {**who, **told}))
    if info.metadata:
        out.append(_metadata(at, info.identity, info.metadata))
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
        state = _peaked(_put(state, person), at)
    state = _compared(state, person, info, at, out)
    return _with_tracks(state, info, at, how, out)


def _compared(
    state: SessionState, person: Person, info: ParticipantInfo, at: float, out: list[Entry]
) -> SessionState:
    """Take over what `info` says of somebody present, and tell what differs."""
    identity = info.identity
    before = person.attributes or {}
    now = before if info.attributes is None else info.attributes
    changed = {
        key: now.get(key, "")
        for key in {**before, **now}
        if before.get(key, "") != now.get(key, "")
    }
    if info.name != person.name:
        out.append(Entry(at, "participant_name", {"identity": identity, "name": info.name}))
    if info.metadata is not None and info.metadata != person.metadata:
        out.append(_metadata(at, identity, info.metadata))
    if changed:
        told = {"identity": identity, "changed": cut_attributes(changed, TOLD)}
        out.append(Entry(at, "participant_attributes", told))
    if info.permissions is not None and info.permissions != person.permissions:
        if person.permissions is not None:
            out.append(permissions_entry(at, identity, info.permissions))
    elif not changed and info.name == person.name and info.metadata in (None, person.metadata):
        return state
    return _put(state, _with_texts(person, info))


def _with_texts(person: Person, info: ParticipantInfo) -> Person:
    """With what `info` says of them; what it leaves out stays as it was."""
    return change(
        person,
        name=info.name,
        metadata=person.metadata if info.metadata is None else info.metadata,
        attributes=person.attributes if info.attributes is None else info.attributes,
        permissions=person.permissions if info.permissions is None else info.permissions,
    )


def _with_tracks(
    state: SessionState, info: ParticipantInfo, at: float, how: How, out: list[Entry]
) -> SessionState:
    """Everything that `info` shows as published is published."""
    published_at = at if how in _MAY_BE_LATE else None
    for track in info.tracks:
        state = show(state, info.identity, track, at, published_at, how == "found", out)
    return state


def _with_joins(
    state: SessionState, person: Person, joins: tuple[Join, ...], at: float
) -> tuple[SessionState, Person]:
    """The person with these joins, at most one too many: then the oldest is only added up."""
    if len(joins) <= MAX_JOINS:
        return state, change(person, joins=joins)
    folded = change(state.folded, joins=state.folded.joins + 1)
    person = change(
        person,
        joins=joins[1:],
        older_joins=person.older_joins + 1,
        older_seconds=person.older_seconds + joins[0].seconds(at),
    )
    return change(state, folded=folded), person


def _joined(state: SessionState, person: Person, join: Join) -> SessionState:
    first = state.first_joined_at
    return change(
        state,
        joins=state.joins + person.counted,
        first_joined_at=join.joined_at if first is None else min(first, join.joined_at),
    )


def _peaked(state: SessionState, at: float) -> SessionState:
    """Somebody came at `at`, or is here after all.

    Whoever seems to have left by then does not count: if it was not true, they count once
    that is known.
    """
    gone = sum(
        state.present[identity].counted
        for identity, leave in state.leaving.items()
        if leave.at <= at
    )
    return change(state, peak=max(state.peak, state.current - gone))


def _met(state: SessionState, person: Person, at: float) -> int:
    """How many people were there at `at`, when `person` came for a visit nobody saw."""
    if not person.counted:
        return 0
    past = (other for other in state.past.values() if other.identity not in state.present)
    leaving = state.leaving
    here = (
        other
        for other in state.present.values()
        if other.identity not in leaving or at < leaving[other.identity].at
    )
    others = (other for other in (*past, *here) if other.counted)
    return 1 + sum(other.there(at) for other in others if other.identity != person.identity)


def _part(
    state: SessionState,
    identity: str,
    at: float,
    reason: str | None,
    out: list[Entry],
    told: bool = False,
) -> tuple[SessionState, Person]:
    """Close somebody's join and tracks, and tell it."""
    state = finish_all_of(state, identity, at, out)
    state, person = _out(state, identity, at, reason, told)
    out.append(_gone(person, person.joins[-1]))
    return state, person


def _out(
    state: SessionState, identity: str, at: float, reason: str | None, told: bool = False
) -> tuple[SessionState, Person]:
    """Take somebody out of the room, with what was measured closed at `at`."""
    person = state.present[identity]
    join = person.joins[-1]
    left_at = max(at, join.joined_at)
    join = change(join, left_at=left_at, reason=reason, told=told)
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


def _left_too(person: Person, event: ParticipantLeft) -> Person:
    """A leave was heard of a join that is over: it may say why, and no later than when."""
    index = find_join(person, event.sid)
    if index is None or event.reason is None:
        return person
    join = person.joins[index]
    if join.left_at is None:
        return person
    if join.told and event.at < join.left_at:
        join = change(join, left_at=max(event.at, join.joined_at))
    join = change(join, reason=join.reason or event.reason)
    return change(person, joins=(*person.joins[:index], join, *person.joins[index + 1 :]))


def knows(state: SessionState, info: ParticipantInfo) -> bool:
    """Whether this join belongs to this life of the room for certain."""
    person = state.present.get(info.identity) or state.past.get(info.identity)
    return person is not None and find_join(person, info.sid) is not None


def find_join(person: Person, sid: str) -> int | None:
    """Index of the join with this SID; the empty SID is nobody's."""
    if sid:
        for index in range(len(person.joins) - 1, -1, -1):
            if person.joins[index].sid == sid:
                return index
    return None


def _put(state: SessionState, person: Person) -> SessionState:
    return change(state, present={**state.present, person.identity: person})


def _text(person: Person) -> int:
    attributes = person.attributes or {}
    return len(person.metadata or "") + sum(
        len(key) + len(value) for key, value in attributes.items()
    )


def _metadata(at: float, identity: str, metadata: str) -> Entry:
    told = {"identity": identity, "metadata": cut_text(metadata, TOLD)}
    return Entry(at, "participant_metadata", told)


def _who(person: Person, join: Join) -> dict[str, object]:
    return {
        "identity": person.identity,
        "sid": join.sid,
        "kind": person.kind,
        "name": person.name,
        "joined_at": join.joined_at,
    }


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
