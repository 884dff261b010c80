"""The Final Summary: a person in two rooms is one person, in a bounded memory."""

from __future__ import annotations

from attrs import evolve

from actors.rooms.final_summary import RunningSummary
from actors.session import (
    DataReceived,
    ParticipantInfo,
    Roster,
    SessionState,
    Watching,
    apply,
    begin,
)


def session(number: int, *identities: str) -> SessionState:
    state = begin(f"room-{number}", f"RM_{number}", (), "worker", "agent", 0.0, None)
    infos = tuple(ParticipantInfo(one, f"PA_{one}", 0.0) for one in identities)
    machine = ParticipantInfo("bot", "PA_bot", 0.0, kind="agent")
    roster = Roster(f"RM_{number}", "", (*infos, machine), 0.0)
    return apply(state, Watching(1.0, roster))[0]


SESSIONS = (
    session(0, "alice", "bob"),
    session(1, "alice", "carol", "dora"),
    session(2, "erik", "bob"),
)


def test_people_are_unique_over_all_sessions() -> None:
    """Once 7 for these 5."""
    summary = RunningSummary().with_sessions(SESSIONS, 2.0)
    assert (summary.rooms, summary.participants) == (3, 5)


def test_messages_are_unknown_where_every_room_hides_them() -> None:
    """Once 0."""
    hidden = evolve(SESSIONS[0], encrypted=True)
    open_room = apply(SESSIONS[1], DataReceived(2.0, "alice", "", 3, "text", True))[0]
    assert RunningSummary().with_sessions((), 2.0).messages == 0
    assert RunningSummary().with_sessions((hidden, hidden), 2.0).messages is None
    for rooms in ((hidden, open_room), (open_room, hidden), (hidden, open_room, hidden)):
        assert RunningSummary().with_sessions(rooms, 2.0).messages == 1
    running = RunningSummary()
    running.add(hidden, 2.0)
    assert running.with_sessions((), 2.0).messages is None


def test_people_are_known_again_though_their_session_left_the_memory() -> None:
    running = RunningSummary()
    running.add(SESSIONS[0], 2.0)
    running.add(SESSIONS[1], 2.0)
    summary = running.with_sessions(SESSIONS[2:], 2.0)
    assert (summary.rooms, summary.participants, running.rooms) == (3, 5, 2)


def test_beyond_the_bound_people_count_once_a_session_and_are_not_remembered() -> None:
    running = RunningSummary(remembered=2)
    for state in SESSIONS:
        running.add(state, 2.0)
    # alice and bob are remembered; carol, dora and erik are only counted.
    assert running.with_sessions((), 2.0).participants == 5
    running.add(session(3, "alice", "erik"), 2.0)
    assert running.with_sessions((), 2.0).participants == 6
