"""The arithmetic of `bench/run pair`: ratios by run, and which difference is reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bench.errors import BenchError
from bench.measure import MIB, Memory, Used
from bench.pair.case import Events, Part, Run
from bench.pair.checkouts import TREE, Checkouts, Side
from bench.pair.figures import Pairs, alone, figures
from bench.rooms.sides import OURS
from bench.scale.case import Look
from bench.scale.observations import Verdict
from bench.scale.observers import GO, OBSERVERS

EVENTS = {"data_message": 60, "track_muted": 40}


def look(mib: float) -> Look:
    size = round(mib * MIB)
    return Look(Memory(size, size, size, size), 20, 10)


def used(seconds: float, total: float, **by_name: float) -> Used:
    return Used(seconds, total, by_name, 0.5)


def part(
    label: str,
    factor: float = 1.0,
    kinds: Mapping[str, int] | None = None,
    missing: Mapping[str, int] | None = None,
) -> Part:
    """A hundred events in 10 seconds for `factor` times 0.06 seconds of a core, of which 0.01
    are used at rest; 1 MiB a room."""
    is_go = label == GO
    threads = {"python": 0.02 * factor, "network_thread": 0.03 * factor, "signaling": 0.01 * factor}
    lags = tuple(one / 1000 * factor for one in range(1, 101))
    return Part(
        Side(label, OBSERVERS[GO if is_go else OURS], environment=None if is_go else Path("venv")),
        look(50),
        look(60),
        look(62),
        used(10, 0.01 * factor),
        used(10, 0.02 * factor),
        Events(Verdict(100, 60, missing or {}, {}, lags), used(10, 0.06 * factor, **threads)),
        EVENTS if kinds is None else kinds,
    )


def pairs(*runs: tuple[Part, ...]) -> Pairs:
    return Pairs(
        [figures(Run(10, parts, used(10, 0.2), 0.0), number) for number, parts in enumerate(runs)]
    )


def side(one: Part) -> dict[str, Any]:
    return pairs((one,)).runs[0]["sides"][one.side.label]


def test_an_event_costs_its_share_of_the_cpu_by_group_of_threads():
    shown = side(part("old"))
    assert shown["cpu_us"] == pytest.approx(600)
    assert shown["without_idle_us"] == pytest.approx(500)
    groups = {name: round(value) for name, value in shown["groups_us"].items() if value > 0.01}
    assert groups == {"Python": 200, "network": 300, "other": 100}


def test_memory_a_room_is_the_growth_by_rooms():
    assert side(part("old"))["room_mib"] == pytest.approx(1)


def test_a_ratio_is_taken_in_each_run_before_the_median():
    """The second run was busy: everything cost ten times as much there."""
    found = pairs(
        (part("old"), part(TREE, 0.5)),
        (part("old", 10), part(TREE, 6)),
        (part("old"), part(TREE, 0.7)),
    ).ratio(TREE, "old", "cpu_us")
    assert found is not None
    assert (found.low, found.median, found.high) == pytest.approx((0.5, 0.6, 0.7))
    assert found.count == 3


def test_the_threads_of_a_peer_do_other_things_and_are_not_compared():
    table = pairs((part("old"), part(TREE, 0.5), part(GO))).table("old")
    assert "| of it Python | 0.50 | – |" in table


def test_less_than_nothing_makes_no_ratio():
    """The idle CPU was read in a busier moment than the events were."""
    busy = evolve(part(TREE), idle=used(10, 0.1))
    shown = pairs((part("old"), busy))
    assert shown.ratio(TREE, "old", "without_idle_us") is None
    assert shown.ratio("old", TREE, "without_idle_us") is None


def test_lags_are_compared_at_the_middle_and_at_the_slowest_hundredth():
    shown = pairs((part("old"), part(TREE, 2)))
    assert shown.runs[0]["sides"]["old"]["lag_p50_ms"] == pytest.approx(51)
    assert shown.runs[0]["sides"]["old"]["lag_p99_ms"] == pytest.approx(100)
    ratio = shown.ratio(TREE, "old", "lag_p99_ms")
    assert ratio is not None
    assert ratio.median == pytest.approx(2)


def test_the_table_has_every_other_side_and_a_peer_is_a_base_too():
    first, second = pairs((part("old"), part(TREE, 0.5), part(GO, 0.25))).tables().split("\n\n")
    assert first.startswith("| by old | working tree | Go SDK |")
    assert "| CPU an event | 0.50 | 0.25 |" in first
    assert second.startswith("| by Go SDK | old | working tree |")
    assert "| CPU an event | 4.00 | 2.00 |" in second


def test_kinds_of_events_that_differ_are_shown_with_the_count_of_each_checkout():
    other = {"data_message": 60, "track_muted": 39, "speakers_changed": 1}
    assert pairs(
        (part("old"), part(TREE)), (part("old"), part(TREE, kinds=other))
    ).differences() == [
        "run 2: speakers_changed: old 0, working tree 1",
        "run 2: track_muted: old 40, working tree 39",
    ]


def test_a_peer_counts_other_kinds_and_is_not_held_to_them():
    assert pairs((part("old"), part(TREE), part(GO, kinds={}))).differences() == []


def test_an_event_that_was_lost_is_a_fault_of_its_side():
    lossy = part(TREE, missing={"data_message": 2})
    assert pairs((part("old"), lossy)).faults() == ["run 1: working tree: 2 data_message missing"]


def test_without_events_only_rest_and_memory_are_compared():
    quiet = [
        evolve(part(label, factor), events=None, idle_after=None)
        for label, factor in (("old", 1.0), (TREE, 0.5))
    ]
    shown = Pairs([figures(Run(10, quiet, None, 0.0), 0)])
    table = shown.table("old")
    assert "| idle CPU, before the events | 0.50 |" in table
    assert "CPU an event" not in table
    assert "lag" not in table
    assert shown.absolute("server_cpu_us") is None


def test_the_server_s_cpu_is_a_side_s_only_where_that_side_was_alone():
    together = [
        pairs((part("old"),)).runs[0],
        {**pairs((part(TREE),)).runs[0], "server_cpu_us": 1500},
    ]
    table = Pairs(alone([together])).table("old")
    assert "| CPU of livekit-server an event | 0.75 |" in table
    assert "livekit-server" not in pairs((part("old"), part(TREE))).table("old")


def test_a_name_that_is_no_commit_is_refused(tmp_path: Path):
    with pytest.raises(BenchError, match="no-such-name is no commit"):
        Checkouts(tmp_path).commit("no-such-name")


def test_an_option_is_not_taken_for_a_commit(tmp_path: Path):
    with pytest.raises(BenchError, match="is no commit"):
        Checkouts(tmp_path).commit("--all")
