"""The arithmetic of `bench/run scale`: what its tables and its verdict make of what was read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from attrs import evolve

from bench.measure import MIB, Memory, Spread, Used, cpu_seconds
from bench.rooms.sides import OURS, PEER
from bench.scale.case import Case, Events, Look, Passing
from bench.scale.figures import GOALS, Figures, Goal, Results, figures, judge
from bench.scale.observations import Verdict
from bench.scale.observers import FLOOR, OBSERVERS
from bench.scale.show import short_table, tables


def look(mib: float, descriptors: int = 20) -> Look:
    size = round(mib * MIB)
    return Look(Memory(size, size, size, size), descriptors, 10)


def used(seconds: float, total: float, **by_name: float) -> Used:
    return Used(seconds, total, by_name, 0.5)


def events(missing: dict[str, int] | None = None, lags: tuple[float, ...] = (0.002,)) -> Events:
    """A hundred of them in 10 seconds, for 0.06 seconds of a core."""
    verdict = Verdict(100, 60, missing or {}, {}, lags)
    return Events(10.8, verdict, used(10, 0.06, python=0.02, other=0.04), 10.0, 0.001)


def case(observer: str = OURS, rooms: int = 10, mib: float = 70.0) -> Case:
    """At rest it uses 0.001 of a core."""
    return Case(
        OBSERVERS[observer],
        rooms,
        look(60),
        look(mib),
        used(10, 0.01),
        [0.1, 0.3],
        [events()],
        Passing(10, 0, used(10, 0.31)),
    )


def results(*cases: Case) -> Results:
    return Results([figures(one, run) for run, one in enumerate(cases)])


def goal(bound: float, *, at_least: bool = False, beyond: bool = False) -> Goal:
    return Goal("three", lambda _: 3.0, bound, at_least, beyond)


def found(one: Goal) -> tuple[bool | None, bool]:
    finding = one.judge(Results([]))
    return finding.met, finding.failed


def test_an_event_costs_its_share_of_the_cpu_and_less_without_what_rest_costs():
    (shown,) = figures(case(), 0)["events"].values()
    assert shown["cpu_us"] == pytest.approx(600)
    assert shown["without_idle_us"] == pytest.approx(500)
    assert shown["python_us"] == pytest.approx(200)


def test_a_room_that_comes_and_goes_costs_what_is_used_beyond_rest():
    assert figures(case(), 0)["passing"]["cpu_ms"] == pytest.approx(30)


def test_what_every_room_lost_is_lost_and_not_unknown():
    """Then no room has lags, as where nothing is recorded at all."""
    (shown,) = figures(evolve(case(), events=[events({"data_message": 7}, ())]), 0)[
        "events"
    ].values()
    assert (shown["lost"], shown["lag_p99_ms"]) == (7, None)


def test_who_records_nothing_lost_nothing_that_is_known():
    (shown,) = figures(case(FLOOR), 0)["events"].values()
    assert shown["lost"] is None


def test_a_room_more_is_the_growth_from_the_median_of_the_fewest_rooms():
    measured = results(case(mib=68), case(mib=70), case(mib=75), case(rooms=50, mib=90))
    more = [measured.room_more(one, "pss_mib") for one in measured.cases]
    assert more == [None, None, None, 0.5]


def test_a_goal_at_its_bound_is_met():
    assert found(goal(3)) == (True, False)
    assert found(goal(3, at_least=True)) == (True, False)


def test_a_goal_beyond_its_bound_fails_unless_it_is_only_wished_for():
    assert found(goal(2.9)) == (False, True)
    assert found(goal(3.1, at_least=True)) == (False, True)
    assert found(goal(2.9, beyond=True)) == (False, False)


def test_what_was_not_measured_is_said_and_neither_met_nor_missed():
    judged = judge(Results([]))
    assert {one.met for one in judged} == {None}
    assert all(one.text().startswith("not measured") for one in judged)


def test_the_memory_of_a_room_is_held_against_the_peer_s():
    measured = results(case(), case(rooms=200, mib=165), case(PEER, 10, 600), case(PEER, 20, 705.0))
    (less,) = (
        goal.value(measured) for goal in GOALS if goal.text.startswith("memory a room more (200")
    )
    assert less == pytest.approx(21)


def test_each_loss_in_any_run_counts():
    lossy = evolve(case(), events=[events({"track_muted": 1})])
    (line,) = (
        one.text() for one in judge(results(case(), lossy)) if one.goal.text.startswith("events lo")
    )
    assert line.startswith("NOT MET")
    assert "1" in line


def test_tables_have_a_row_for_each_observer_and_rooms_and_a_dash_for_the_unknown():
    measured = results(case(), case(rooms=50, mib=90), case(FLOOR))
    lines = short_table(measured).splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| room-actors", "10"],
        ["| room-actors", "50"],
        ["| floor", "10"],
    ]
    assert "–" in lines[-1]
    assert {line.count("|") for line in lines} == {9}
    assert tables(measured).count("| floor | 10 |") == 3


def test_a_range_that_rounds_to_its_median_is_not_shown():
    assert Spread.of([1.01, 1.02, 1.03]).text(1) == "1.0"
    assert Spread.of([1.0, 1.2, 1.9]).text(1) == "1.2 (1.0 to 1.9)"


def test_the_cpu_of_a_process_counts_its_children_that_have_ended():
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    parent = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-S', '-c', {burn!r}])\n"
        "print(flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        spent = cpu_seconds([process.pid])
        process.communicate()
    assert spent >= 0.15


def test_figures_are_plain_data():
    shown: Figures = figures(case(), 3)
    values: list[Any] = [shown]
    while values:
        one = values.pop()
        assert one is None or isinstance(one, dict | list | str | int | float)
        values += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
