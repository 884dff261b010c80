"""Joins that are over before we learn of them.

A webhook tells of them, or an event that comes late.
"""

from __future__ import annotations

from math import inf

from actors.session.changes import change
from actors.session.intervals import stretch
from actors.session.leaves import JoinEnd, announce_delay, end_open_join, leave_entry
from actors.session.participant import Join
from actors.session.participant_maps import (
    find_participant,
    join_data,
    move_to_past,
    new_participant,
    put_present,
)
from actors.session.pending import anomaly
from actors.session.people_counts import people_at, recounted, rejoin_data, with_joins
from actors.session.room_info import ParticipantInfo
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList


def add_unobserved_join(
    state: SessionState, info: ParticipantInfo, join: Join, at: float, entries: EntryList
) -> SessionState:
    """Add a join that is over, in its place among the joins of its participant.

    It ended no later than the next one began; an infinite `left_at` means at that time.
    """
    identity = info.identity
    person = find_participant(state, identity)
    if person is None:
        if state.truncated.people:
            return anomaly(state)  # The participant may be one of those who were truncated.
        state, person = new_participant(state, info)
    elif person.older_joins and join.joined_at <= person.joins[0].joined_at:
        return anomaly(state)  # The join may be one of those that were truncated.
    place = sum(other.joined_at <= join.joined_at for other in person.joins)
    if place == len(person.joins) and identity in state.present:
        within = announce_delay(person.joins[-1], join.joined_at)
        state, person = end_open_join(state, identity, JoinEnd(join.joined_at, within), entries)
    was = person
    before, after = person.joins[:place], person.joins[place:]
    join = _within_neighbours(join, after)
    data = rejoin_data(state, person, before, join.joined_at)
    if before:
        left_at = min(before[-1].left_at or 0.0, join.joined_at)
        before = (*before[:-1], change(before[-1], left_at=max(left_at, before[-1].joined_at)))
    state, person = with_joins(state, person, (*before, join, *after), at)
    state = recounted(state, was, person)
    if join.effective:
        if person.is_visit(join):
            state = change(state, peak=max(state.peak, people_at(state, person, join.since)))
        entries.add(at, "participant_connected", **join_data(person, join), **data)
    entries.append(leave_entry(person, join))
    if identity in state.present:
        return put_present(state, person)
    return move_to_past(state, person)


def _within_neighbours(join: Join, after: tuple[Join, ...]) -> Join:
    """Nobody is in the room twice: the join ends before the first one `after` it."""
    left_at = join.joined_at if join.left_at is None else join.left_at
    if after and left_at > after[0].joined_at:
        left_at = after[0].joined_at
        within = stretch(join.joined_at, left_at) if join.left_at == inf else join.left_within
        join = change(join, left_within=within)
    return change(join, left_at=max(left_at, join.joined_at))
