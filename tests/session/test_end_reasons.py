"""The one table of end reasons, and all that is derived from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from actors.session import (
    END_REASONS,
    EndReason,
    GapReason,
    Roster,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    Watching,
    fold,
)
from actors.session.end_reasons import (
    CONTINUABLE,
    END_OF_DISCONNECT,
    SEEN_ENDS,
    SENT_OUT,
    UNWANTED,
    gap_after,
)
from tests.session.session_story import T0

CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"


def test_each_reason_has_one_row() -> None:
    assert tuple(END_REASONS) == get_args(EndReason)


def test_the_sets_are_those_that_sessions_and_rooms_had_before_there_was_a_table() -> None:
    assert {"room_closed", "room_deleted"} == SEEN_ENDS
    assert {"worker_stopped", "server_lost", "removed", "dispatch_deleted"} == CONTINUABLE
    assert {"worker_stopped", "server_lost"} == UNWANTED
    assert {"removed", "dispatch_deleted"} == SENT_OUT


def test_a_room_whose_end_was_seen_does_not_continue() -> None:
    assert not SEEN_ENDS & CONTINUABLE
    assert CONTINUABLE >= UNWANTED | SENT_OUT
    assert not UNWANTED & SENT_OUT


def test_our_own_disconnects_lead_to_reasons_of_the_table() -> None:
    assert set(END_OF_DISCONNECT.values()) == SEEN_ENDS | {"removed"}


@pytest.mark.parametrize("reason", sorted(CONTINUABLE))
def test_the_gap_until_a_session_goes_on_has_the_reason_of_its_row(reason: str) -> None:
    state, _ = fold(None, SessionBegan(T0, "r", "RM_1", ("AJ_1",), "w", "a", T0))
    for record in (
        Watching(T0 + 1, Roster("RM_1")),
        SessionEnded(T0 + 2, reason),
        SessionContinued(T0 + 10, "AJ_2", None),
        Watching(T0 + 11, Roster("RM_1")),
    ):
        state, _ = fold(state, record)
    (gap,) = state.gaps
    assert gap.reason == gap_after(reason)
    assert gap.reason in get_args(GapReason)


def test_a_reason_that_is_not_in_the_table_is_that_of_a_newer_version() -> None:
    assert gap_after("abducted") == "connection_lost"


def test_the_contract_says_what_each_reason_means() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", CONTRACT.read_text(), re.MULTILINE)
    meanings = {(reason, meaning.label) for reason, meaning in END_REASONS.items()}
    assert meanings <= set(rows)
