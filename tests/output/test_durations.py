"""Durations as text: one form for each place that shows them."""

from __future__ import annotations

import pytest

from bridge.output.durations import (
    age,
    axis_time,
    go_duration,
    setting_duration,
    spaced_duration,
    step_duration,
)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (0.4, "0s"),
        (0.5, "1s"),
        (2.5, "3s"),
        (30, "30s"),
        (59.6, "1m0s"),
        (60, "1m0s"),
        (3599.4, "59m59s"),
        (3605, "1h0m5s"),
        (90061, "25h1m1s"),
        (-1, "0s"),
    ],
)
def test_durations_read_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@pytest.mark.parametrize(
    "seconds, page, column",
    [
        (-1, "0 s", "0s"),
        (7.4, "7 s", "7s"),
        (59.6, "1 m 00 s", "59s"),
        (200, "3 m 20 s", "3m20s"),
        (7_500, "2 h 05 m", "2h5m"),
        (183_600, "2 d 03 h", "2d3h"),
    ],
)
def test_pages_round_and_columns_have_whole_units(seconds: float, page: str, column: str) -> None:
    assert spaced_duration(seconds) == page
    assert age(seconds) == column


@pytest.mark.parametrize(
    "seconds, text", [(0.5, "500ms"), (1, "1s"), (90, "90s"), (7_200, "2h"), (7_776_000, "90d")]
)
def test_a_setting_is_written_in_the_largest_unit_that_divides_it(
    seconds: float, text: str
) -> None:
    assert setting_duration(seconds) == text


def test_an_axis_has_a_fraction_only_where_its_steps_are_short() -> None:
    assert (axis_time(1.5, 0.5), axis_time(90, 30)) == ("1.5s", "1m30s")
    assert (step_duration(0.25), step_duration(90)) == ("0.25s", "1m30s")
