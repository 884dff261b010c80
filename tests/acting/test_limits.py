"""Limits in a simulated program: who goes, once, with which entries, and again after a kill."""

from __future__ import annotations

import random

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from actors.acting.limit_requests import WITHIN
from actors.rooms.room_control import ControlUnavailable
from actors.rules.limits import Limit
from actors.simulation.simulated_rooms import SimulatedRoom
from tests.acting.ruled_world import RuledWorld

TEN = Limit("ten", ("team-*",), people=10)
ONE = Limit("one", ("team-*",), people=1, message="This room is full.")
SOON = 5.0
"""Virtual seconds within which everything is known and done."""


@pytest.fixture(autouse=True)
def virtual_time(autojump_clock: MockClock) -> MockClock:
    return autojump_clock


def limited(*limits: Limit) -> RuledWorld:
    world = RuledWorld()
    world.world.acting.limits = limits
    return world


def inside(room: SimulatedRoom) -> list[str]:
    return sorted(room.people)


async def test_of_fifty_in_a_storm_the_oldest_ten_stay_with_one_call_for_each_of_the_others() -> (
    None
):
    order = random.Random(7)
    async with limited(TEN).running() as world:
        room = world.room("team-1")
        await trio.sleep(1.0)
        for number in range(50):
            room.join(f"p{number:02d}")
            await trio.sleep(order.random() / 25)
        await trio.sleep(SOON)
        assert inside(room) == [f"p{number:02d}" for number in range(10)]
        assert world.requested("remove") == 40
        assert [one[:2] for one in world.done] == [("act_done", "remove")] * 40
        assert world.requested("people") < 40, "one list serves several removals"


async def test_agents_and_hidden_people_stay_and_do_not_count() -> None:
    async with limited(ONE).running() as world:
        room = world.room("team-1", "ann")
        room.join("bot", kind="agent")
        room.join("rec", kind="egress")
        room.join("ghost", hidden=True)
        await trio.sleep(SOON)
        assert (inside(room), world.done) == (["ann", "bot", "ghost", "rec"], [])


async def test_the_person_gets_the_message_before_they_go() -> None:
    async with limited(ONE).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        bob = room.join("bob")
        await trio.sleep(SOON)
        assert bob.received == [("lk.chat", b"This room is full.")]
        assert bob.left_reason == "participant_removed"
        assert world.done == [("act_done", "remove", "bob", "removed")]


@pytest.mark.parametrize("limit", [ONE, evolve(ONE, tracks_per_person=3)])
async def test_somebody_for_whom_there_is_room_by_the_servers_list_stays(limit: Limit) -> None:
    async with limited(limit).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        delivery = world.world.delivery("team-1")
        delivery.late = 4.0  # The room announces a silent leave late.
        room.people["ann"].leave()
        room.join("bob")
        await trio.sleep(SOON)
        assert inside(room) == ["bob"]
        assert world.done == [("act_failed", "remove", "bob", WITHIN)]


@pytest.mark.parametrize("limit", [ONE, evolve(ONE, message="")])
async def test_a_clock_that_is_set_back_keeps_nobody_beyond_the_limit(limit: Limit) -> None:
    async with limited(limit).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        for name in ("bob", "carol"):
            room.join(name)
            await trio.sleep(SOON)
            world.world.clock_offset -= 600.0
        assert inside(room) == ["ann"]
        assert [one[1:] for one in world.done] == [
            ("remove", "bob", "removed"),
            ("remove", "carol", "removed"),
        ]


async def test_a_kill_between_decision_and_act_neither_loses_nor_repeats_it() -> None:
    async with limited(ONE).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        world.world.acting.control.inner.delay = lambda act: 30.0 if act == "remove" else 0.0
        room.join("bob")
        await trio.sleep(1.0)
        world.world.acting.control.inner.delay = lambda _: 0.0
        await world.restart()
        await trio.sleep(SOON)
        assert inside(room) == ["ann"]
        assert world.done == [("act_done", "remove", "bob", "removed")]


