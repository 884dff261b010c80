"""Listens to the agents of one room, and never asks them anything.

What an agent sends on ``lk.agent.session`` becomes events of the session.  Only participants of
kind AGENT are believed.  A message may come before its sender is announced, by 14 to 32 ms: it
waits, bounded, until the kind of the sender is known.  It may also come after the sender's leave.

The usage of models comes at least once a second, as running totals.  The newest one waits, and
comes with the next turn of the agent, or when the agent leaves.

`take_part` and `is_taken` run on native threads, which may call `kind_of`.  Everything else runs on
the trio thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from attrs import frozen

from actors.rooms.room_port import OfferEvent
from actors.session.agent_reports import AgentTurnReported, AgentUsageReported
from actors.session.texts import cut_identity
from bridge.livekit.rooms import agent_messages
from bridge.livekit.rooms.agent_speech import AgentSpeech
from bridge.livekit.rooms.agent_streams import (
    AGENT_SESSION,
    TRANSCRIPTION,
    AgentStream,
    AgentStreams,
)

if TYPE_CHECKING:
    from livekit.protocol.agent_pb import agent_session

Sender: TypeAlias = Literal["agent", "other", "unknown"]
"""`unknown`: not announced yet."""

MOST_WAITING: Final = 64
"""Messages of one room whose senders are not announced yet."""
MOST_WAITING_BYTES: Final = 256 * 1024
MOST_USAGE: Final = 16 * 1024
"""Bytes of one message with totals."""
MOST_LEFT: Final = 32
"""Agents of one room that left and whose last messages may still come."""

_UNUSED: Final = frozenset({
    None, "user_input_transcribed", "overlapping_speech", "amd_prediction", "eot_prediction",
    "debug_message", "agent_false_interruption", "function_tools_started",
})  # fmt: skip
"""Events that change nothing here: they wake nobody."""


@frozen
class AgentPacket:
    """One message of somebody, parsed."""

    identity: str
    message: agent_session.AgentSessionMessage
    size: int


Arrival: TypeAlias = AgentPacket | AgentStream
"""A message, or a live transcription."""


_NUMBERS: Final = frozenset({AGENT_SESSION})
_WITH_TEXTS: Final = frozenset({AGENT_SESSION, TRANSCRIPTION})


def topics_of(speech: AgentSpeech | None) -> frozenset[str]:
    """The topics that are listened to."""
    return _WITH_TEXTS if speech is not None and speech.keeps_speech else _NUMBERS


class AgentListener:
    """The agents of one room.  `put` hands what came to the trio thread, which gives it to
    `take`.  `speech` takes the texts, where some are kept."""

    def __init__(
        self,
        kind_of: Callable[[str], Sender],
        put: Callable[[float, Arrival], object],
        offer: OfferEvent,
        speech: AgentSpeech | None = None,
    ) -> None:
        self._kind_of = kind_of
        self._put = put
        self._offer = offer
        self._speech = speech
        self._streams = AgentStreams(topics_of(speech), self._done)
        self.is_taken: Final = self._streams.is_taken
        self.take_part: Final = self._streams.take_part
        self._usage: dict[str, tuple[float, AgentPacket]] = {}
        """The newest totals of each sender.  Written by native threads."""
        self._waiting: deque[tuple[float, AgentPacket]] = deque()
        self._waiting_bytes = 0
        self._left_agents: dict[str, None] = {}
        """Agents that left, the oldest first."""
        self._calls_updated: set[str] = set()
        """Agents that report the begin and the end of each call."""

    # ------------------------------------------------------------ on a native thread

    def _done(self, at: float, stream: AgentStream) -> None:
        if stream.topic == TRANSCRIPTION:
            self._put(at, stream)
            return
        message = agent_messages.parse(stream.content)
        if message is None:
            return
        packet = AgentPacket(stream.identity, message, len(stream.content))
        if message.HasField("event"):
            kind = message.event.WhichOneof("event")
            if kind in _UNUSED:
                return
            if kind == "session_usage_updated":
                self._keep_usage(at, packet)
                return
        elif not message.HasField("response"):
            return  # A request of anybody, or sound of a console.
        self._put(at, packet)

    def _keep_usage(self, at: float, packet: AgentPacket) -> None:
        """Totals of people take no place.  Those of an agent with the identity of a person who just
        left come again within a second."""
        if packet.size > MOST_USAGE or self._kind_of(packet.identity) == "other":
            return
        if packet.identity in self._usage or len(self._usage) < MOST_WAITING:
            self._usage[packet.identity] = at, packet

    # ------------------------------------------------------------ on the trio thread

    def take(self, at: float, packet: Arrival) -> None:
        """A message or a transcription came at `at`."""
        if isinstance(packet, AgentStream):
            self._take_transcription(packet)
            return
        sender = self._kind_of(packet.identity)
        if sender == "agent" or (sender == "unknown" and packet.identity in self._left_agents):
            self._report(at, packet)
        elif sender == "unknown":
            self._wait(at, packet)

    def _take_transcription(self, stream: AgentStream) -> None:
        """Only an agent is believed, also about what a person said."""
        agent = self._is_agent(stream.identity)
        known = agent or self._kind_of(stream.identity) == "other"
        if self._speech is not None and known and self._is_agent(stream.writer):
            self._speech.take_stream(stream, agent=agent)

    def _is_agent(self, identity: str) -> bool:
        return self._kind_of(identity) == "agent" or identity in self._left_agents

    def joined(self, identity: str) -> None:
        """Somebody was announced: messages of theirs may have waited for it."""
        self._left_agents.pop(identity, None)
        if not self._waiting:
            return
        mine = [one for one in self._waiting if one[1].identity == identity]
        if not mine:
            return
        self._waiting = deque(one for one in self._waiting if one[1].identity != identity)
        self._waiting_bytes = sum(one.size for _, one in self._waiting)
        for at, packet in mine:
            self.take(at, packet)

    def left(self, identity: str, *, agent: bool) -> None:
        """Somebody left; `agent`: an agent did."""
        self._end_speech(identity, agent=agent)
        if not agent:
            self._usage.pop(identity, None)
            return
        self._report_usage(identity, believed=True)
        self._left_agents[identity] = None
        if len(self._left_agents) > MOST_LEFT:
            del self._left_agents[next(iter(self._left_agents))]

    def close(self) -> None:
        """We are about to leave the room."""
        for identity in tuple(self._usage):
            self._report_usage(identity, believed=identity in self._left_agents)
        self._end_speech()
        self._waiting.clear()

    def _end_speech(self, identity: str | None = None, *, agent: bool = False) -> None:
        """Somebody left, or we leave: what they said so far is all."""
        broken = self._streams.forget(identity)
        if self._speech is None:
            return
        for stream in broken:
            if stream.topic == TRANSCRIPTION:
                by_agent = agent or self._kind_of(stream.identity) == "agent"
                self._speech.take_stream(stream, agent=by_agent)
        self._speech.flush(identity)

    def _wait(self, at: float, packet: AgentPacket) -> None:
        self._waiting.append((at, packet))
        self._waiting_bytes += packet.size
        while len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
            _, oldest = self._waiting.popleft()
            self._waiting_bytes -= oldest.size

    def _report(self, at: float, packet: AgentPacket) -> None:
        identity, message = packet.identity, packet.message
        if self._speech is not None:
            self._speech.take_message(at, identity, message)
        if message.HasField("event") and message.event.HasField("tool_execution_updated"):
            self._calls_updated.add(identity)
        events = agent_messages.events_of(
            at, cut_identity(identity), message, calls_updated=identity in self._calls_updated
        )
        for event in events:
            self._offer(event)
            if isinstance(event, AgentTurnReported):
                self._report_usage(identity, believed=True)

    def _report_usage(self, identity: str, *, believed: bool = False) -> None:
        newest = self._usage.pop(identity, None)
        if newest is None or not (believed or self._kind_of(identity) == "agent"):
            return
        at, packet = newest
        events = agent_messages.events_of(
            at, cut_identity(identity), packet.message, calls_updated=True
        )
        for event in events:
            if isinstance(event, AgentUsageReported):
                self._offer(event)
