"""Who is in the room: arrivals, leaves, rejoins, and leaves that turn out untrue.

A person is an identity, a join is a participant SID.  Functions take a state and give
the next; what is to be told goes to `out`.  The rules and where they come from are in
`actors.session.reducer`.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal, TypeAlias

from attrs import evolve

from actors.session.activity import permissions_entry, take_attributes, take_metadata
from actors.session.estimate import Estimate
from actors.session.events import (
    AttributesChanged,
    MetadataChanged,
    ParticipantActive,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    RecorderDetected,
)
from actors.session.gaps import counts_from, was_suspended
from actors.session.intervals import add, stretch
from actors.session.pending import anomaly, defer, stop_expecting, with_leaving
from actors.session.people_counts import (
    peak_of_joins,
    people_at,
    recounted,
    rejoin_data,
    with_join,
    with_joins,
    with_key,
    with_kind,
    with_peak,
)
from actors.session.state import (
    ANNOUNCE_INTERVAL,
    CONFIRM_AFTER,
    MAX_PAST_PARTICIPANTS,
    MAX_PAST_TEXT,
    RECONNECT_WINDOW,
    Join,
    Participant,
    ProvisionalEnd,
    SessionState,
    change,
)
from actors.session.texts import MAX_ENTRY_TEXT, cut_attributes, cut_text
from actors.session.timeline_entry import TimelineEntry
from actors.session.tracks import ensure_published, finish, finish_all_of

SightingSource: TypeAlias = Literal["announced", "found", "missed", "told"]
"""How somebody is seen: by an event, by the roster at our own arrival, by a later one, by a
webhook while we were not there.

An event or a webhook may be late or doubled; a roster is what is true now.
"""

MIN_CORRECTION: Final = 0.5
"""Seconds by which a corrected leave must differ to be told: half of the server's clock tick."""

CALL_STATUS: Final = "sip.callStatus"
"""The attribute in which LiveKit's SIP service keeps the state of a call."""

RINGING: Final = frozenset({"dialing", "ringing"})
ANSWERED: Final = frozenset({"active", "automation"})
"""States of a call.  In ``automation`` the call is answered and digits are still dialled."""

MAX_PUBLISH_UNCERTAINTY: Final = 10.0
"""Seconds between a join and our first view of its tracks up to which a time of publication
in between is worth telling."""

_EVENT: Final[dict[SightingSource, str]] = {
    "announced": "participant_connected",
    "found": "participant_found",
    "missed": "participant_connected",
    "told": "participant_connected",
}
_MAY_BE_LATE: Final[tuple[SightingSource, SightingSource]] = ("announced", "told")


def on_joined(
    state: SessionState, event: ParticipantJoined, out: list[TimelineEntry]
) -> SessionState:
    info = event.participant
    if state.reconnecting and not is_known(state, info):
        return defer(state, event)
    return arrive(state, info, event.at, "announced", out)


def on_active(
    state: SessionState, event: ParticipantActive, out: list[TimelineEntry]
) -> SessionState:
    person = state.present.get(event.identity) or state.past.get(event.identity)
    index = None if person is None else find_join(person, event.sid)
    if person is None or index is None:
        return defer(state, event) if state.reconnecting else anomaly(state)
    kind = person.joins[index].kind or person.kind
    return correct_join(state, person, index, kind, event.at, out, active=True)


def on_attributes(
    state: SessionState, event: AttributesChanged, out: list[TimelineEntry]
) -> SessionState:
    """Attributes also say that a call was answered."""
    state = _identified(take_attributes(state, event, out), event.identity)
    person = state.present.get(event.identity)
    return state if person is None else update_join(state, person, event.at, out)


def on_metadata(
    state: SessionState, event: MetadataChanged, out: list[TimelineEntry]
) -> SessionState:
    """Metadata may also say who it is."""
    return _identified(take_metadata(state, event, out), event.identity)


def on_recorder(
    state: SessionState, event: RecorderDetected, out: list[TimelineEntry]
) -> SessionState:
    person = state.present.get(event.identity) or state.past.get(event.identity)
    index = None if person is None else find_join(person, event.sid)
    if person is None or index is None:
        return defer(state, event) if state.reconnecting else anomaly(state)
    return correct_join(state, person, index, "egress", event.at, out, active=False)


