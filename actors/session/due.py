"""Pending and provisional events that are due now: expected joins, unpublishes, leaves."""

from __future__ import annotations

from actors.session.bounds import ANNOUNCE_INTERVAL
from actors.session.leaves import record_leave
from actors.session.pending import stop_expecting
from actors.session.provisional_leaves import as_join_end
from actors.session.sighting import ended_join, join_of
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList
from actors.session.tracks import finish
from actors.session.unobserved_joins import add_unobserved_join


def confirm_due(state: SessionState, until: float, entries: EntryList) -> SessionState:
    """Confirm every provisional leave and unpublish, and end every expected join, due by `until`.

    An expected join that was not announced by its due time is over.  How long it lasted is not
    known.
    """
    for sid, expected in state.expected.items():
        if expected.due <= until:
            info, joined_at = expected.info, expected.info.joined_at
            join = join_of(info, joined_at, answer_observed=True)
            join = ended_join(join, joined_at, ANNOUNCE_INTERVAL)
            state = add_unobserved_join(stop_expecting(state, sid), info, join, joined_at, entries)
    for sid, end in state.provisional_unpublishes.items():
        if end.due <= until:
            state = finish(state, sid, end.at, entries)
    for identity, leave in state.provisional_leaves.items():
        if leave.due <= until:
            state = record_leave(state, identity, as_join_end(leave), entries)
    return state