async def test_an_act_is_tried_again_while_the_server_cannot() -> None:
    async with limited(ONE).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        world.faults["remove"] = [ControlUnavailable("503"), ControlUnavailable("503")]
        room.join("bob")
        await trio.sleep(SOON)
        assert (inside(room), world.requested("remove")) == (["ann"], 3)


async def test_somebody_who_comes_back_for_ever_makes_no_war() -> None:
    async with limited(ONE).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        for _ in range(20):
            if "bob" not in room.people:
                room.join("bob")
            await trio.sleep(0.5)
        assert world.requested("remove") == 5
        assert [one for one in world.done if one[0] == "alert_firing"] == [
            ("alert_firing", "one", "bob", "")
        ]
        await trio.sleep(60.0)
        assert inside(room) == ["ann"]


async def test_a_hold_takes_the_permissions_until_there_is_room_also_over_a_restart() -> None:
    async with limited(Limit("one", ("team-*",), people=1, over="hold")).running() as world:
        room = world.room("team-1", "ann")
        await trio.sleep(1.0)
        bob = room.join("bob")
        await trio.sleep(SOON)
        held = bob.info().permissions
        assert held is not None
        assert not held.can_publish
        await world.restart()
        await trio.sleep(SOON)
        room.people["ann"].leave()
        await trio.sleep(SOON)
        freed = bob.info().permissions
        assert freed is not None
        assert freed.can_publish
        assert [one[:3] for one in world.done] == [
            ("act_done", "hold", "bob"),
            ("act_done", "release", "bob"),
        ]


async def test_a_room_whose_time_is_over_is_told_and_ended() -> None:
    limit = Limit("short", ("team-*",), duration=60.0, message="Time is up.")
    async with limited(limit).running() as world:
        room = world.room("team-1", "ann")
        ann = room.people["ann"]
        await trio.sleep(70.0)
        assert ann.received == [("lk.chat", b"Time is up.")]
        assert ann.left_reason == "room_deleted"
        assert [one[:3] for one in world.done] == [
            ("act_done", "send", None),
            ("act_done", "end_room", None),
        ]


async def test_a_track_beyond_the_limit_is_muted() -> None:
    limit = Limit("tracks", ("team-*",), tracks_per_person=1)
    async with limited(limit).running() as world:
        room = world.room("team-1", "ann")
        room.people["ann"].publish("microphone")
        camera = room.people["ann"].publish("camera")
        await trio.sleep(SOON)
        assert [sid for sid, track in room.people["ann"].tracks.items() if track.muted] == [camera]
        assert world.done == [("act_done", "mute", "ann", "muted")]


async def test_a_hold_for_tracks_ends_them_and_lasts_as_long_as_the_join() -> None:
    limit = Limit("tracks", ("team-*",), tracks_per_person=1, over="hold")
    async with limited(limit).running() as world:
        ann = world.room("team-1", "ann").people["ann"]
        ann.publish("microphone")
        await trio.sleep(SOON)
        assert world.done == []
        ann.publish("camera")
        ann.publish("screen")
        await trio.sleep(SOON)
        await world.restart()
        await trio.sleep(SOON)
        # A server ends the tracks of somebody who may not publish.
        assert not ann.tracks
        assert world.done == [("act_done", "hold", "ann", "permissions taken")]
        permissions = ann.info().permissions
        assert permissions is not None
        assert not permissions.can_publish


async def test_an_alert_fires_once_and_is_resolved_once_over_a_restart() -> None:
    async with limited(Limit("one", ("team-*",), people=1, over="alert")).running() as world:
        room = world.room("team-1", "ann", "bob")
        await trio.sleep(SOON)
        await world.restart()
        await trio.sleep(SOON)
        room.people["bob"].leave()
        await trio.sleep(SOON)
        assert [one[0] for one in world.done] == ["alert_firing", "alert_resolved"]
