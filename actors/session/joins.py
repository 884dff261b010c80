"""Changes of a join that is known: it becomes active, a call is answered, its kind is corrected."""

from __future__ import annotations

from actors.session.activity import take_attributes, take_metadata
from actors.session.changes import change
from actors.session.events import (
    AttributesChanged,
    MetadataChanged,
    ParticipantActive,
    RecorderDetected,
)
from actors.session.leaves import leave_entry
from actors.session.participant import Participant
from actors.session.participant_maps import (
    KnownJoin,
    add_metadata_entry,
    find_known_join,
    join_data,
    put_present,
    replace_participant,
    update_key,
)
from actors.session.pending import anomaly, defer
from actors.session.people_counts import (
    peak_of_joins,
    people_at,
    recounted,
    rejoin_data,
    with_join,
    with_kind,
    with_peak,
)
from actors.session.room_info import ParticipantKind
from actors.session.sighting import ANSWERED, CALL_STATUS
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList


def on_active(state: SessionState, event: ParticipantActive, entries: EntryList) -> SessionState:
    known = find_known_join(state, event.identity, event.sid)
    if known is None:
        return defer(state, event) if state.reconnecting else anomaly(state)
    kind = known.join.kind or known.person.kind
    return correct_join(state, known, event.at, entries, kind=kind, active=True)


def on_recorder(state: SessionState, event: RecorderDetected, entries: EntryList) -> SessionState:
    known = find_known_join(state, event.identity, event.sid)
    if known is None:
        return defer(state, event) if state.reconnecting else anomaly(state)
    return correct_join(state, known, event.at, entries, kind="egress", active=False)


def on_attributes(
    state: SessionState, event: AttributesChanged, entries: EntryList
) -> SessionState:
    """Attributes also say that a call was answered."""
    state = update_key(take_attributes(state, event, entries), event.identity)
    person = state.present.get(event.identity)
    return state if person is None else update_join(state, person, event.at, entries)


def on_metadata(state: SessionState, event: MetadataChanged, entries: EntryList) -> SessionState:
    """Metadata may also say which person it is."""
    return update_key(take_metadata(state, event, entries), event.identity)


def correct_join(
    state: SessionState,
    known: KnownJoin,
    at: float,
    entries: EntryList,
    *,
    kind: ParticipantKind,
    active: bool,
) -> SessionState:
    """The server says what kind of join it is, and whether it was ever `active`."""
    was = person = known.person
    index, join = known.index, known.join
    if (join.kind or person.kind) != kind:
        join = change(join, kind=kind)
        person = with_kind(with_join(person, index, join))
        state = replace_participant(recounted(state, was, person), person)
        if was.is_visit(was.joins[index]):
            state = change(state, peak=peak_of_joins(state))
    if not active or join.active:
        return state
    if join.left_at is None:
        return update_join(state, person, at, entries, active=True)
    was, join = person, change(join, active=True)
    person = with_join(person, index, join)
    state = replace_participant(recounted(state, was, person), person)
    if not join.effective:
        return state
    if person.is_visit(join):
        state = change(state, peak=max(state.peak, people_at(state, person, join.since)))
    data = rejoin_data(state, person, person.joins[:index], join.joined_at)
    entries.add(at, "participant_connected", **join_data(person, join), **data)
    entries.append(leave_entry(person, join))
    return state


def update_join(
    state: SessionState,
    person: Participant,
    at: float,
    entries: EntryList,
    *,
    active: bool = False,
) -> SessionState:
    """The open join may have become `active`; the attributes of `person` may answer its call.

    Its entry comes once both is true.
    """
    was = state.present[person.identity]
    join = before = person.joins[-1]
    if active and not join.active:
        join = change(join, active=True)
    status = (person.attributes or {}).get(CALL_STATUS)
    if join.ringing and status in ANSWERED:
        join = change(join, ringing=False, answered_at=max(at, join.joined_at))
    if join is before:
        return state if person is was else put_present(state, person)
    person = change(person, joins=(*person.joins[:-1], join))
    state = put_present(recounted(state, was, person), person)
    if join.effective:
        state = with_peak(state, join.since)
        data = rejoin_data(state, person, person.joins[:-1], join.joined_at)
        entries.add(at, "participant_connected", **join_data(person, join), **data)
        if person.metadata:
            add_metadata_entry(at, person.identity, person.metadata, entries)
    return state