def on_left(state: SessionState, event: ParticipantLeft, out: list[TimelineEntry]) -> SessionState:
    since = counts_from(state, event.at)
    return _left(state, evolve(event, at=since), stretch(since, event.at), out)


def _left(
    state: SessionState, event: ParticipantLeft, unseen: float, out: list[TimelineEntry]
) -> SessionState:
    """`unseen`: seconds after the event's time in which it may have happened."""
    person = state.present.get(event.identity)
    if person is None:
        gone = state.past.get(event.identity)
        if gone is None or find_join(gone, event.sid) is None:
            return defer(state, event) if state.deferred else anomaly(state)
        return change(
            anomaly(state), past=state.past.put(gone.identity, _with_late_leave(gone, event))
        )
    join = person.joins[-1]
    if event.sid and join.sid and event.sid != join.sid:
        # Of an earlier join, which the later one has closed already.
        if state.deferred and find_join(person, event.sid) is None:
            return defer(state, event)
        return _put(
            anomaly(state), change(_with_late_leave(person, event), pending_leave_since=None)
        )
    if person.pending_leave_since is not None:
        if event.at - person.pending_leave_since <= RECONNECT_WINDOW:
            # The leave of the join before, told with the SID of the new one or with none.
            if len(person.joins) > 1:
                person = _with_late_leave(person, evolve(event, sid=person.joins[-2].sid))
            return _put(state, change(person, pending_leave_since=None))
        state = _put(state, change(person, pending_leave_since=None))
    leave = state.provisional_leaves.get(event.identity)
    within = max(unseen, announce_delay(join, event.at))
    if event.reason is not None:
        at, within = (event.at, within) if leave is None else (leave.at, leave.within)
        return record_leave(state, event.identity, at, event.reason, within, out)
    if leave is not None:
        return anomaly(state)
    due = inf if state.reconnecting else event.at + CONFIRM_AFTER
    observed = not state.reconnecting
    return mark_provisional(state, event.identity, event.at, due, within, observed=observed)


