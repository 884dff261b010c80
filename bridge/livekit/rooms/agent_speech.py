"""Texts of agents and of people who talk to them, for `AgentTexts`, where texts are kept.

The agent's own items have the text of each turn, when it is over.  Until then there is the live
transcription (``lk.transcription``): of an agent one stream a speech, which breaks off where the
agent dies; of a person a new stream for each interim, with the whole text so far, sent by the
agent in the person's name.  The newest interim of a segment waits.  It is handed over when it is
final, or when its speaker or the agent leaves.

Everything runs on the trio thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from actors.journal.conversation_texts import ConversationText, Speaker, TextKind
from actors.rooms.agent_texts import AgentTexts
from actors.session.agent_run import CLOCK_TOLERANCE, job_of
from bridge.livekit.rooms.agent_messages import ASSISTANT, USER, time_of_stamp
from bridge.livekit.rooms.agent_streams import AgentStream

if TYPE_CHECKING:
    from livekit.protocol.agent_pb import agent_session

SEGMENT: Final = "lk.segment_id"
FINAL: Final = "lk.transcription_final"
MOST_INTERIM: Final = 32
"""Segments of one room of which the newest interim waits."""
MOST_AGENTS: Final = 32
"""Agents of one room whose clocks are known."""
MOST_CALLS: Final = 64
"""Calls of one room that go on."""


@frozen
class RoomName:
    """The room of the texts."""

    room: str
    room_sid: str


@frozen
class _Call:
    item: str
    name: str


class AgentSpeech:
    """The texts of one room.  `where` gives the room as it is now."""

    def __init__(self, texts: AgentTexts, where: Callable[[], RoomName]) -> None:
        self._texts = texts
        self.keeps_speech: Final = texts.keeps("speech")
        """Without it nobody needs the live transcription."""
        self._where = where
        self._user = ""
        """The person who talked last to an agent."""
        self._agent = ""
        """The agent that reported last."""
        self._interim: dict[str, ConversationText] = {}
        """By segment, the oldest first."""
        self._calls: dict[tuple[str, str], _Call] = {}
        """By agent and the model's id of the call."""
        self._offsets: dict[str, float] = {}
        """By agent: seconds to add to its times for ours, the least delay of a message."""

    def take_message(
        self, at: float, identity: str, message: agent_session.AgentSessionMessage
    ) -> None:
        """An agent sent this."""
        if not message.HasField("event"):
            return
        self._agent, event = identity, message.event
        sent_at = time_of_stamp(event, "created_at")
        if sent_at is not None:
            self._note_clock(identity, at - sent_at)
            at = self._by_our_clock(identity, sent_at)
        match event.WhichOneof("event"):
            case "conversation_item_added":
                self._take_item(at, identity, event.conversation_item_added.item)
            case "tool_execution_updated":
                self._take_call(at, identity, event.tool_execution_updated)
            case _:
                pass

    def _note_clock(self, identity: str, delay: float) -> None:
        self._offsets[identity] = min(delay, self._offsets.get(identity, delay))
        if len(self._offsets) > MOST_AGENTS:
            del self._offsets[next(iter(self._offsets))]

    def _by_our_clock(self, identity: str, time: float) -> float:
        """A time of an agent by our clock, as the session has it (`AgentRun.to_our_clock`)."""
        offset = self._offsets.get(identity, 0.0)
        return time + offset if abs(offset) > CLOCK_TOLERANCE else time

    def take_stream(self, stream: AgentStream, *, agent: bool) -> None:
        """A live transcription of somebody came to its end, or broke off."""
        text, segment = stream.content.decode("utf-8", "replace"), stream.attributes.get(SEGMENT)
        if not text or not segment or not (agent or self._agent):
            return
        if not agent:
            self._user = stream.identity
        before = self._interim.pop(segment, None)
        began = stream.began_at if before is None else before.at
        speech = self._text(
            "speech", "agent" if agent else "person", stream.identity, segment, began, text,
            interim=True,
        )  # fmt: skip
        if agent or stream.broken or stream.attributes.get(FINAL) == "true":
            self._texts.add(speech)
            return
        self._interim[segment] = speech
        if len(self._interim) > MOST_INTERIM:
            self._texts.add(self._interim.pop(next(iter(self._interim))))

    def flush(self, identity: str | None = None) -> None:
        """Hand over what waits: of somebody who left, or all."""
        for segment, text in tuple(self._interim.items()):
            if identity is None or identity in (text.identity, self._agent):
                del self._interim[segment]
                self._texts.add(text)

    def _take_item(
        self, at: float, identity: str, item: agent_session.ChatContext.ChatItem
    ) -> None:
        message = item.message
        if not item.HasField("message") or message.role not in (USER, ASSISTANT):
            return
        agent, numbers = message.role == ASSISTANT, message.metrics
        began = time_of_stamp(numbers, "started_speaking_at")
        ended = time_of_stamp(numbers, "stopped_speaking_at")
        text = " ".join(one.text for one in message.content if one.text)
        self._texts.add(
            self._text(
                # What a person wrote has no time of speech.
                "speech" if agent or began is not None else "chat",
                "agent" if agent else "person",
                identity if agent else self._user,
                message.id,
                at if began is None else self._by_our_clock(identity, began),
                text,
                ended_at=None if ended is None else self._by_our_clock(identity, ended),
            )
        )

    def _take_call(self, at: float, identity: str, update: Any) -> None:
        if update.HasField("started"):
            call = update.started.function_call
            self._calls[identity, call.call_id] = _Call(call.id, call.name)
            if len(self._calls) > MOST_CALLS:
                del self._calls[next(iter(self._calls))]
            self._add_payload("tool_arguments", at, identity, call.id, call.name, call.arguments)
        elif update.HasField("ended"):
            ended = update.ended
            known = self._calls.pop((identity, ended.call_id), None)
            if known is not None:
                self._add_payload(
                    "tool_output", at, identity, known.item, known.name, ended.message
                )

    def _add_payload(
        self, kind: TextKind, at: float, identity: str, item: str, name: str, text: str
    ) -> None:
        self._texts.add(self._text(kind, "agent", identity, item, at, text, name=name))

    def _text(
        self,
        kind: TextKind,
        speaker: Speaker,
        identity: str,
        item: str,
        at: float,
        text: str,
        **more: Any,
    ) -> ConversationText:
        where, agent = self._where(), identity if speaker == "agent" else self._agent
        return ConversationText(
            where.room, where.room_sid, job_of(agent), item, kind, speaker, identity, at, text,
            **more,
        )  # fmt: skip
