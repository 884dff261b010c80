"""The judge of `bench/run scale`: what counts as lost, and what its pictures are."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from bench.chart import Chart, Series
from bench.measure import Spread
from bench.scale.observations import SMALLEST, Observations, Verdict


def record(event: str, **fields: Any) -> dict[str, Any]:
    return {"time": "2026-11-22T20:00:01.500Z", "event": event, "room": "first", **fields}


def message(number: int, topic: str = "load") -> dict[str, Any]:
    return record("data_message", topic=topic, size=SMALLEST + number)


def sent(messages: int, muted: int = 0) -> dict[str, Any]:
    at = [1795377601.0] * messages  # half a second before they are recorded
    counts = {"muted": muted, "unmuted": 0, "attributes": 0, "metadata": 0}
    return {"first": {"data": at, **counts}}


def test_nothing_is_lost_when_everything_is_recorded():
    observations = Observations()
    observations.read([message(0), record("track_muted"), message(1)])
    verdict = Verdict.of(sent(2, muted=1), observations)
    assert verdict.complete
    assert (verdict.sent, verdict.messages, verdict.surplus) == (3, 2, {})
    assert [round(lag, 6) for lag in verdict.lags] == [0.5, 0.5]


def test_what_is_not_recorded_is_lost_and_such_a_room_has_no_lags():
    observations = Observations()
    observations.read([message(1)])
    verdict = Verdict.of(sent(2, muted=1), observations)
    assert verdict.missing == {"data_message": 1, "track_muted": 1}
    assert verdict.lags == ()


def test_another_order_has_no_lags():
    observations = Observations()
    observations.read([message(1), message(0)])
    assert Verdict.of(sent(2), observations).lags == ()


def test_messages_of_somebody_else_do_not_count():
    observations = Observations()
    observations.read([message(0), message(0, topic="chat")])
    assert Verdict.of(sent(1), observations).surplus == {}


def test_a_chart_is_well_formed_and_shows_every_name():
    points = [(10.0, Spread.of([300.0, 420.0])), (200.0, Spread.of([350.0]))]
    svg = Chart("CPU <an event>", "rooms", "µs").svg([Series("ours & theirs", points)])
    shown = "".join(ET.fromstring(svg).itertext())
    assert "CPU <an event>" in shown
    assert "ours & theirs" in shown
