"""Entering makes no room: on a real server, with the tokens that the program enters with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import trio
from attrs import evolve
from livekit.protocol.models import Room

from actors.rooms.room_port import RoomJob, RoomUnreachable
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.room_instances import RoomInstances
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey, room_token
from tests.livekit.rooms.room_stage import RealStage, Recorder


def job(stage: RealStage, *, may_make: bool) -> RoomJob:
    token = room_token(
        ApiKey(stage.server.api_key, stage.server.api_secret),
        room=stage.room,
        identity="agent-1",
        agent_name="watcher",
        attributes={INSTANCE_ATTRIBUTE: "here"},
        may_make=may_make,
    )
    return stage.job(token=token)


async def test_the_join_of_a_room_that_is_gone_fails_and_makes_none(real: RealStage) -> None:
    """The canary of `tokens.NO_SUCH_CONFIGURATION`."""
    with pytest.raises(RoomUnreachable):
        async with real.port.open(job(real, may_make=False), Recorder()):
            raise AssertionError("there is no such room")
    assert await real.living(real.room) == ""
    alice = await real.join("alice")
    recorder = Recorder()
    async with real.port.open(job(real, may_make=False), recorder) as room:
        assert room.roster().room_sid == alice.room_sid


async def test_where_the_server_refuses_such_a_token_for_a_room_that_lives_the_spare_one_is_taken(
    real: RealStage, rooms: LiveKitRooms
) -> None:
    alice = await real.join("alice")
    rooms.look_up = real.living
    refused = evolve(
        real.refused(),
        room_sid=alice.room_sid,
        spare_token=job(real, may_make=True).token,
    )
    for _ in range(2):
        async with real.port.open(refused, Recorder()) as room:
            assert room.roster().room_sid == alice.room_sid


async def test_a_room_that_only_our_entry_made_is_told_from_all_others_and_deleted(
    real: RealStage,
) -> None:
    """Acts as a server that is too old for tokens that make no room."""
    instances = RoomInstances(real.api)
    async with real.port.open(job(real, may_make=True), Recorder()) as room:
        made = room.roster().room_sid
        assert await instances.only_we_made(real.room, made, "agent-1")
        assert not await instances.only_we_made(real.room, "RM_another", "agent-1")
        assert not await instances.only_we_made(real.room, made, "agent-2")
    await instances.delete(real.room, "RM_another")
    assert await real.living(real.room) == made
    await instances.delete(real.room, made)
    assert await real.living(real.room) == ""


async def test_a_room_with_somebody_in_it_or_with_metadata_is_not_ours_to_delete(
    real: RealStage,
) -> None:
    instances = RoomInstances(real.api)
    async with real.port.open(job(real, may_make=True), Recorder()) as room:
        made = room.roster().room_sid
        await real.join("alice")
        assert not await instances.only_we_made(real.room, made, "agent-1")
        await instances.delete(real.room, made)
        assert await real.living(real.room) == made
    real.room = f"{real.room}-prepared"
    await real.api.create_room(real.room, metadata="the owner's")
    async with real.port.open(job(real, may_make=True), Recorder()) as room:
        assert not await instances.only_we_made(real.room, room.roster().room_sid, "agent-1")


async def test_a_hundred_questions_at_once_are_a_few_calls(real: RealStage) -> None:
    alice = await real.join("alice")
    calls, sids = list[int](), list[str]()

    class Counted:
        async def list_rooms(self, names: Sequence[str]) -> list[Room]:
            calls.append(len(names))
            return await real.api.list_rooms(names)

    instances = RoomInstances(cast("ServerApi", Counted()))

    async def look(number: int) -> None:
        sids.append(await instances.sid_of(real.room if number % 2 else f"{real.room}-{number}"))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(look, number)
        # One of them is cancelled: the others' answers do not hang on it.
        with trio.CancelScope() as scope:
            scope.cancel()
            await instances.sid_of("ghost")
    assert sorted(set(sids)) == ["", alice.room_sid]
    assert len(sids) == 100
    assert len(calls) <= 4
