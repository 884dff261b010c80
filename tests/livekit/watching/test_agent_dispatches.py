"""Dispatches of watched rooms are listed in time, and within a budget.  Virtual time."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from attrs import define, field
from livekit.protocol import agent, agent_dispatch, models

from actors.session import SessionState, Watching, apply, begin
from actors.session.agent_reports import AgentDispatchListed
from actors.session.room_info import ParticipantInfo, Roster
from bridge.livekit.api_errors import Unavailable
from bridge.livekit.watching.agent_dispatches import BUDGET, BURST, SMALL_BUDGET, AgentDispatches


@define(eq=False)
class Scene:
    """Rooms that are watched, and the server's lists of their dispatches."""

    states: dict[str, SessionState] = field(factory=dict[str, SessionState])
    dispatches: dict[str, list[agent_dispatch.AgentDispatch]] = field(
        factory=dict[str, list[agent_dispatch.AgentDispatch]]
    )
    listed: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    reported: list[tuple[str, AgentDispatchListed]] = field(
        factory=list[tuple[str, AgentDispatchListed]]
    )
    participants: dict[str, list[models.ParticipantInfo]] = field(
        factory=dict[str, list[models.ParticipantInfo]]
    )
    fails: bool = False

    def watch(self, room: str, *people: ParticipantInfo) -> None:
        sid = f"RM_{room}"
        state = begin(room, sid, (), "worker", "watcher", trio.current_time())
        roster = Roster(sid, "", people)
        self.states[room], _ = apply(state, Watching(trio.current_time(), roster))

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        await trio.lowlevel.checkpoint()
        self.listed.append((round(trio.current_time(), 1), name))
        if self.fails:
            raise Unavailable("no response from servers (HTTP 503)")
        return self.dispatches.get(name, [])

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        await trio.lowlevel.checkpoint()
        return self.participants.get(name, [])

    def report(self, sid: str, event: AgentDispatchListed) -> None:
        self.reported.append((sid, event))
        room = sid.removeprefix("RM_")
        self.states[room], _ = apply(self.states[room], event)

    def service(self) -> AgentDispatches:
        return AgentDispatches(
            self, self.states.values, self.report,
            clock=trio.current_time, own_names={"watcher"},
        )  # fmt: skip


def dispatched(name: str, at: float, *jobs: str, **state: Any) -> agent_dispatch.AgentDispatch:
    of = agent_dispatch.AgentDispatchState(
        created_at=int(at * 1e9), jobs=[agent.Job(id=job) for job in jobs], **state
    )
    return agent_dispatch.AgentDispatch(id=f"AD_{name}", agent_name=name, state=of)


def alice() -> ParticipantInfo:
    return ParticipantInfo("alice", "PA_1", trio.current_time())


async def test_a_dispatch_is_reported_in_time_and_once_until_it_has_a_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.service().run)
        scene.watch("one", alice())
        await trio.sleep(20)
        made = trio.current_time()
        scene.dispatches["one"] = [
            dispatched("watcher", made), dispatched("", made), dispatched("helper", made),
            dispatched("over", made, deleted_at=1),
        ]  # fmt: skip
        await trio.sleep(9)
        (agents,) = (state.agents for state in scene.states.values())
        (sid, event) = scene.reported[0]
        assert (len(scene.reported), sid, event.agent_name) == (1, "RM_one", "helper")
        assert event.at - event.created_at <= 5
        assert agents is not None
        assert agents.due is not None
        assert agents.due <= made + 8
        scene.dispatches["one"] = [dispatched("helper", made, "AJ_1")]
        await trio.sleep(9)
        assert [event.job_ids for _, event in scene.reported] == [(), ("AJ_1",)]
        nursery.cancel_scope.cancel()


async def test_lists_have_a_budget_and_empty_rooms_are_listed_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.service().run)
        for number in range(100):
            scene.watch(f"people-{number}", alice())
        scene.watch("empty")
        await trio.sleep(40)
        assert len({room for _, room in scene.listed}) == 101, "each room once, and soon"
        assert len(scene.listed) <= 101 + BURST + 40 * SMALL_BUDGET
        scene.watch("new", alice())
        scene.dispatches["new"] = [dispatched("hidden", trio.current_time(), "AJ_1")]
        await trio.sleep(4)
        assert [sid for sid, _ in scene.reported] == ["RM_new"]
        before = len(scene.listed)
        await trio.sleep(60)
        assert len(scene.listed) - before <= BURST + 60 * SMALL_BUDGET, "nobody sees that agent"
        scene.watch("prompt", alice())
        scene.dispatches["prompt"] = [dispatched("hidden", trio.current_time())]
        await trio.sleep(4)
        scene.dispatches["prompt"] = [dispatched("hidden", trio.current_time(), "AJ_2")]
        before = len(scene.listed)
        await trio.sleep(60)
        assert len(scene.listed) - before <= BURST + 60 * SMALL_BUDGET, "it had a job in a moment"
        scene.watch("waiting", alice())
        scene.dispatches["waiting"] = [dispatched("helper", trio.current_time() - 2)]
        await trio.sleep(4)
        before = len(scene.listed)
        await trio.sleep(60)
        assert 60 * BUDGET / 2 <= len(scene.listed) - before <= 61 * BUDGET + BURST
        assert sum(name == "empty" for _, name in scene.listed) == 1
        nursery.cancel_scope.cancel()


async def test_a_server_that_does_not_answer_is_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene(fails=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.service().run)
        scene.watch("one", alice())
        scene.dispatches["one"] = [dispatched("helper", 0.0)]
        await trio.sleep(10)
        scene.fails = False
        await trio.sleep(10)
        assert len(scene.reported) == 1
        nursery.cancel_scope.cancel()


async def test_an_agent_that_is_there_and_hidden_is_not_missing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.service().run)
        for room, hidden in (("hidden", True), ("seen", False)):
            scene.watch(room, alice())
            one = dispatched("helper", trio.current_time(), "AJ_1")
            one.state.jobs[0].state.participant_identity = "agent-1"
            scene.dispatches[room] = [one]
            permission = models.ParticipantPermission(hidden=hidden)
            scene.participants[room] = [
                models.ParticipantInfo(identity="agent-1", permission=permission)
            ]
        await trio.sleep(30)
        assert [sid for sid, _ in scene.reported] == ["RM_seen"]
        nursery.cancel_scope.cancel()
