"""Times on the command line say their zone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bridge.cli.reading_tables import clock_text, local_time, time_text


@pytest.fixture(autouse=True)
def delhi(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half an hour off, east of Greenwich, without summer time."""
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_time_has_its_zone_and_within_a_report_only_its_clock() -> None:
    assert local_time(1_790_000_000.0) == "2026/09/21 19:43:20 +0530"
    assert time_text("2026-09-21T14:13:20.500Z") == "2026/09/21 19:43:20 +0530"
    assert clock_text("2026-09-21T14:13:20.500Z") == "19:43:20"
    assert (time_text(None), clock_text(None)) == ("-", "-")
