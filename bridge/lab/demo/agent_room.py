"""A room in which a voice agent talks with a caller, and what the worker knows of it.

The agent is a stub of ours that speaks the protocol of livekit-agents (`ScriptedAgent`).  Its log
of truth is compared with the session.  The room is none of the story's (`side_rooms`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, final
from uuid import uuid4

import attrs
import trio
from attrs import frozen

from actors.session import SessionView
from bridge.lab.demo.differences import Difference, Near, count_values, diff
from bridge.lab.demo.play_script import WatchingWorker
from bridge.lab.people import People, PeopleError, Person
from bridge.lab.voice_agent.scripted_agent import (
    PROVIDER,
    ScriptedAgent,
    SentTruth,
    SentTurn,
    TurnDelays,
)

ROOM: Final = "voice agent"
CALLER: Final = "caller"
AGENT: Final = "stub agent"
WITHIN: Final = 60.0
"""Seconds."""
RECEIVED_WITHIN: Final = 10.0
"""Seconds until the worker must have what was sent last; else the comparison shows it."""
COPIED: Final = 0.001
"""Seconds: delays are copied out of a message."""
COMPUTED: Final = 0.010
"""Seconds: computed from the times of two messages."""
LOOK_SECONDS: Final = 0.2


@frozen
class AgentComparison:
    """The chapter of the voice agent."""

    truth: SentTruth
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


@final
class AgentRoom:
    """The room, its caller and its agent."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._truth = SentTruth()
        self._error = "it was not played"
        self._job = f"AJ_{uuid4().hex[:12]}"

    async def play(self, worker: WatchingWorker) -> None:
        """The whole conversation."""
        caller = await self._people.join(ROOM, CALLER)
        await caller.publish("microphone")
        await _received(caller, worker)
        agent = await ScriptedAgent.enter(self._people, ROOM, self._job, AGENT)
        self._truth = agent.truth
        await _greeting(agent)
        await _question(agent, caller)
        await _interruption(agent, caller)
        await _failure(agent, caller)
        self._error = ""
        # What was just sent is lost where its sender leaves.
        with trio.move_on_after(RECEIVED_WITHIN):
            while self.compare(await worker.sessions()).differences:  # noqa: ASYNC110
                await trio.sleep(LOOK_SECONDS)
        await agent.person.leave()
        await caller.leave()

    def fail(self, error: str) -> None:
        """It could not be played."""
        self._error = error

    def compare(self, sessions: Sequence[SessionView]) -> AgentComparison:
        """Compare what the agent sent with what the session has."""
        truth = self._truth
        turns = {turn.id: _wanted(turn) for turn in truth.turns}
        wanted: Mapping[str, Any] = {
            "error": "",
            "agent": AGENT,
            "job": self._job,
            "turn_count": len(turns),
            "turns": turns,
            "states": list(truth.states),
            "calls": [
                {"tool": call.name, "result": "ok" if call.ok else "error",
                 "seconds": Near(call.seconds, COPIED)}
                for call in truth.calls
            ],
            "interruptions": sum(turn.interrupted for turn in truth.turns),
            "errors": truth.errors,
            "usage": {kind: {f"{PROVIDER}/{kind}": one} for kind, one in truth.usage.items()},
        }  # fmt: skip
        actual: dict[str, Any] = {"error": self._error}
        for session in sessions:
            if session.room == ROOM:
                actual |= _actual(session)
        return AgentComparison(
            truth, count_values(wanted), tuple(diff("voice agent", wanted, actual))
        )


def _wanted(turn: SentTurn) -> dict[str, Any]:
    sent = turn.delays.delay is not None
    delays = {**attrs.asdict(turn.delays), "delay": turn.delay}
    return {
        "role": turn.role,
        "interrupted": turn.interrupted,
        **{
            name: None
            if seconds is None
            else Near(seconds, COPIED if sent or name != "delay" else COMPUTED)
            for name, seconds in delays.items()
        },
    }


