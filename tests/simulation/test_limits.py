"""Limits under drawn faults: the laws hold, and they catch a program that breaks them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from actors.acting.limit_requests import PeopleLists
from actors.rules import limits
from actors.rules.limits import PresentPerson
from actors.session import SessionState
from actors.simulation import draw, play
from actors.simulation.plan import LIMIT, Plan


def by_arrival(people: Iterable[PresentPerson]) -> list[PresentPerson]:
    """People who became known last come first."""
    return [*people][::-1]


async def do_not_look(*_: object) -> None:
    """Act without the server's list."""


def broken(seeds: Iterable[int]) -> set[str]:
    """The laws that plans with a limit break."""
    violations = [one for seed in seeds for one in play(draw(seed, limit=LIMIT)).violations]
    return {one.partition(":")[0] for one in violations}


def test_under_faults_of_every_kind_the_oldest_stay_and_the_limit_is_kept() -> None:
    outcomes = [play(draw(seed, limit=LIMIT)) for seed in range(8)]
    assert [one.violations for one in outcomes] == [()] * 8
    assert sum(one.injected["limit"] for one in outcomes) > 10, "people were removed"


def test_a_limit_that_goes_by_arrival_without_a_look_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "by_join", by_arrival)
    monkeypatch.setattr(PeopleLists, "look", do_not_look)
    assert "limits" in broken(range(4))


def test_a_look_alone_lets_no_older_person_go_but_the_limit_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "by_join", by_arrival)
    assert broken(range(6)) == {"limits are kept"}


def test_a_limit_that_counts_nobody_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: SessionState) -> list[PresentPerson]:
        return []

    monkeypatch.setattr("actors.rules.room_limits.people_of", nobody)
    assert "limits are kept" in broken(range(4))


def test_a_plan_with_a_limit_is_saved_with_it() -> None:
    plan = draw(3, limit=LIMIT)
    assert Plan.from_json(plan.to_json()) == plan
    assert not draw(3, limit=0).limit
