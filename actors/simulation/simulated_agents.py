"""Voice agents in a simulation: turns with ids that are known, forged ones, and their laws.

An agent joins the room at its first step and sends a turn at each later one, as the bridge gives
them to a session.  At some steps a person sends the same kind of message: that must change nothing.
Where a plan has no agents, no session has any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, final

from actors.session import SessionState
from actors.session.agent_reports import (
    AgentActivityReported,
    AgentMessage,
    AgentTurn,
    AgentTurnReported,
    AgentUserReported,
)
from actors.session.agent_run import AgentRun
from actors.simulation.plan import Step
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

FORGED_SHARE: Final = 0.25
"""Of the steps, in which a person sends what an agent would."""
LEAVING_SHARE: Final = 0.1
DELAY: Final = 0.75
"""Seconds of each answer."""


def agent_identity(room: SimulatedRoom) -> str:
    """The agent of a room, with LiveKit's identity of a job."""
    return f"agent-AJ_{room.sid}"


@final
class SimulatedAgents:
    """All agents of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.turns: dict[str, int] = {}
        """Turns that each agent sent while somebody watched, by its identity."""
        self._before: dict[tuple[int, str], int] = {}
        """The turns that a session had at an earlier check."""
        self._items = 0

    def play(self, room: SimulatedRoom, identity: str, step: Step) -> None:
        """One step in this room.  `identity`: the person who forges, where somebody does."""
        world, agent = self._world, agent_identity(room)
        if not world.plan.agents or not room.watchers:
            return
        if step.x < FORGED_SHARE:
            if identity in room.people:
                world.inject("forged turn")
                self._send(room, identity, step)
        elif agent not in room.people:
            room.join(agent, kind="agent", attributes={"lk.agent_name": "helper"})
        elif step.x > 1.0 - LEAVING_SHARE:
            room.people[agent].leave()
        else:
            world.inject("turn")
            self.turns[agent] = self.turns.get(agent, 0) + 1
            self._send(room, agent, step)

    def _send(self, room: SimulatedRoom, identity: str, step: Step) -> None:
        self._items += 1
        at = room.now()
        turn = AgentTurn(f"item_{self._items}", "agent", at - 1.0, at, interrupted=step.n % 2 == 0)
        messages: tuple[AgentMessage, ...] = (
            AgentUserReported(at, identity, at - 1.0 - DELAY - 1.0, "speaking"),
            AgentUserReported(at, identity, at - 1.0 - DELAY, "listening"),
            AgentActivityReported(at, identity, at - 1.0, "speaking"),
            AgentActivityReported(at, identity, at, "listening"),
            AgentTurnReported(at, identity, at, turn),
        )
        for one in messages:
            room.tell(one)

    # ------------------------------------------------------------ laws

    def broken_laws(self) -> Mapping[str, list[str]]:
        """The laws of all sessions that are stored, at any moment of a simulation."""
        world = self._world
        stored = [(n, world.disk.session(n).state) for n in world.disk.numbers]
        if not world.plan.agents:
            broken = [f"{s.room_sid}: has agents" for _, s in stored if s.agents is not None]
            return {"a room without agents has none": broken}
        return {
            "each turn of an agent counts once": [
                one for number, state in stored for one in self._wrong_turns(number, state)
            ],
            "what a person forges is in no run": [
                f"{state.room_sid}: {run.identity} has a run"
                for _, state in stored
                for run in _runs(state)
                if not run.identity.startswith("agent-")
            ],
            "delays are by the agent's own times": [
                f"{state.room_sid}: {delay} s, in truth {DELAY}"
                for _, state in stored
                if self._is_exact(state)
                for run in _runs(state)
                for delay in run.delays.values
                if abs(delay - DELAY) > 0.001
            ],
        }

    def _wrong_turns(self, number: int, state: SessionState) -> Iterator[str]:
        exact = self._is_exact(state)
        for run in _runs(state):
            sent = self.turns.get(run.identity, 0)
            if run.turns > sent or (exact and run.turns != sent):
                yield f"{state.room_sid}: {run.turns} turns of {run.identity}, in truth {sent}"
            before = self._before.get((number, run.identity), 0)
            if run.turns < before:
                yield f"{state.room_sid}: {run.turns} turns of {run.identity}, before {before}"
            self._before[number, run.identity] = run.turns

    def _is_exact(self, state: SessionState) -> bool:
        """True if no event was lost, and nothing is on its way to the disk."""
        truth = self._world.truths.by_sid.get(state.room_sid)
        down = state.gap_since is not None and state.gap_since != state.ended_at
        lost = state.gaps or state.truncated.gaps or state.truncated.dropped or down
        return truth is not None and truth.exact and not lost


def _runs(state: SessionState) -> Iterator[AgentRun]:
    if state.agents is not None:
        yield from state.agents.runs.values()
