"""The times of the next attempt of a delivery, and of an endpoint."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.outlets.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from actors.outlets.retry import JITTER, LADDER, next_delay
from actors.outlets.subscription import DEFAULT_EVENTS, Subscription, unknown_events
from actors.session import TimelineEntry

DAY = 86_400.0


def test_the_ladder_goes_from_five_seconds_to_a_day_over_three_days() -> None:
    assert (LADDER[0], LADDER[-1]) == (5.0, DAY)
    assert 3 * DAY <= sum(LADDER) <= 3.5 * DAY
    assert list(LADDER) == sorted(LADDER)


@given(st.integers(1, 20), st.integers(), st.one_of(st.none(), st.floats(0, 1e12)))
def test_a_delay_keeps_to_the_ladder_and_to_what_the_receiver_asked_for(
    attempts: int, seed: int, asked: float | None
) -> None:
    delay = next_delay(attempts, random.Random(seed), asked)
    if attempts > len(LADDER):
        assert delay is None
        return
    assert delay is not None
    assert delay >= LADDER[attempts - 1] * (1 - JITTER)
    assert delay >= min(asked or 0.0, DAY)
    assert delay <= max(LADDER[attempts - 1] * (1 + JITTER), DAY)


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    assert breaker.closed
    breaker.failed(0.0)
    assert not breaker.allows(FIRST_PAUSE - 0.1)
    assert breaker.allows(FIRST_PAUSE)
    breaker.failed(FIRST_PAUSE)
    assert not breaker.allows(FIRST_PAUSE + 2 * FIRST_PAUSE - 0.1), "twice as long"
    breaker.succeeded()
    assert breaker.closed
    assert breaker.allows(0.0)


def test_a_breaker_never_waits_longer_than_its_bound() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(100):
        breaker.failed(now)
        if breaker.open_until is not None:
            assert breaker.open_until - now <= LONGEST_PAUSE
            now = breaker.open_until


def test_a_receiver_that_asks_for_time_gets_it_at_once() -> None:
    breaker = Breaker()
    breaker.failed(0.0, retry_after=120.0)
    assert not breaker.allows(119.0)
    assert breaker.allows(120.0)


@pytest.mark.parametrize(
    "events, rooms, room, event, wanted",
    [
        (DEFAULT_EVENTS, ("*",), "standup", "session_ended", True),
        (DEFAULT_EVENTS, ("*",), "standup", "data_message", False),
        (DEFAULT_EVENTS, ("team-*",), "standup", "session_ended", False),
        (("participant_*",), ("team-*", "standup"), "standup", "participant_name", True),
        (("*",), ("*",), "any", "data_message", True),
    ],
)
def test_an_endpoint_gets_the_events_and_rooms_of_its_patterns(
    events: tuple[str, ...], rooms: tuple[str, ...], room: str, event: str, wanted: bool
) -> None:
    subscription = Subscription(events, rooms)
    assert subscription.wants(room, event) is wanted
    assert subscription.wants(room, event) is wanted, "also when it is remembered"


def test_a_pattern_that_matches_no_event_is_named() -> None:
    assert unknown_events(("session_*", "alert_*", "sessions_ended", "act_done")) == [
        "sessions_ended"
    ]
    assert unknown_events(DEFAULT_EVENTS) == []


def test_a_rule_calls_one_endpoint_whatever_that_has_subscribed_to() -> None:
    called = TimelineEntry(
        0.0, "act_done", {"rule": "r", "act": "webhook", "on": None, "result": "crm"}
    )
    crm, other = Subscription(("track_*",), name="crm"), Subscription(("*",), name="other")
    assert crm.wants_entry("room", called)
    assert not other.wants_entry("room", called)
    removed = TimelineEntry(
        0.0, "act_done", {"rule": "r", "act": "remove", "on": "eve", "result": "crm"}
    )
    assert not crm.wants_entry("room", removed)
    assert other.wants_entry("room", removed)
