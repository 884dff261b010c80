"""Leaves that may be untrue: they become provisional, and are withdrawn or confirmed later.

While our own connection restarts, everybody seems to leave, always without a reason.  So a leave
without a reason is provisional.  `actors.session.arrivals` withdraws it if the participant is
seen again, `actors.session.due` confirms it.
"""

from __future__ import annotations

from math import inf

from attrs import evolve

from actors.session.bounds import CONFIRM_AFTER, RECONNECT_WINDOW
from actors.session.changes import change
from actors.session.events import ParticipantLeft
from actors.session.gaps import counts_from
from actors.session.intervals import stretch
from actors.session.leaves import (
    JoinEnd,
    announce_delay,
    record_leave,
    stop_measuring,
    with_late_leave,
    without_speaker,
)
from actors.session.participant_maps import find_join, put_present
from actors.session.pending import anomaly, defer, with_provisional_leaves
from actors.session.state import ProvisionalEnd, SessionState
from actors.session.timeline_entry import EntryList


def on_left(state: SessionState, event: ParticipantLeft, entries: EntryList) -> SessionState:
    since = counts_from(state, event.at)
    return _leave(state, evolve(event, at=since), stretch(since, event.at), entries)


def _leave(
    state: SessionState, event: ParticipantLeft, unseen: float, entries: EntryList
) -> SessionState:
    """`unseen`: seconds after the event's time in which it may have happened."""
    person = state.present.get(event.identity)
    if person is None:
        return _leave_again(state, event)
    join = person.joins[-1]
    if event.sid and join.sid and event.sid != join.sid:
        # It is of an earlier join, which the later one has closed already.
        if state.deferred and find_join(person, event.sid) is None:
            return defer(state, event)
        person = change(with_late_leave(person, event), pending_leave_since=None)
        return put_present(anomaly(state), person)
    if person.pending_leave_since is not None:
        if event.at - person.pending_leave_since <= RECONNECT_WINDOW:
            # The leave of the join before, with the SID of the new one or with none.
            if len(person.joins) > 1:
                person = with_late_leave(person, evolve(event, sid=person.joins[-2].sid))
            return put_present(state, change(person, pending_leave_since=None))
        state = put_present(state, change(person, pending_leave_since=None))
    provisional = state.provisional_leaves.get(event.identity)
    within = max(unseen, announce_delay(join, event.at))
    if event.reason is not None:
        end = JoinEnd(event.at, within, event.reason)
        if provisional is not None:
            end = JoinEnd(provisional.at, provisional.within, event.reason)
        return record_leave(state, event.identity, end, entries)
    if provisional is not None:
        return anomaly(state)
    due = inf if state.reconnecting else event.at + CONFIRM_AFTER
    end = JoinEnd(event.at, within, observed=not state.reconnecting)
    return mark_provisional(state, event.identity, end, due)


def _leave_again(state: SessionState, event: ParticipantLeft) -> SessionState:
    """The leave of somebody who is not present."""
    past = state.past.get(event.identity)
    if past is None or find_join(past, event.sid) is None:
        return defer(state, event) if state.deferred else anomaly(state)
    past = with_late_leave(past, event)
    return change(anomaly(state), past=state.past.put(past.identity, past))


def mark_provisional(state: SessionState, identity: str, end: JoinEnd, due: float) -> SessionState:
    """Somebody seems to have left: confirm it at `due`, unless they are seen again.

    What is measured of them stops at once; their quality goes on if the leave was untrue.
    """
    person = state.present[identity]
    leave = ProvisionalEnd(end.at, due, person.quality.level, end.within, end.observed)
    state = with_provisional_leaves(state, {**state.provisional_leaves, identity: leave})
    return put_present(without_speaker(state, identity), stop_measuring(person, end.at))


def as_join_end(leave: ProvisionalEnd) -> JoinEnd:
    return JoinEnd(leave.at, leave.within, observed=leave.observed)