def _actual(session: SessionView) -> dict[str, Any]:
    shown: dict[str, Any] = {"turns": {}, "calls": [], "states": []}
    for entry in session.timeline or ():
        if entry.event == "agent_turn":
            shown["turns"][entry.item] = {
                "role": entry.role,
                "interrupted": entry.interrupted,
                "delay": entry.delay,
                "first_token": entry.first_token,
                "first_byte": entry.first_byte,
                "transcription_delay": entry.transcription_delay,
                "end_of_turn_delay": entry.end_of_turn_delay,
            }
        elif entry.event == "agent_tool_call":
            shown["calls"].append(
                {"tool": entry.tool, "result": entry.result, "seconds": entry.seconds}
            )
        elif entry.event == "agent_state":
            shown["states"].append(entry.state)
    for person in session.participants:
        if person.agent is not None and person.agent.runs:
            run = person.agent.runs[-1]
            shown |= {
                "turn_count": run.turns,
                "agent": person.agent.name,
                "job": run.job_id,
                "interruptions": run.interruptions,
                "errors": run.errors,
                "usage": run.usage,
            }
    return shown


# ---------------------------------------------------------------- the conversation

QUICK: Final = TurnDelays(transcription_delay=0.25, end_of_turn_delay=0.45)
"""Of the caller's turns."""


async def _received(caller: Person, worker: WatchingWorker) -> None:
    """Wait until the worker gets messages of the room: earlier ones are lost."""
    while True:
        await caller.send_data(b"ready")
        with trio.move_on_after(2.0):
            while True:
                for session in await worker.sessions():
                    messages = session.data_messages
                    if session.room == ROOM and messages is not None and messages.total:
                        return
                await trio.sleep(LOOK_SECONDS)


async def _speech(agent: ScriptedAgent, seconds: float) -> None:
    await agent.be("speaking")
    await trio.sleep(seconds)


async def _greeting(agent: ScriptedAgent) -> None:
    await _speech(agent, 0.8)
    await agent.use(tts={"characters_count": 20, "audio_duration": 0.8})
    await agent.own_turn(TurnDelays(first_byte=0.1))
    await agent.be("listening")


async def _listen(agent: ScriptedAgent, caller: Person, seconds: float) -> None:
    """The caller speaks, and the agent knows a little later that it is over."""
    began = time.time()
    await agent.hear(True)
    await caller.talk(seconds)
    await agent.hear(False, ago=0.2)
    await agent.user_turn(began, QUICK)
    await agent.be("thinking")


async def _question(agent: ScriptedAgent, caller: Person) -> None:
    """A question, a tool, an answer."""
    await _listen(agent, caller, 0.8)
    await trio.sleep(0.3)
    await agent.call("weather", 0.3, ok=True)
    await _speech(agent, 1.0)
    await agent.use(
        llm={"input_tokens": 100, "input_cached_tokens": 10, "output_tokens": 25},
        tts={"characters_count": 55, "audio_duration": 1.8},
        stt={"audio_duration": 0.8},
    )
    await agent.own_turn(TurnDelays(1.234, first_token=0.25, first_byte=0.125))
    await agent.be("listening")


async def _interruption(agent: ScriptedAgent, caller: Person) -> None:
    """An answer without a delay of its own, which the caller interrupts."""
    await _listen(agent, caller, 0.6)
    await _speech(agent, 1.0)
    began = time.time()
    await agent.hear(True)
    await caller.talk(0.6)
    await agent.be("listening")
    await agent.own_turn(TurnDelays(first_token=0.25, first_byte=0.125), interrupted=True)
    await agent.hear(False, ago=0.1)
    await agent.user_turn(began, QUICK)


async def _failure(agent: ScriptedAgent, caller: Person) -> None:
    """A tool that fails, then the model, then an answer."""
    await _listen(agent, caller, 0.6)
    await agent.call("booking", 0.05, ok=False)
    await agent.fail()
    await _speech(agent, 0.8)
    await agent.use(
        llm={"input_tokens": 400, "input_cached_tokens": 40, "output_tokens": 75},
        tts={"characters_count": 120, "audio_duration": 3.6},
        stt={"audio_duration": 2.6},
    )
    await agent.own_turn(TurnDelays(2.5, first_token=1.5, first_byte=0.125))
    await agent.be("listening")


async def play_agent_room(room: AgentRoom | None, worker: WatchingWorker) -> None:
    """Play the conversation beside the story, where the demo has one."""
    if room is None:
        return
    try:
        with trio.move_on_after(WITHIN):
            await room.play(worker)
    except PeopleError as error:
        room.fail(str(error))
