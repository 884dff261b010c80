"""Measures of webhooks and rules on the real server: what is counted, and the same ten rules."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench import pair
from bench.errors import BenchError
from bench.outlets.receiver import Received
from bench.rules import RULES
from bench.webhooks import lags, messages_of, out_of_order, unmet


def request(at: float, sequence: int, **more: Any) -> tuple[Received, dict[str, Any]]:
    body = {
        "type": "data_message",
        "session": "s-1",
        "room": "room-0",
        "sequence": sequence,
        "data": {"topic": "load"},
        **more,
    }
    return Received(at, json.dumps(body).encode()), body


def test_messages_are_those_of_the_load_in_the_order_of_their_session() -> None:
    requests = [
        request(3.0, 9),
        request(1.0, 7),
        request(2.0, 8, type="track_muted"),
        request(2.5, 8, data={"topic": "chat"}),
        request(4.0, 1, room="room-1"),
    ]
    assert messages_of(requests) == {"room-0": [1.0, 3.0], "room-1": [4.0]}


def test_a_request_that_is_not_above_the_one_before_in_its_session_is_out_of_order() -> None:
    requests = [request(1.0, 3), request(2.0, 5), request(3.0, 4), request(4.0, 1, session="s-2")]
    assert out_of_order(requests) == 1


def test_nothing_that_came_is_an_error_and_no_lag_of_0() -> None:
    assert lags([3.0, 1.0, 2.0]) == {"events": 3.0, "p50_ms": 2.0, "p99_ms": 3.0, "max_ms": 3.0}
    with pytest.raises(BenchError):
        lags([])


def test_a_goal_that_is_missed_and_anything_lost_are_faults() -> None:
    run = {"lag": {"p50_ms": 150.0, "p99_ms": 401.0}, "missing": 0, "out_of_order": 1}
    assert unmet([run]) == ["p99_ms: 401 ms, at most 400", "out_of_order: 1"]


def test_the_ten_rules_of_both_measures_are_the_same() -> None:
    path = Path(pair.__file__).with_name("ten-rules.toml")
    assert tomllib.loads(path.read_text())["rule"] == RULES
