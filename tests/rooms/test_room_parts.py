"""A room's group takes any list of parts: one more, behind connection and session."""

from __future__ import annotations

from typing import Any

import trio
from attrs import frozen

from actors.rooms.messages import RosterWanted
from actors.rooms.room_group import ROOM_PARTS, RoomContext
from actors.runtime import Actor, ChildSpec, Crashed, Restart, Supervisor, receives
from actors.simulation.plan import Plan
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.simulation.world import World
from actors.testing.sabotage import Injected


@frozen
class Fail:
    """Crash on this."""


class Counting(Actor[Fail]):
    """A third part of a room."""

    @receives(Fail)
    def fail(self, _: Fail) -> None:
        raise Injected("third part")


class ThirdPart:
    def __init__(self) -> None:
        self.rooms: list[str] = []

    def __call__(self, room: RoomContext) -> ChildSpec[Any]:
        self.rooms.append(room.job.room)
        return ChildSpec("counting", Counting, restart=Restart.TRANSIENT)


async def watched(stage: World) -> SimulatedRoom:
    room = stage.rooms.room("atlas")
    room.join("alice")
    stage.assign(room)
    await settle()
    return room


async def settle() -> None:
    await trio.sleep(2.0)


def generations(stage: World) -> dict[str, int]:
    return {
        node.path.rsplit("/", 1)[1]: node.generation
        for part in stage.program.system.tree().children
        if part.path == "/rooms"
        for group in part.children
        for node in group.children
    }


def part(stage: World, room: SimulatedRoom, name: str) -> Any:
    rooms = stage.program.system.supervisor.children["rooms"].unit
    assert isinstance(rooms, Supervisor)
    group = rooms.children[room.sid].unit
    assert isinstance(group, Supervisor)
    return group.ref(name)


async def test_a_third_part_that_crashes_restarts_alone(virtual_time: int) -> None:
    stage, third = World(Plan(0, (), rooms=0)), ThirdPart()
    stage.parts = (*ROOM_PARTS, third)
    async with stage.running():
        room = await watched(stage)
        assert third.rooms == ["atlas"]
        part(stage, room, "counting").tell(Fail())
        await settle()
        assert generations(stage) == {"connection": 1, "session": 1, "counting": 2}
        crashed = [s.actor for s in stage.program.signals if isinstance(s, Crashed)]
        assert crashed == [f"/rooms/{room.sid}/counting"]


async def test_parts_restart_with_those_before_them(virtual_time: int) -> None:
    stage = World(Plan(0, (), rooms=0))
    stage.parts = (*ROOM_PARTS, ThirdPart())
    async with stage.running():
        room = await watched(stage)
        stage.program.saboteur.raise_at(f"/rooms/{room.sid}/session", 1)
        room.set_metadata("changed")
        await settle()
        assert generations(stage) == {"connection": 1, "session": 2, "counting": 2}
        stage.program.saboteur.raise_at(f"/rooms/{room.sid}/connection", 1)
        part(stage, room, "connection").tell(RosterWanted())
        await settle()
        assert generations(stage) == {"connection": 2, "session": 3, "counting": 3}


async def test_the_room_ends_with_its_connection_whatever_parts_it_has(virtual_time: int) -> None:
    stage = World(Plan(0, (), rooms=0))
    stage.parts = (*ROOM_PARTS, ThirdPart())
    async with stage.running():
        room = await watched(stage)
        room.close()
        await settle()
        assert stage.program.table.records == {}
        assert stage.program.jobs.ends == {"AJ_0": [None]}
