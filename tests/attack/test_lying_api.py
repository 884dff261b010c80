"""A LiveKit that lies in the answers of its API: one row a lie, in virtual time.

After each the reconciler lives, a room of which nobody lies is had, and what is asked and
dispatched stays bounded.  Answers that cannot be read, are packed, endless or never come are in
`tests/livekit/test_server_api.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import structlog.testing
import trio
from attrs import define, field
from livekit.protocol import agent_dispatch, models
from trio.testing import MockClock

from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from tests.livekit.watching.reconciler_scene import ReconcilerScene, SimulatedApi

HONEST = "atlas"
SECONDS = 30.0
"""Virtual time for which the API gives each lie."""
TRIES = 4
"""The most attempts at one room within `SECONDS`: each waits twice as long as the one before."""
FUTURE = 2**62
LONG = "x" * 100_000


def a_room(name: str = "liar", sid: str = "RM_liar", **fields: object) -> models.Room:
    return models.Room(name=name, sid=sid, **fields)  # pyright: ignore[reportArgumentType]


def an_agent(identity: str, joined_at: int, **attributes: str) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity=identity,
        kind=models.ParticipantInfo.Kind.AGENT,
        joined_at=joined_at,
        joined_at_ms=joined_at,
        attributes={"lk.agent_name": "watcher", **attributes},
    )


def a_dispatch(created_at: int, **fields: object) -> agent_dispatch.AgentDispatch:
    return agent_dispatch.AgentDispatch(
        id="AD_liar",
        agent_name="watcher",
        state=agent_dispatch.AgentDispatchState(created_at=created_at),
        **fields,  # pyright: ignore[reportArgumentType]
    )


@define(eq=False)
class LyingApi(SimulatedApi):
    """Answers with rooms, agents and dispatches that do not exist, or not so."""

    listed: Callable[[int], Sequence[models.Room]] = lambda _: ()
    """The false rooms of the list with that number."""
    present: Sequence[models.ParticipantInfo] = ()
    under_way: Sequence[agent_dispatch.AgentDispatch] = ()
    made: agent_dispatch.AgentDispatch | None = None
    tries: Counter[str] = field(factory=Counter[str])

    async def list_rooms(self, asked: Sequence[str] = ()) -> list[models.Room]:
        honest = await super().list_rooms(asked)
        if asked and asked[0] == HONEST:
            return honest
        lies = [room for room in self.listed(self.lists) if not asked or room.name in asked]
        return [*honest, *lies]

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        honest = await super().list_participants(name)
        return honest if name == HONEST else [*honest, *self.present]

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        honest = await super().list_dispatch(name)
        return honest if name == HONEST else [*honest, *self.under_way]

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        self.tries[name] += 1
        made = await super().create_dispatch(name, agent_name, metadata)
        return made if name == HONEST or self.made is None else self.made


@define
class Lie:
    listed: Callable[[int], Sequence[models.Room]] = lambda _: (a_room(),)
    present: Sequence[models.ParticipantInfo] = ()
    under_way: Sequence[agent_dispatch.AgentDispatch] = ()
    made: agent_dispatch.AgentDispatch | None = None
    is_had: bool = True
    """The room that is lied of is tried to be had."""
    answered: bool = False
    """Claims bring jobs; else nothing that we try brings anything."""
    looks: int = 100
    """Rooms that are looked into within `SECONDS`, at most."""


MANY = [a_room(f"liar-{n}", f"RM_{n}") for n in range(300)]

LIES = {
    "one room a hundred times": Lie(lambda _: [a_room()] * 100),
    "one SID under a hundred names": Lie(
        lambda _: [a_room(f"liar-{n}") for n in range(100)], is_had=False
    ),
    "one name with a hundred SIDs": Lie(
        lambda _: [a_room(sid=f"RM_{n}") for n in range(100)], is_had=False, looks=4_000
    ),
    "other SIDs in each list": Lie(
        lambda n: [a_room(sid=f"RM_{n}_{k}") for k in range(100)], is_had=False, looks=4_000
    ),
    "hundreds of rooms": Lie(lambda _: MANY, is_had=False, answered=True, looks=4_000),
    "rooms without a name": Lie(lambda _: [a_room("", f"RM_{n}") for n in range(9)], is_had=False),
    "rooms without a SID": Lie(lambda _: [a_room(f"a{n}", "") for n in range(9)], is_had=False),
    "rooms without anything": Lie(lambda _: [models.Room()] * 9, is_had=False),
    "names without end": Lie(lambda _: [a_room(LONG, "RM_a"), a_room("a", LONG)], is_had=False),
    "a room of before time began": Lie(
        lambda _: (a_room(creation_time=-FUTURE, creation_time_ms=-FUTURE),)
    ),
    "a room of the end of time": Lie(
        lambda _: (a_room(creation_time=FUTURE, creation_time_ms=FUTURE),)
    ),
    "people by the thousand million": Lie(lambda _: (a_room(num_participants=2**31),)),
    "a dispatch from the future": Lie(under_way=[a_dispatch(FUTURE)]),
    "a dispatch of before time began": Lie(under_way=[a_dispatch(-FUTURE)]),
    "a job from the future": Lie(
        under_way=[
            agent_dispatch.AgentDispatch(
                id="AD_liar", agent_name="watcher",
                state=agent_dispatch.AgentDispatchState(
                    jobs=[{"id": "AJ_1", "state": {"started_at": FUTURE}}]
                ),
            )
        ]
    ),
    "a thousand dispatches": Lie(under_way=[a_dispatch(1)] * 1_000),
    "a dispatch that has no id": Lie(made=agent_dispatch.AgentDispatch()),
    "the dispatch of another room": Lie(made=a_dispatch(1, room="another")),
    "a dispatch that was made in the future": Lie(made=a_dispatch(FUTURE)),
    "our own identity, which we are not": Lie(
        present=[an_agent("agent-AJ_1", 1, **{INSTANCE_ATTRIBUTE: "here"})]
    ),
    "a thousand agents of ours": Lie(
        present=[an_agent(f"agent-{n}", n, **{INSTANCE_ATTRIBUTE: "here"}) for n in range(300)]
    ),
    "an agent that has no identity": Lie(present=[an_agent("", -FUTURE)]),
    "people with names of ours": Lie(
        present=[
            models.ParticipantInfo(identity="agent-AJ_1", attributes={INSTANCE_ATTRIBUTE: "here"})
        ]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
async def test_the_reconciler_lives_through_every_lie(
    nursery: trio.Nursery, autojump_clock: MockClock, what: str
) -> None:
    lie = LIES[what]
    rooms = LyingApi(
        rooms=[HONEST], listed=lie.listed, present=lie.present,
        under_way=lie.under_way, made=lie.made,
    )  # fmt: skip
    scene = ReconcilerScene(nursery, rooms)
    scene.worker.free = 2 * len(MANY)
    tried = Counter[str]()

    def claimed(sid: str) -> None:
        tried[sid] += 1
        if lie.answered:
            scene.worker.take_sids(sid)

    scene.worker.on_claim = claimed
    with structlog.testing.capture_logs() as logs:
        reconciler = scene.start()
        await trio.sleep(SECONDS)
    assert rooms.lists > 10, "it goes on"
    assert rooms.tries[HONEST] + tried[f"RM_{HONEST}"] >= 1, "the honest room is had"
    had = rooms.tries["liar"] + tried["RM_liar"]
    if lie.is_had:
        assert 1 <= had <= TRIES
    assert max([*rooms.tries.values(), *tried.values()]) <= max(TRIES, 100 if not lie.is_had else 0)
    assert rooms.looks <= lie.looks
    assert not [line for line in logs if line["event"] == "reconciler_fault"], logs[:3]
    memory = cast("dict[str, object]", reconciler._state.memory)
    assert len(memory) <= 10_001
    assert all(len(text) <= 2_000 for line in logs for text in map(str, line.values()))
    assert "" not in rooms.tries
