"""Somebody is seen in the room: they arrive, come back, or never left.

A person is an identity, a join is a participant SID.  The rules and where they come from are
in `actors.session.reducer`.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import evolve

from actors.session.activity import permissions_data
from actors.session.bounds import RECONNECT_WINDOW
from actors.session.changes import change
from actors.session.events import ParticipantJoined
from actors.session.intervals import stretch
from actors.session.joins import update_join
from actors.session.leaves import JoinEnd, announce_delay, end_open_join
from actors.session.participant import Join, Participant
from actors.session.participant_maps import (
    add_metadata_entry,
    find_join,
    find_known_join,
    join_data,
    new_participant,
    put_present,
    update_key,
)
from actors.session.pending import anomaly, defer, stop_expecting, with_provisional_leaves
from actors.session.people_counts import (
    recounted,
    rejoin_data,
    with_joins,
    with_key,
    with_kind,
    with_peak,
)
from actors.session.provisional_leaves import as_join_end
from actors.session.room_info import ParticipantInfo
from actors.session.sighting import Sighting, ended_join
from actors.session.state import SessionState
from actors.session.texts import MAX_ENTRY_TEXT, cut_attributes
from actors.session.timeline_entry import EntryList
from actors.session.tracks import TrackSighting, ensure_published
from actors.session.unobserved_joins import add_unobserved_join

MAX_PUBLISH_UNCERTAINTY: Final = 10.0
"""Seconds between a join and our first view of its tracks.  Beyond it a track of the join gets no
time of publication."""


def on_joined(state: SessionState, event: ParticipantJoined, entries: EntryList) -> SessionState:
    info = event.participant
    if state.reconnecting and find_known_join(state, info.identity, info.sid) is None:
        return defer(state, event)
    return arrive(state, Sighting(info, event.at, "event"), entries)


def arrive(state: SessionState, sighting: Sighting, entries: EntryList) -> SessionState:
    """Somebody is in the room, with what the sighting says of them."""
    identity, sid = sighting.identity, sighting.info.sid
    if sid in state.expected:
        # LiveKit sends the webhook once the media connection stands.
        sighting = evolve(sighting, info=evolve(sighting.info, active=True))
    state = stop_expecting(state, sid)
    person = state.present.get(identity)
    if person is not None:
        return _arrive_again(state, person, sighting, entries)
    person = state.past.get(identity)
    if person is None:
        return _arrive_first(state, sighting, entries)
    index = find_join(person, sid)
    if index is not None:
        join = person.joins[index]
        if join.end_from_webhook:
            return state
        is_last = index + 1 == len(person.joins)
        if sighting.source == "event" and (join.reason is not None or not is_last):
            return anomaly(state)
        return _reopen(state, person, index, sighting, entries)
    if sighting.may_be_late and sighting.joined_at < person.joins[-1].joined_at:
        return _add_earlier_join(state, sighting, entries)
    return _rejoin(state, person, sighting, entries)


def _arrive_again(
    state: SessionState, person: Participant, sighting: Sighting, entries: EntryList
) -> SessionState:
    """Somebody present is seen: with the open join, or with another."""
    identity, sid, joined_at = sighting.identity, sighting.info.sid, sighting.joined_at
    join = person.joins[-1]
    if sid == join.sid or not sid:
        return _confirm_presence(state, person, sighting, entries)
    if find_join(person, sid) is not None:
        return anomaly(state)
    if joined_at < join.joined_at:
        return _add_earlier_join(state, sighting, entries)
    leave = state.provisional_leaves.get(identity)
    end = _end_before(state, join, joined_at) if leave is None else as_join_end(leave)
    end = evolve(end, at=min(end.at, joined_at))
    state, person = end_open_join(state, identity, end, entries)
    if leave is None and sighting.source == "event":
        person = change(person, pending_leave_since=sighting.at)
    return _rejoin(state, person, sighting, entries)


def _end_before(state: SessionState, join: Join, joined_at: float) -> JoinEnd:
    """The end of an open join that nobody reported, before the next one at `joined_at`."""
    unseen, within = state.gap_since, announce_delay(join, joined_at)
    if unseen is None:
        return JoinEnd(joined_at, within)
    return JoinEnd(unseen, within + stretch(unseen, joined_at), observed=False)


def _add_earlier_join(state: SessionState, sighting: Sighting, entries: EntryList) -> SessionState:
    """A join that began before the newest one: it is over."""
    join = ended_join(sighting.join(), inf)
    return add_unobserved_join(state, sighting.info, join, sighting.at, entries)


def _arrive_first(state: SessionState, sighting: Sighting, entries: EntryList) -> SessionState:
    state, person = new_participant(state, sighting.info)
    data = rejoin_data(state, person, (), sighting.back_at)
    return _open_join(state, person, person, sighting.join(), sighting, data, entries)


def _rejoin(
    state: SessionState, person: Participant, sighting: Sighting, entries: EntryList
) -> SessionState:
    """Somebody who was here before, with a new join."""
    was, last, joined_at = person, person.joins[-1], sighting.joined_at
    left_at = last.joined_at if last.left_at is None else last.left_at
    data = rejoin_data(state, person, person.joins, sighting.back_at)
    if left_at > joined_at:
        # The leave was received late: nobody is in the room twice.
        within = last.left_within
        if within is not None:
            within = max(0.0, within - (left_at - joined_at))
        last = ended_join(last, max(joined_at, last.joined_at), within)
        person = change(person, joins=(*person.joins[:-1], last))
    return _open_join(state, was, person, sighting.join(), sighting, data, entries)


def _reopen(
    state: SessionState, person: Participant, index: int, sighting: Sighting, entries: EntryList
) -> SessionState:
    """The same join is back: it never ended."""
    join, at = person.joins[index], sighting.at
    left_at = at if join.left_at is None else join.left_at
    data = {"rejoin": True, "reconnect": at - left_at <= RECONNECT_WINDOW}
    others = change(person, joins=(*person.joins[:index], *person.joins[index + 1 :]))
    join = change(
        join,
        left_at=None,
        left_within=None,
        reason=None,
        active=join.active or sighting.info.active,
        end_observed=True,
    )
    return _open_join(state, person, others, join, sighting, data, entries)


def _open_join(
    state: SessionState,
    was: Participant,
    person: Participant,
    join: Join,
    sighting: Sighting,
    rejoin: dict[str, bool],
    entries: EntryList,
) -> SessionState:
    """Open `join` of somebody who is not present; `was` is the participant as counted so far."""
    info, at = sighting.info, sighting.at
    state, person = with_joins(state, person, (*person.joins, join), at)
    person = with_key(state, _with_info(with_kind(person), info))
    state = put_present(recounted(state, was, person), person)
    if join.effective:
        state = with_peak(state, join.since)
        data = join_data(person, join)
        if sighting.source == "initial_roster":
            entries.add(at, "participant_found", **data)
        else:
            entries.add(at, "participant_connected", **data, **rejoin)
        if info.metadata:
            add_metadata_entry(at, info.identity, info.metadata, entries)
    return _ensure_tracks(state, sighting, entries)


def _confirm_presence(
    state: SessionState, person: Participant, sighting: Sighting, entries: EntryList
) -> SessionState:
    """The open join was seen again; a provisional leave of it is withdrawn."""
    info, at = sighting.info, sighting.at
    leave = state.provisional_leaves.get(info.identity)
    if leave is None:
        if sighting.source == "event":
            return anomaly(state)
    else:
        others = {one: end for one, end in state.provisional_leaves.items() if one != info.identity}
        state = with_provisional_leaves(state, others)
        person = change(person, quality=person.quality.to(leave.quality, leave.at))
        state = with_peak(put_present(state, person), at)
    state = _take_info(state, person, sighting, entries)
    state = update_join(state, state.present[info.identity], at, entries, active=info.active)
    return _ensure_tracks(state, sighting, entries)


def _take_info(
    state: SessionState, person: Participant, sighting: Sighting, entries: EntryList
) -> SessionState:
    """Take over what the sighting says of somebody present; each difference gets an entry."""
    info, at, identity = sighting.info, sighting.at, sighting.identity
    before = person.attributes or {}
    now = before if info.attributes is None else info.attributes
    changed = {
        key: now.get(key, "")
        for key in {**before, **now}
        if before.get(key, "") != now.get(key, "")
    }
    if info.name != person.name:
        entries.add(at, "participant_name", identity=identity, name=info.name)
    if info.metadata is not None and info.metadata != person.metadata:
        add_metadata_entry(at, identity, info.metadata, entries)
    if changed:
        changed = cut_attributes(changed, MAX_ENTRY_TEXT)
        entries.add(at, "participant_attributes", identity=identity, changed=changed)
    if info.permissions is not None and info.permissions != person.permissions:
        if person.permissions is not None:
            data = permissions_data(identity, info.permissions)
            entries.add(at, "participant_permissions", **data)
    elif not changed and info.name == person.name and info.metadata in (None, person.metadata):
        return state
    return update_key(put_present(state, _with_info(person, info)), identity)


def _with_info(person: Participant, info: ParticipantInfo) -> Participant:
    """The participant with what `info` says of them; what it leaves out stays."""
    return change(
        person,
        name=info.name,
        metadata=person.metadata if info.metadata is None else info.metadata,
        attributes=person.attributes if info.attributes is None else info.attributes,
        permissions=person.permissions if info.permissions is None else info.permissions,
    )


def _ensure_tracks(state: SessionState, sighting: Sighting, entries: EntryList) -> SessionState:
    """Every track of the sighting is published.

    A track in a roster was published between the join, or our last view of the room, and now.
    The best time is the middle.
    """
    at, identity = sighting.at, sighting.identity
    published_at: float | None = at
    within: float | None = 0.0
    if not sighting.may_be_late and sighting.info.tracks:
        joined_at = state.present[identity].joins[-1].joined_at
        unseen = state.gap_since
        since = joined_at if unseen is None else max(joined_at, unseen)
        within = stretch(since, at) / 2
        published_at = at - within
        if 2 * within > MAX_PUBLISH_UNCERTAINTY:
            published_at = within = None
    existing = sighting.source == "initial_roster"
    for info in sighting.info.tracks:
        track = TrackSighting(identity, info, at, published_at, within, existing)
        state = ensure_published(state, track, entries)
    return state
