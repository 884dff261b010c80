"""Recordings that a rule wants, and recordings that nobody makes any more."""

from __future__ import annotations

from typing import Any, Final

import pytest

from actors.session import (
    Reconnected,
    Reconnecting,
    Record,
    RecordingChanged,
    Roster,
    SessionBegan,
    SessionEnded,
    SessionState,
    Tick,
    TimelineEntry,
    Watching,
    WebhookEgress,
    fold,
)
from actors.session.recording_reports import (
    EgressListed,
    RecorderSilent,
    RecordingIntended,
    RecordingNotStarted,
    RecordingRequest,
)
from actors.session.recordings import LOST_AFTER, is_ours_open, lost_deadline

T: Final = 1_790_000_000.0
ROSTER: Final = Roster("RM_1", "", (), T, False)


def told_of(*records: Record) -> tuple[SessionState, list[TimelineEntry]]:
    """The state after these records of a watched room, and their entries."""
    state, _ = fold(None, SessionBegan(T, "atlas", "RM_1", (), "worker", "agent", T))
    state, _ = fold(state, Watching(T, ROSTER))
    told = list[TimelineEntry]()
    for record in records:
        state, entries = fold(state, record)
        told += entries
    return state, told


def egress(at: float, status: str, **more: Any) -> WebhookEgress:
    return WebhookEgress(at, float(int(at)), "EG_1", "template", status, updated_at=at, **more)


# ---------------------------------------------------------------- ours


def intended(at: float, intent: str = "i1", rule: str = "keep") -> RecordingIntended:
    return RecordingIntended(at, intent, rule, RecordingRequest(layout="grid"))


def listed(at: float, status: str, intent: str = "i1", **more: Any) -> EgressListed:
    return EgressListed(at, "EG_1", "template", status, intent, updated_at=at, **more)


def test_an_intent_becomes_the_recording_of_its_egress() -> None:
    state, told = told_of(intended(T + 1), listed(T + 2, "active", started_at=T + 2))
    assert not state.recording_intents
    one = state.recordings["EG_1"]
    assert (one.intent, one.rule, one.status) == ("i1", "keep", "active")
    assert [entry.event for entry in told] == ["recording_requested", "recording_started"]


def test_a_webhook_may_come_before_the_answer_and_names_the_intent() -> None:
    first = egress(T + 1.5, "starting", intent="i1")
    state, told = told_of(intended(T + 1), first, listed(T + 1, "starting"))
    assert not state.recording_intents
    assert state.recordings["EG_1"].rule == "keep"
    assert len([one for one in told if one.event == "recording_started"]) == 1


def test_a_webhook_that_names_no_intent_leaves_it_open_until_the_answer() -> None:
    state, _ = told_of(intended(T + 1), egress(T + 1.5, "starting"))
    assert list(state.recording_intents) == ["i1"]
    state, _ = told_of(intended(T + 1), egress(T + 1.5, "active"), listed(T + 1, "starting"))
    assert not state.recording_intents
    one = state.recordings["EG_1"]
    assert (one.status, one.intent, one.rule) == ("active", "i1", "keep")


@pytest.mark.parametrize(
    "before",
    [
        (intended(T + 1, "i0"),),
        (intended(T + 1, "i0"), listed(T + 2, "active", "i0", started_at=T + 2)),
        (intended(T + 1), listed(T + 2, "active"), listed(T + 3, "complete")),
    ],
    ids=["wanted", "running", "the same intent, done"],
)
def test_an_intent_beside_another_recording_of_ours_changes_nothing(
    before: tuple[Record, ...],
) -> None:
    state, _ = told_of(*before)
    again, entries = fold(state, intended(T + 4))
    assert not entries
    assert again.recording_intents == state.recording_intents


def test_an_intent_that_came_to_nothing_says_why_and_can_be_had_again() -> None:
    state, told = told_of(intended(T + 1), RecordingNotStarted(T + 2, "i1", "no Redis"))
    assert not state.recording_intents
    assert told[-1].data == {"rule": "keep", "error": "no Redis"}
    state, _ = told_of(
        intended(T + 1), RecordingNotStarted(T + 2, "i1", "no Redis"), intended(T + 3)
    )
    assert list(state.recording_intents) == ["i1"]


def test_an_intent_that_is_asked_for_again_says_when() -> None:
    state, told = told_of(intended(T + 1), intended(T + 60))
    assert len(told) == 1
    intent = state.recording_intents["i1"]
    assert (intent.at, intent.asked_at) == (T + 1, T + 60)


def test_reports_of_ours_hold_after_the_end_of_the_session() -> None:
    state, _ = told_of(intended(T + 1), SessionEnded(T + 2, "room_closed"))
    state, _ = fold(state, listed(T + 3, "complete", ended_at=T + 3, file="a.mp4"))
    assert state.recordings["EG_1"].file == "a.mp4"
    assert state.ended_at == T + 2


# ---------------------------------------------------------------- lost


ACTIVE = egress(T + 1, "active", started_at=T + 1)


def test_an_active_recording_without_a_recorder_in_the_room_is_lost_after_a_while() -> None:
    state, _ = told_of(ACTIVE)
    assert lost_deadline(state) == T + 1 + LOST_AFTER
    state, entries = fold(state, Tick(T + LOST_AFTER))
    assert not entries
    state, entries = fold(state, Tick(T + 1 + LOST_AFTER))
    assert [(one.event, one.at) for one in entries] == [("recording_lost", T + 1 + LOST_AFTER)]
    assert state.recordings["EG_1"].lost_at == T + 1 + LOST_AFTER
    state, entries = fold(state, RecordingChanged(T + 40, True))
    assert [one.event for one in entries] == ["room_recording", "recording_resumed"]
    assert state.recordings["EG_1"].lost_at is None


def test_a_recorder_that_leaves_an_active_recording_makes_it_lost() -> None:
    state, _ = told_of(ACTIVE, RecordingChanged(T + 1, True), RecordingChanged(T + 100, False))
    assert lost_deadline(state) == T + 100 + LOST_AFTER
    state, entries = fold(state, Tick(T + 100 + LOST_AFTER))
    assert [one.event for one in entries] == ["recording_lost"]
    state, entries = fold(state, egress(T + 130, "complete", ended_at=T + 130))
    assert [one.event for one in entries] == ["recording_ended"]
    assert state.recordings["EG_1"].lost_at is None


@pytest.mark.parametrize(
    "more",
    [
        (RecordingChanged(T + 2, True),),
        (Reconnecting(T + 3),),
        (egress(T + 3, "ending"),),
        (SessionEnded(T + 3, "room_closed"),),
    ],
    ids=["a recorder is inside", "nobody sees the room", "it ends", "the room is over"],
)
def test_no_recording_is_lost_while(more: tuple[Any, ...]) -> None:
    state, told = told_of(ACTIVE, *more, Tick(T + 500))
    assert lost_deadline(state) is None
    assert "recording_lost" not in [one.event for one in told]


def test_a_gap_counts_for_nothing() -> None:
    back = Reconnected(T + 60, ROSTER)
    state, told = told_of(ACTIVE, Reconnecting(T + 2), back, Tick(T + 61))
    assert "recording_lost" not in [one.event for one in told]
    assert lost_deadline(state) == T + 60 + LOST_AFTER


def test_a_worker_that_does_not_answer_is_lost_at_once() -> None:
    state, told = told_of(ACTIVE, RecordingChanged(T + 1, True), RecorderSilent(T + 2, "EG_1"))
    assert told[-1].event == "recording_lost"
    assert state.recordings["EG_1"].lost_at == T + 2
    assert not is_ours_open(state)