def arrive(
    state: SessionState,
    info: ParticipantInfo,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """Somebody is in the room, with what `info` says of them."""
    identity, sid = info.identity, info.sid
    if sid in state.expected:
        info = evolve(info, active=True)  # LiveKit's webhook waits for that
    state = stop_expecting(state, sid)
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
        if join.end_from_webhook:
            return state
        if how == "announced" and (join.reason is not None or known + 1 < len(person.joins)):
            return anomaly(state)
        return _reopen(state, person, known, info, at, how, out)
    if how in _MAY_BE_LATE and joined_at < person.joins[-1].joined_at:
        return add_unobserved_join(
            state, info, change(join_of(info, joined_at, how), left_at=inf), at, out
        )
    return _rejoin(state, person, info, joined_at, at, how, out)


def add_unobserved_join(
    state: SessionState, info: ParticipantInfo, join: Join, at: float, out: list[TimelineEntry]
) -> SessionState:
    """Add a join that is over and was not seen, in its place among the joins of that person.

    It ended no later than the next one began: at infinity means then.
    """
    identity = info.identity
    person = state.present.get(identity) or state.past.get(identity)
    if person is None:
        if state.truncated.people:
            return anomaly(state)  # it may be of somebody who is not kept
        state, person = _new_participant(state, info)
    elif person.older_joins and join.joined_at <= person.joins[0].joined_at:
        return anomaly(state)  # it may be one of those that are not kept
    place = sum(other.joined_at <= join.joined_at for other in person.joins)
    if place == len(person.joins) and identity in state.present:
        within = announce_delay(person.joins[-1], join.joined_at)
        state, person = _leave(state, identity, join.joined_at, None, within, out)
    was = person
    before, after = person.joins[:place], person.joins[place:]
    left_at = join.joined_at if join.left_at is None else join.left_at
    if after and left_at > after[0].joined_at:
        left_at = after[0].joined_at
        within = stretch(join.joined_at, left_at) if join.left_at == inf else join.left_within
        join = change(join, left_within=within)
    join = change(join, left_at=max(left_at, join.joined_at))
    told = rejoin_data(state, person, before, join.joined_at)
    if before:
        parted = min(before[-1].left_at or 0.0, join.joined_at)
        before = (*before[:-1], change(before[-1], left_at=max(parted, before[-1].joined_at)))
    state, person = with_joins(state, person, (*before, join, *after), at)
    state = recounted(state, was, person)
    if join.effective:
        if person.is_visit(join):
            state = change(state, peak=max(state.peak, people_at(state, person, join.since)))
        out.append(TimelineEntry(at, "participant_connected", {**_join_data(person, join), **told}))
    out.append(_leave_entry(person, join))
    return _put(state, person) if identity in state.present else archive_participant(state, person)


def record_leave(
    state: SessionState,
    identity: str,
    at: float,
    reason: str | None,
    within: float | None,
    out: list[TimelineEntry],
    told: bool = False,
    observed: bool = True,
) -> SessionState:
    """Somebody left for certain, at `at`, give or take `within` seconds; `told` where it is
    the server's word, not `observed` where it was in a gap."""
    state, person = _leave(state, identity, at, reason, within, out, told, observed)
    return archive_participant(state, person)


def correct_leave(
    state: SessionState,
    person: Participant,
    index: int,
    told: Estimate,
    reason: str | None,
    out: list[TimelineEntry],
) -> SessionState:
    """The server's word on when and why a join that is over ended.

    Not after the next join began, and not after the leave was heard: a leave that has a
    reason was heard.  One without was only concluded, maybe too early; so was one that is put
    to the beginning of a suspension.  Where both may be right, the time is one that both allow.
    """
    after = person.joins[index + 1 :]
    join = person.joins[index]
    believed = join.joined_at if join.left_at is None else join.left_at
    if join.reason is None or was_suspended(state, believed):
        best = told
    else:
        heard = Estimate(believed, believed - (join.left_within or 0.0), believed)
        best = heard.agreeing_with(told) or Estimate(min(told.at, believed), told.low, told.high)
    left_at = min(best.at, after[0].joined_at) if after else best.at
    corrected = change(
        join,
        left_at=max(left_at, join.joined_at),
        left_within=best.within,
        reason=reason or join.reason,
        end_from_webhook=True,
        end_observed=True,
    )
    if join.effective and (
        abs(left_at - believed) > MIN_CORRECTION or corrected.reason != join.reason
    ):
        out.append(evolve(_leave_entry(person, corrected), event="participant_left_at"))
    elif not join.effective and not join.end_observed:
        out.append(_leave_entry(person, corrected))
    was, person = person, with_join(person, index, corrected)
    return _replace(recounted(state, was, person), person)


def correct_join(
    state: SessionState,
    person: Participant,
    index: int,
    kind: ParticipantKind,
    at: float,
    out: list[TimelineEntry],
    *,
    active: bool,
) -> SessionState:
    """The server's word on what kind of join it is, and whether it ever became `active`."""
    was, join = person, person.joins[index]
    if (join.kind or person.kind) != kind:
        join = change(join, kind=kind)
        person = with_kind(with_join(person, index, join))
        state = _replace(recounted(state, was, person), person)
        if was.is_visit(was.joins[index]):
            state = change(state, peak=peak_of_joins(state))
    if not active or join.active:
        return state
    if join.left_at is None:
        return update_join(state, person, at, out, active=True)
    was, join = person, change(join, active=True)
    person = with_join(person, index, join)
    state = _replace(recounted(state, was, person), person)
    if not join.effective:
        return state
    if person.is_visit(join):
        state = change(state, peak=max(state.peak, people_at(state, person, join.since)))
    told = rejoin_data(state, person, person.joins[:index], join.joined_at)
    out.append(TimelineEntry(at, "participant_connected", {**_join_data(person, join), **told}))
    out.append(_leave_entry(person, join))
    return state


def update_join(
    state: SessionState,
    person: Participant,
    at: float,
    out: list[TimelineEntry],
    *,
    active: bool = False,
) -> SessionState:
    """Somebody present may have become `active`, or have answered the call, as the
    attributes of `person` say.  It is told once both is so."""
    was = state.present[person.identity]
    join = before = person.joins[-1]
    if active and not join.active:
        join = change(join, active=True)
    status = (person.attributes or {}).get(CALL_STATUS)
    if join.ringing and status in ANSWERED:
        join = change(join, ringing=False, answered_at=max(at, join.joined_at))
    if join is before:
        return state if person is was else _put(state, person)
    person = change(person, joins=(*person.joins[:-1], join))
    state = _put(recounted(state, was, person), person)
    if join.effective:
        state = with_peak(state, join.since)
        told = rejoin_data(state, person, person.joins[:-1], join.joined_at)
        out.append(TimelineEntry(at, "participant_connected", {**_join_data(person, join), **told}))
        if person.metadata:
            out.append(_metadata_entry(at, person.identity, person.metadata))
    return state


def join_of(info: ParticipantInfo, joined_at: float, how: SightingSource) -> Join:
    """A join that begins, as `info` describes it."""
    attributes = info.attributes or {}
    status = attributes.get(CALL_STATUS) if info.kind == "sip" else None
    answered = status in ANSWERED and how in _MAY_BE_LATE
    return Join(
        info.sid,
        joined_at,
        kind=info.kind,
        active=info.active,
        ringing=status in RINGING,
        answered_at=joined_at if answered else None,
    )


def announce_delay(join: Join, at: float) -> float:
    """Seconds by which the server may have been late when it announced this leave at `at`."""
    return 0.0 if join.publisher else min(ANNOUNCE_INTERVAL, stretch(join.joined_at, at))


def mark_provisional(
    state: SessionState,
    identity: str,
    at: float,
    due: float,
    within: float | None,
    *,
    observed: bool,
) -> SessionState:
    """Somebody seems to have left at `at`: believe it at `due`, unless they are back.

    What is measured of them stops at `at`; quality goes on if it was not true.
    """
    person = state.present[identity]
    leave = ProvisionalEnd(at, due, person.quality.level, within, observed)
    leaving = {**state.provisional_leaves, identity: leave}
    state = with_leaving(state, leaving)
    return _put(_without_speaker(state, identity), _measuring_stopped(person, at))


def confirm_due(state: SessionState, until: float, out: list[TimelineEntry]) -> SessionState:
    """Believe every provisional end that is due by `until`.

    Whoever should have been announced by then came and went in between; how long they
    stayed is not known.
    """
    for sid, one in state.expected.items():
        if one.due <= until:
            joined_at = one.info.joined_at
            join = change(
                join_of(one.info, joined_at, "told"),
                left_at=joined_at,
                left_within=ANNOUNCE_INTERVAL,
            )
            state = add_unobserved_join(stop_expecting(state, sid), one.info, join, joined_at, out)
    for sid, leave in state.provisional_unpublishes.items():
        if leave.due <= until:
            state = finish(state, sid, leave.at, out)
    for identity, leave in state.provisional_leaves.items():
        if leave.due <= until:
            at, within, observed = leave.at, leave.within, leave.observed
            state = record_leave(state, identity, at, None, within, out, observed=observed)
    return state


def close_without_leave(
    state: SessionState, identity: str, at: float, within: float | None
) -> SessionState:
    """Close somebody's join because the session ends, not because they left.

    `within` is None where the room may live on.
    """
    state, person = _close_join(state, identity, at, None, within, observed=within is not None)
    return archive_participant(state, person)


def archive_participant(state: SessionState, person: Participant) -> SessionState:
    """Put somebody who left to the past, as far as there is room for them."""
    past, truncated = state.past, state.truncated
    before = past.get(person.identity)
    if before is None and len(past) >= MAX_PAST_PARTICIPANTS:
        truncated = change(truncated, people=truncated.people + 1)
        if person.counted:
            truncated = change(
                truncated,
                seconds=truncated.seconds + person.seconds(0.0),
                quality=add(truncated.quality, person.quality.totals(0.0)),
                talk=(truncated.talk or 0.0) + person.talk.seconds
                if person.audible
                else truncated.talk,
            )
        return change(state, truncated=truncated)
    room_for_text = MAX_PAST_TEXT - state.past_text_size + (_text_size(before) if before else 0)
    text = _text_size(person)
    if text > room_for_text:
        person, text = change(person, metadata=None, attributes=None), 0
        truncated = change(truncated, texts=truncated.texts + 1)
    return change(
        state,
        past=past.put(person.identity, person),
        past_text_size=MAX_PAST_TEXT - room_for_text + text,
        truncated=truncated,
    )


def _seen_again(
    state: SessionState,
    person: Participant,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """Somebody who is in the room: the join that is open, or another."""
    identity, sid = info.identity, info.sid
    join = person.joins[-1]
    if sid == join.sid or not sid:
        return _confirm_presence(state, person, info, at, how, out)
    if find_join(person, sid) is not None:
        return anomaly(state)
    if joined_at < join.joined_at:
        return add_unobserved_join(
            state, info, change(join_of(info, joined_at, how), left_at=inf), at, out
        )
    leave = state.provisional_leaves.get(identity)
    unseen = state.gap_since
    within, observed = announce_delay(join, joined_at), unseen is None
    if leave is not None:
        heard, within, observed = leave.at, leave.within, leave.observed
    elif unseen is None:
        heard = joined_at
    else:
        heard, within = unseen, within + stretch(unseen, joined_at)
    heard = min(heard, joined_at)
    state, person = _leave(state, identity, heard, None, within, out, observed=observed)
    if leave is None and how == "announced":
        person = change(person, pending_leave_since=at)
    return _rejoin(state, person, info, joined_at, at, how, out)


def _first_seen(
    state: SessionState,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    state, person = _new_participant(state, info)
    told = rejoin_data(state, person, (), at if how == "announced" else joined_at)
    join = join_of(info, joined_at, how)
    return _open_join(state, person, person, join, info, at, how, told, out)


def _new_participant(
    state: SessionState, info: ParticipantInfo
) -> tuple[SessionState, Participant]:
    """Somebody of whom nothing was known, and the messages that came before them."""
    identity = info.identity
    messages = state.unannounced_senders.get(identity, 0)
    if messages:
        early = {
            other: count for other, count in state.unannounced_senders.items() if other != identity
        }
        state = change(state, unannounced_senders=early)
    person = Participant(
        state.next_number,
        identity,
        info.kind,
        info.name,
        info.metadata,
        info.attributes,
        data_messages=messages,
    )
    return change(state, next_number=state.next_number + 1), with_key(state, person)


def _rejoin(
    state: SessionState,
    person: Participant,
    info: ParticipantInfo,
    joined_at: float,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """Somebody who was here before, with a new join."""
    was, last = person, person.joins[-1]
    left_at = last.joined_at if last.left_at is None else last.left_at
    back = at if how == "announced" else joined_at
    told = rejoin_data(state, person, person.joins, back)
    if left_at > joined_at:
        # The leave was heard late: nobody is in the room twice.
        within = last.left_within
        if within is not None:
            within = max(0.0, within - (left_at - joined_at))
        last = change(last, left_at=max(joined_at, last.joined_at), left_within=within)
        person = change(person, joins=(*person.joins[:-1], last))
    join = join_of(info, joined_at, how)
    return _open_join(state, was, person, join, info, at, how, told, out)


def _reopen(
    state: SessionState,
    person: Participant,
    known: int,
    info: ParticipantInfo,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """The same join is back: it never ended, whatever was believed."""
    join = person.joins[known]
    left_at = at if join.left_at is None else join.left_at
    told = {"rejoin": True, "reconnect": at - left_at <= RECONNECT_WINDOW}
    was, others = person, (*person.joins[:known], *person.joins[known + 1 :])
    join = change(
        join,
        left_at=None,
        left_within=None,
        reason=None,
        active=join.active or info.active,
        end_observed=True,
    )
    return _open_join(state, was, change(person, joins=others), join, info, at, how, told, out)


def _open_join(
    state: SessionState,
    was: Participant,
    person: Participant,
    join: Join,
    info: ParticipantInfo,
    at: float,
    how: SightingSource,
    told: dict[str, bool],
    out: list[TimelineEntry],
) -> SessionState:
    """Open `join` of somebody who is not present; `was` is this person before, as counted."""
    state, person = with_joins(state, person, (*person.joins, join), at)
    person = with_key(state, _with_texts(with_kind(person), info))
    state = _put(recounted(state, was, person), person)
    if join.effective:
        state = with_peak(state, join.since)
        who = _join_data(person, join)
        out.append(TimelineEntry(at, _EVENT[how], who if how == "found" else {**who, **told}))
        if info.metadata:
            out.append(_metadata_entry(at, info.identity, info.metadata))
    return _with_tracks(state, info, at, how, out)


def _confirm_presence(
    state: SessionState,
    person: Participant,
    info: ParticipantInfo,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """The join that is open was seen again: if it seemed to be over, it is not."""
    leave = state.provisional_leaves.get(info.identity)
    if leave is None:
        if how == "announced":
            return anomaly(state)
    else:
        left = {
            other: wait
            for other, wait in state.provisional_leaves.items()
            if other != info.identity
        }
        state = with_leaving(state, left)
        person = change(person, quality=person.quality.to(leave.quality, leave.at))
        state = with_peak(_put(state, person), at)
    state = _take_info(state, person, info, at, out)
    state = update_join(state, state.present[info.identity], at, out, active=info.active)
    return _with_tracks(state, info, at, how, out)


def _take_info(
    state: SessionState,
    person: Participant,
    info: ParticipantInfo,
    at: float,
    out: list[TimelineEntry],
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
        out.append(TimelineEntry(at, "participant_name", {"identity": identity, "name": info.name}))
    if info.metadata is not None and info.metadata != person.metadata:
        out.append(_metadata_entry(at, identity, info.metadata))
    if changed:
        told = {"identity": identity, "changed": cut_attributes(changed, MAX_ENTRY_TEXT)}
        out.append(TimelineEntry(at, "participant_attributes", told))
    if info.permissions is not None and info.permissions != person.permissions:
        if person.permissions is not None:
            out.append(permissions_entry(at, identity, info.permissions))
    elif not changed and info.name == person.name and info.metadata in (None, person.metadata):
        return state
    return _identified(_put(state, _with_texts(person, info)), identity)


def _with_texts(person: Participant, info: ParticipantInfo) -> Participant:
    """With what `info` says of them; what it leaves out stays as it was."""
    return change(
        person,
        name=info.name,
        metadata=person.metadata if info.metadata is None else info.metadata,
        attributes=person.attributes if info.attributes is None else info.attributes,
        permissions=person.permissions if info.permissions is None else info.permissions,
    )


def _with_tracks(
    state: SessionState,
    info: ParticipantInfo,
    at: float,
    how: SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """Everything that `info` shows as published is published.

    A track that was there when we looked was published between the join, or when we saw
    the room last, and now.  The best time is the middle.
    """
    published_at: float | None = at
    within: float | None = 0.0
    if how not in _MAY_BE_LATE and info.tracks:
        joined_at = state.present[info.identity].joins[-1].joined_at
        unseen = state.gap_since
        since = joined_at if unseen is None else max(joined_at, unseen)
        within = stretch(since, at) / 2
        published_at = at - within
        if 2 * within > MAX_PUBLISH_UNCERTAINTY:
            published_at = within = None
    for track in info.tracks:
        existing = how == "found"
        state = ensure_published(
            state, info.identity, track, at, published_at, existing, out, within
        )
    return state


def _identified(state: SessionState, identity: str) -> SessionState:
    """Somebody present may have shown who they are."""
    was = state.present.get(identity)
    if was is None:
        return state
    person = with_key(state, was)
    return state if person is was else _put(recounted(state, was, person), person)


def _leave(
    state: SessionState,
    identity: str,
    at: float,
    reason: str | None,
    within: float | None,
    out: list[TimelineEntry],
    told: bool = False,
    observed: bool = True,
) -> tuple[SessionState, Participant]:
    """Close somebody's join and tracks, and tell it."""
    state = finish_all_of(state, identity, at, out)
    state, person = _close_join(state, identity, at, reason, within, told, observed)
    join = person.joins[-1]
    if observed or join.effective:  # Else there is nothing that we know.
        out.append(_leave_entry(person, join))
    return state, person


def _close_join(
    state: SessionState,
    identity: str,
    at: float,
    reason: str | None,
    within: float | None,
    told: bool = False,
    observed: bool = True,
) -> tuple[SessionState, Participant]:
    """Take somebody out of the room, with what was measured closed at `at`."""
    was = person = state.present[identity]
    join = person.joins[-1]
    left_at = max(at, join.joined_at)
    join = change(
        join,
        left_at=left_at,
        left_within=within,
        reason=reason,
        end_from_webhook=told,
        end_observed=observed,
    )
    person = change(
        _measuring_stopped(person, left_at),
        joins=(*person.joins[:-1], join),
        pending_leave_since=None,
    )
    present = {other: one for other, one in state.present.items() if other != identity}
    state = change(recounted(_without_speaker(state, identity), was, person), present=present)
    if identity in state.provisional_leaves:
        left = {
            other: leave for other, leave in state.provisional_leaves.items() if other != identity
        }
        state = with_leaving(state, left)
    return state, person


def _measuring_stopped(person: Participant, at: float) -> Participant:
    return change(person, quality=person.quality.to(None, at), talk=person.talk.off(at))


def _without_speaker(state: SessionState, identity: str) -> SessionState:
    if identity not in state.speaking:
        return state
    return change(state, speaking=state.speaking - {identity})


def _with_late_leave(person: Participant, event: ParticipantLeft) -> Participant:
    """A leave was heard of a join that is over: it may say why, and no later than when."""
    index = find_join(person, event.sid)
    if index is None or event.reason is None:
        return person
    join = person.joins[index]
    if join.left_at is None:
        return person
    if join.end_from_webhook and event.at < join.left_at:
        within = announce_delay(join, event.at)
        join = change(join, left_at=max(event.at, join.joined_at), left_within=within)
    join = change(join, reason=join.reason or event.reason)
    return with_join(person, index, join)


def is_known(state: SessionState, info: ParticipantInfo) -> bool:
    """Whether this join belongs to this life of the room for certain."""
    person = state.present.get(info.identity) or state.past.get(info.identity)
    return person is not None and find_join(person, info.sid) is not None


def find_join(person: Participant, sid: str) -> int | None:
    """Index of the join with this SID; the empty SID is nobody's."""
    if sid:
        for index in range(len(person.joins) - 1, -1, -1):
            if person.joins[index].sid == sid:
                return index
    return None


def _replace(state: SessionState, person: Participant) -> SessionState:
    """Put another version of somebody where they are."""
    if person.identity in state.present:
        return _put(state, person)
    return change(state, past=state.past.put(person.identity, person))


def _put(state: SessionState, person: Participant) -> SessionState:
    return change(state, present={**state.present, person.identity: person})


def _text_size(person: Participant) -> int:
    attributes = person.attributes or {}
    return len(person.metadata or "") + sum(
        len(key) + len(value) for key, value in attributes.items()
    )


def _metadata_entry(at: float, identity: str, metadata: str) -> TimelineEntry:
    told = {"identity": identity, "metadata": cut_text(metadata, MAX_ENTRY_TEXT)}
    return TimelineEntry(at, "participant_metadata", told)


def _join_data(person: Participant, join: Join) -> dict[str, object]:
    return {
        "identity": person.identity,
        "sid": join.sid,
        "kind": join.kind or person.kind,
        "name": person.name,
        "joined_at": join.joined_at,
    }


def _leave_entry(person: Participant, join: Join) -> TimelineEntry:
    """The end of a join.  One in which nobody took part was not told before."""
    left_at = join.joined_at if join.left_at is None else join.left_at
    told: dict[str, object] = {
        "identity": person.identity,
        "sid": join.sid,
        "kind": join.kind or person.kind,
        "reason": join.reason,
    }
    if not join.effective:
        return TimelineEntry(left_at, "participant_connection_aborted", told)
    told["seconds"] = round(join.seconds(left_at), 3)
    return TimelineEntry(left_at, "participant_disconnected", told)
