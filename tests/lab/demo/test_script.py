"""A story is plain data, the same for the same seed, and one that LiveKit can show."""

from __future__ import annotations

import pytest

from bridge.lab.demo.play_script import ANNOUNCED_SECONDS, DEEDS
from bridge.lab.demo.script import (
    FULL_AFTER,
    FULL_BEFORE,
    GATECRASHER,
    LEAST_SECONDS,
    SERVER,
    PlanError,
    RoomScript,
    Script,
    ScriptStep,
    draw,
    limits_of_script,
)

SIZES = [(1, 1, 10), (1, 9, 10), (4, 12, 40), (5, 23, 10), (50, 200, 600)]


@pytest.fixture(params=SIZES, ids=lambda size: "rooms={} people={} seconds={}".format(*size))
def plan(request: pytest.FixtureRequest) -> Script:
    rooms, people, seconds = request.param
    return draw(rooms, people, seconds, seed=5)


def of(room: RoomScript, who: str) -> list[ScriptStep]:
    return [step for step in room.steps if step.who == who]


def test_the_same_seed_gives_the_same_story():
    assert draw(4, 12, 40, seed=3) == draw(4, 12, 40, seed=3)


def test_another_seed_gives_another_story():
    assert draw(4, 12, 40, seed=3) != draw(4, 12, 40, seed=4)


def test_the_default_story_has_everything_that_the_demo_promises():
    plan = draw(4, 12, 40, seed=1)
    steps = [step for room in plan.rooms for step in room.steps]
    assert {step.do for step in steps} == set(DEEDS)
    sources = {step.data["source"] for step in steps if step.do == "publish"}
    assert sources == {"microphone", "camera", "screen", "screen_audio"}
    assert {room.ending for room in plan.rooms} == {"left", "deleted", "open"}
    assert any(room.before_worker for room in plan.rooms)
    joins = [step.who for step in steps if step.do == "join"]
    assert len(joins) > len(set(joins))  # somebody comes back
    assert any("\x1b" in who and "<script>" in who for who in joins)
    payloads = [step.data["payload"] for step in steps if step.do == "send_data"]
    assert any(payload.startswith(b"{") for payload in payloads)
    assert any(payload.endswith(b"\xff") for payload in payloads)


def test_there_are_as_many_people_as_asked_for_and_nobody_is_in_two_rooms(
    plan: Script, request: pytest.FixtureRequest
):
    _, people, _ = request.node.callspec.params["plan"]
    everyone = [who for room in plan.rooms for who in room.people]
    others = [who for who in everyone if who.startswith("assistant-") or who == GATECRASHER]
    assert len(everyone) == len(set(everyone)) == people + len(others)


@pytest.mark.parametrize("seed", range(20))
def test_the_gatecrasher_comes_while_the_room_is_full_and_nobody_else_moves(seed: int):
    room = draw(4, 12, 40, seed=seed).rooms[0]
    (came,) = [step.at for step in of(room, GATECRASHER) if step.do == "join"]
    here = {step.who for step in room.steps if step.do == "join" and step.at < came}
    here -= {who for who in here if who.startswith("assistant-")}
    assert len(here) == room.places
    assert limits_of_script(draw(4, 12, 40, seed=seed))[0].watches(room.room)
    moves = [s.at for s in room.steps if s.do in ("join", "leave", "kick") and s.who != GATECRASHER]
    assert not any(came - FULL_BEFORE <= at <= came + FULL_AFTER for at in moves)


def test_steps_are_in_order_and_within_the_story(plan: Script):
    for room in plan.rooms:
        times = [step.at for step in room.steps]
        assert times == sorted(times)
        assert room.starts_at + times[-1] <= plan.seconds


def test_a_room_is_opened_by_somebody_who_publishes_at_once(plan: Script):
    for room in plan.rooms:
        assert [step.do for step in room.steps[:2]] == ["join", "publish"]
        assert room.steps[1].at < 0


def test_everybody_joins_first_and_does_nothing_after_leaving(plan: Script):
    for room in plan.rooms:
        for who in room.people:
            inside = False
            for step in of(room, who):
                assert inside == (step.do != "join"), step
                inside = step.do != "leave"


def test_only_what_is_published_is_muted_or_unpublished(plan: Script):
    for room in plan.rooms:
        for who in room.people:
            published: set[str] = set()
            for step in of(room, who):
                if step.do in ("join", "leave"):
                    published.clear()
                elif step.do == "publish":
                    published.add(step.data["source"])
                elif step.do in ("mute", "unmute", "unpublish"):
                    assert step.data["source"] in published


def test_whoever_writes_has_published_a_second_before(plan: Script):
    """Otherwise the message may come before its sender and cannot be attributed."""
    for room in plan.rooms:
        for who in room.people:
            published = None
            for step in of(room, who):
                if step.do == "join":
                    published = None
                elif step.do == "publish" and published is None:
                    published = step.at
                elif step.do.startswith("send_"):
                    assert published is not None
                    assert step.at - max(published, 0.0) >= 0.3


def test_whoever_publishes_nothing_stays_long_enough_to_be_announced(plan: Script):
    for room in plan.rooms:
        for who in room.people:
            steps = of(room, who)
            leaves = [step.at for step in steps if step.do == "leave"]
            if any(step.do == "publish" for step in steps) or not leaves:
                continue
            assert leaves[0] > ANNOUNCED_SECONDS
            if room.ending == "left":
                last = max(step.at for step in room.steps if step.do == "leave")
                assert last - leaves[0] > ANNOUNCED_SECONDS - 0.4


def test_whoever_is_removed_does_nothing_afterwards(plan: Script):
    for room in plan.rooms:
        for kick in (step for step in of(room, SERVER) if step.do == "kick"):
            assert all(step.at < kick.at for step in of(room, kick.data["identity"]))


def test_nobody_joins_after_somebody_silent_left(plan: Script):
    """A silent leave is heard up to 3 s late, and the peak would depend on who counts."""
    for room in plan.rooms:
        silent = [who for who in room.people if not any(s.do == "publish" for s in of(room, who))]
        left = [step.at for step in room.steps if step.do == "leave" and step.who in silent]
        joined = [step.at for step in room.steps if step.do == "join"]
        assert not left or max(joined) < min(left)


@pytest.mark.parametrize(
    "rooms,people,seconds,setting",
    [(3, 2, 40, "--people"), (1, 1, LEAST_SECONDS - 1, "--seconds")],
)
def test_a_story_that_cannot_be_told_names_the_setting(
    rooms: int, people: int, seconds: int, setting: str
):
    with pytest.raises(PlanError, match=setting):
        draw(rooms, people, seconds, seed=1)
