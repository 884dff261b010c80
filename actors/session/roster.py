"""Make a session agree with a roster: the full list of participants at one moment.

Joins that were missed are added with the server's own time.  A participant who is not in the
roster left.  What the roster says of the others is taken over.  Right after a reconnect a roster
may lack people who publish nothing, so those who are missing then leave provisionally.
"""

from __future__ import annotations

from attrs import frozen

from actors.session import recordings, tracks
from actors.session.arrivals import arrive
from actors.session.changes import change
from actors.session.leaves import JoinEnd, announce_delay, record_leave
from actors.session.provisional_leaves import as_join_end, mark_provisional
from actors.session.room_info import Roster
from actors.session.sighting import Sighting, SightingSource
from actors.session.state import SessionState
from actors.session.texts import MAX_ENTRY_TEXT, cut_text
from actors.session.timeline_entry import EntryList


class RoomInstanceChanged(ValueError):
    """An event of another room instance was given to this session.

    The server closed the room and made it anew: end this session and begin another for
    `room_sid`.
    """

    def __init__(self, expected: str, room_sid: str) -> None:
        super().__init__(
            f"this session is of room {expected!r} and the roster is of room {room_sid!r}:"
            " end this session and begin another"
        )
        self.expected = expected
        self.room_sid = room_sid


def check_instance(state: SessionState, roster: Roster) -> SessionState:
    """The state with the roster's room SID; raises `RoomInstanceChanged` if it has another."""
    if not roster.room_sid or roster.room_sid == state.room_sid:
        return state
    if state.room_sid:
        raise RoomInstanceChanged(state.room_sid, roster.room_sid)
    return change(state, room_sid=roster.room_sid)


@frozen
class RosterSighting:
    """A roster, and what it means that somebody is missing in it."""

    roster: Roster
    at: float
    """Unix seconds when we got it."""
    source: SightingSource
    missing_since: float
    """Unix seconds when the missing participants and tracks ended."""
    missing_within: float
    """Seconds by which `missing_since` may be wrong."""
    due: float | None
    """Unix seconds when their ends are confirmed, since the roster may be incomplete until then.
    None: they ended for certain."""


def apply_roster(state: SessionState, sighting: RosterSighting, entries: EntryList) -> SessionState:
    """Make the state agree with the roster."""
    roster, due = sighting.roster, sighting.due
    state = _apply_room(state, sighting, entries)
    listed = {info.identity for info in roster.participants}
    missing = [identity for identity in state.present if identity not in listed]
    if due is not None:
        # Before the arrivals, since these may not have met those who are missing.
        for identity in missing:
            if identity not in state.provisional_leaves:
                end = _missing_end(state, identity, sighting)
                state = mark_provisional(state, identity, end, due)
    for info in roster.participants:
        state = arrive(state, Sighting(info, sighting.at, sighting.source), entries)
    state = _apply_tracks(state, sighting, frozenset(missing), entries)
    if due is None:
        for identity in missing:
            leave = state.provisional_leaves.get(identity)
            end = _missing_end(state, identity, sighting) if leave is None else as_join_end(leave)
            state = record_leave(state, identity, end, entries)
    return state


def _missing_end(state: SessionState, identity: str, sighting: RosterSighting) -> JoinEnd:
    at, join = sighting.missing_since, state.present[identity].joins[-1]
    return JoinEnd(at, sighting.missing_within + announce_delay(join, at), observed=False)


def _apply_tracks(
    state: SessionState, sighting: RosterSighting, missing: frozenset[str], entries: EntryList
) -> SessionState:
    at, due = sighting.missing_since, sighting.due
    shown = {track.sid for info in sighting.roster.participants for track in info.tracks}
    for sid, track in state.tracks.items():
        if sid in shown or track.identity in missing:
            continue  # Tracks of a participant who left end with their join.
        if due is None:
            state = tracks.finish(state, sid, at, entries)
        elif sid not in state.provisional_unpublishes:
            state = tracks.mark_provisional_unpublish(state, sid, at, due)
    return state


def _apply_room(state: SessionState, sighting: RosterSighting, entries: EntryList) -> SessionState:
    roster, at = sighting.roster, sighting.at
    created_at = state.created_at if state.created_at is not None else roster.created_at
    if state.metadata is not None and state.metadata != roster.metadata:
        entries.add(at, "room_metadata", metadata=cut_text(roster.metadata, MAX_ENTRY_TEXT))
    state = recordings.set_recorded(state, roster.recording, at, entries)
    return change(state, created_at=created_at, metadata=roster.metadata)
