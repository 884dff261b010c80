"""Compare a full view of the room with what was folded.

A roster is what is true at one moment.  Joins that were missed are added with the
server's own time, whoever is not in it is gone, and what it says of those who stayed
is taken over.  Its one weakness is right after a reconnect, when it may still lack
people who publish nothing: then whoever is missing is only doubted until `due`.
"""

from __future__ import annotations

from actors.session import presence, recordings, tracks
from actors.session.events import Roster
from actors.session.state import ProvisionalEnd, SessionState, change
from actors.session.texts import MAX_ENTRY_TEXT, cut_text
from actors.session.timeline_entry import TimelineEntry


class RoomInstanceChanged(ValueError):
    """An event of another life of the room was given to this session.

    The room was closed and made again under its name.  A restarted server does that within one
    connection (docs/livekit-facts.md#server-restart).  End this session and begin another for
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


def apply_roster(
    state: SessionState,
    roster: Roster,
    at: float,
    how: presence.SightingSource,
    gone_at: float,
    gone_within: float,
    due: float | None,
    out: list[TimelineEntry],
) -> SessionState:
    """Make the state agree with `roster`.

    Who and what is missing in it ended at `gone_at`, give or take `gone_within` seconds; for
    certain if `due` is None, else once it is `due`.
    """
    state = _room(state, roster, at, out)
    listed = {info.identity for info in roster.participants}
    missing = [identity for identity in state.present if identity not in listed]
    if due is not None:
        # Before the arrivals, whom they may not have met.
        for identity in missing:
            if identity not in state.provisional_leaves:
                within = _within(state, identity, gone_at, gone_within)
                state = presence.mark_provisional(
                    state, identity, gone_at, due, within, observed=False
                )
    for info in roster.participants:
        state = presence.arrive(state, info, at, how, out)
    state = _tracks(state, roster, frozenset(missing), gone_at, due, out)
    if due is None:
        for identity in missing:
            leave = state.provisional_leaves.get(identity)
            if leave is None:
                leave = ProvisionalEnd(
                    gone_at,
                    within=_within(state, identity, gone_at, gone_within),
                    observed=False,
                )
            state = presence.record_leave(
                state, identity, leave.at, None, leave.within, out, observed=leave.observed
            )
    return state


def _within(state: SessionState, identity: str, gone_at: float, gone_within: float) -> float:
    join = state.present[identity].joins[-1]
    return gone_within + presence.announce_delay(join, gone_at)


def _tracks(
    state: SessionState,
    roster: Roster,
    missing: frozenset[str],
    gone_at: float,
    due: float | None,
    out: list[TimelineEntry],
) -> SessionState:
    shown = {track.sid for info in roster.participants for track in info.tracks}
    for sid, track in state.tracks.items():
        if sid in shown or track.identity in missing:
            continue  # the tracks of those who leave end with their join
        if due is None:
            state = tracks.finish(state, sid, gone_at, out)
        elif sid not in state.provisional_unpublishes:
            state = tracks.mark_provisional(state, sid, gone_at, due)
    return state


def _room(state: SessionState, roster: Roster, at: float, out: list[TimelineEntry]) -> SessionState:
    created_at = state.created_at if state.created_at is not None else roster.created_at
    if state.metadata is not None and state.metadata != roster.metadata:
        out.append(
            TimelineEntry(
                at, "room_metadata", {"metadata": cut_text(roster.metadata, MAX_ENTRY_TEXT)}
            )
        )
    state = recordings.set_recorded(state, roster.recording, at, out)
    return change(state, created_at=created_at, metadata=roster.metadata)
