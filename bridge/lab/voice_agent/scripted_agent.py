"""An agent of our own that speaks the protocol of livekit-agents over a real connection.

It is a participant of kind AGENT that publishes a microphone, and sends what a session of
livekit-agents sends to everybody in its room: byte streams on the topic ``lk.agent.session``, one
protobuf message each.  It has no models.  Its caller says what happens, and it keeps a log of truth
of what it sent.  The demo has it, because livekit-agents needs an environment of 310 MB.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, Literal, TypeAlias, final

from attrs import define, field, frozen
from livekit.protocol.agent_pb import agent_session as pb

from bridge.lab.people import People, Person

TOPIC: Final = "lk.agent.session"
STATE: Final = "lk.agent.state"
NAME: Final = "lk.agent.name"
PROVIDER: Final = "stub"

AgentState: TypeAlias = Literal["listening", "thinking", "speaking"]
_AGENT_STATES: Final[Mapping[AgentState, pb.AgentState]] = {
    "listening": pb.AS_LISTENING,
    "thinking": pb.AS_THINKING,
    "speaking": pb.AS_SPEAKING,
}


@frozen
class TurnDelays:
    """The delays of one turn, in seconds; None: the agent sends none."""

    delay: float | None = None
    """From the end of the user's speech to the begin of the agent's."""
    first_token: float | None = None
    first_byte: float | None = None
    transcription_delay: float | None = None
    end_of_turn_delay: float | None = None


@frozen
class SentTurn:
    """One turn as it was sent.  Times are Unix seconds."""

    id: str
    role: Literal["agent", "user"]
    began_at: float
    ended_at: float
    delays: TurnDelays
    computed: float | None = None
    """The delay by the times of the states, where it was not sent."""
    interrupted: bool = False

    @property
    def delay(self) -> float | None:
        """The facts that a listener has of it."""
        return self.computed if self.delays.delay is None else self.delays.delay


@define
class SentCall:
    """One call of a tool as it was sent."""

    name: str
    ok: bool
    seconds: float


@define
class SentTruth:
    """Everything that an agent sent."""

    turns: list[SentTurn] = field(factory=list[SentTurn])
    calls: list[SentCall] = field(factory=list[SentCall])
    states: list[AgentState] = field(factory=list[AgentState])
    errors: int = 0
    usage: dict[str, dict[str, float]] = field(factory=dict[str, dict[str, float]])
    """The last totals, by kind (`llm`, `tts`, `stt`)."""


@final
class ScriptedAgent:
    """One agent in a room.  Made by `enter`."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.truth = SentTruth()
        self._state: AgentState = "listening"
        self._user_speaks = False
        self._user_stopped_at: float | None = None
        self._spoke_at = 0.0
        self._computed: float | None = None
        self._numbers = count(1)

    @classmethod
    async def enter(cls, people: People, room: str, job: str, name: str) -> ScriptedAgent:
        """Join as the agent of a job, with a microphone."""
        attributes = {"lk.agent_name": name, NAME: name}
        person = await people.join(room, f"agent-{job}", kind="agent", attributes=attributes)
        agent = cls(person)
        await person.publish("microphone")
        await agent._send(
            agent_state_changed=pb.AgentSessionEvent.AgentStateChanged(
                old_state=pb.AS_INITIALIZING, new_state=pb.AS_LISTENING
            )
        )
        agent.truth.states.append("listening")
        await person.set_attributes({STATE: "listening"})
        return agent

    async def be(self, state: AgentState) -> None:
        """Do something else from now on; it sounds while it speaks."""
        changed = pb.AgentSessionEvent.AgentStateChanged(
            old_state=_AGENT_STATES[self._state], new_state=_AGENT_STATES[state]
        )
        if self._state == "speaking":
            await self.person.speak(False)
        at = await self._send(agent_state_changed=changed)
        if state == "speaking":
            self._spoke_at = at
            stopped, self._user_stopped_at = self._user_stopped_at, None
            self._computed = None if stopped is None else at - stopped
            await self.person.speak(True)
        self._state = state
        self.truth.states.append(state)
        await self.person.set_attributes({STATE: state})

    async def hear(self, speaks: bool, ago: float = 0.0) -> None:
        """The user speaks, or is silent, since `ago` seconds."""
        states = (pb.US_LISTENING, pb.US_SPEAKING)
        changed = pb.AgentSessionEvent.UserStateChanged(
            old_state=states[not speaks], new_state=states[speaks]
        )
        at = await self._send(time.time() - ago, user_state_changed=changed)
        self._user_stopped_at = None if speaks else at

    async def user_turn(self, began_at: float, delays: TurnDelays) -> None:
        """The user's turn since `began_at` is over."""
        turn = SentTurn(self._id(), "user", began_at, time.time(), delays)
        await self._item(turn, "a sentence of the user")

    async def own_turn(self, delays: TurnDelays, *, interrupted: bool = False) -> None:
        """The speech of the agent is over."""
        computed, self._computed = self._computed, None
        turn = SentTurn(
            self._id(), "agent", self._spoke_at, time.time(), delays, computed, interrupted
        )
        await self._item(turn, "a sentence of the agent")

    async def call(self, name: str, seconds: float, *, ok: bool) -> None:
        """A call of a tool that took so many seconds until now."""
        call_id, item = f"call_{next(self._numbers)}", self._id()
        call = pb.FunctionCall(id=item, call_id=call_id, name=name, arguments="{}")
        updated, ended_at = pb.AgentSessionEvent.ToolExecutionUpdated, time.time()
        began_at = ended_at - seconds
        started = updated(started=updated.Started(function_call=call))
        await self._send(began_at, tool_execution_updated=started)
        status = pb.TC_DONE if ok else pb.TC_ERROR
        ended = updated(ended=updated.Ended(id=call_id, call_id=call_id, status=status))
        await self._send(ended_at, tool_execution_updated=ended)
        self.truth.calls.append(SentCall(name, ok, seconds))

    async def fail(self) -> None:
        """The model failed."""
        text = "type='llm_error' label='stub.LLM' error=APIError('down') recoverable=False"
        await self._send(error=pb.AgentSessionEvent.Error(message=text))
        self.truth.errors += 1

    async def use(self, **totals: Mapping[str, float]) -> None:
        """The totals of the models so far, by kind: `llm`, `tts`, `stt`."""
        kinds: Mapping[str, Any] = {
            "llm": pb.LLMModelUsage,
            "tts": pb.TTSModelUsage,
            "stt": pb.STTModelUsage,
        }
        models = [
            pb.ModelUsage(**{kind: kinds[kind](provider=PROVIDER, model=kind, **amounts)})
            for kind, amounts in totals.items()
        ]
        usage = pb.AgentSessionUsage(model_usage=models)
        await self._send(
            session_usage_updated=pb.AgentSessionEvent.SessionUsageUpdated(usage=usage)
        )
        self.truth.usage = {kind: dict(amounts) for kind, amounts in totals.items()}

    def _id(self) -> str:
        return f"item_{self.person.sid}_{next(self._numbers)}"

    async def _item(self, turn: SentTurn, text: str) -> None:
        metrics = pb.MetricsReport()
        names = {
            "e2e_latency": turn.delays.delay,
            "llm_node_ttft": turn.delays.first_token,
            "tts_node_ttfb": turn.delays.first_byte,
            "transcription_delay": turn.delays.transcription_delay,
            "end_of_turn_delay": turn.delays.end_of_turn_delay,
        }
        for name, seconds in names.items():
            if seconds is not None:
                setattr(metrics, name, seconds)
        metrics.started_speaking_at.FromNanoseconds(int(turn.began_at * 1e9))
        metrics.stopped_speaking_at.FromNanoseconds(int(turn.ended_at * 1e9))
        message = pb.ChatMessage(
            id=turn.id,
            role=pb.ASSISTANT if turn.role == "agent" else pb.USER,
            content=[pb.ChatMessage.ChatContent(text=text)],
            interrupted=turn.interrupted,
            metrics=metrics,
        )
        item = pb.ChatContext.ChatItem(message=message)
        added = pb.AgentSessionEvent.ConversationItemAdded(item=item)
        await self._send(conversation_item_added=added)
        self.truth.turns.append(turn)

    async def _send(self, at: float | None = None, **event: Any) -> float:
        """Send an event of this time, now if there is none; the time."""
        at = time.time() if at is None else at
        one = pb.AgentSessionEvent(**event)
        one.created_at.FromNanoseconds(int(at * 1e9))
        data = pb.AgentSessionMessage(event=one).SerializeToString()
        await self.person.send_bytes(data, name=f"AS_{next(self._numbers)}", topic=TOPIC)
        return at
