"""What agents send: from real participants of kind AGENT over a real server, and made up."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from livekit.protocol.agent_pb import agent_session as pb
from livekit.rtc._proto import ffi_pb2, room_pb2

from actors.journal.conversation_texts import (
    SPOKEN_KINDS,
    TOOL_KINDS,
    ConversationText,
    TextKind,
)
from actors.rooms.agent_texts import AgentTexts
from actors.session.agent_reports import (
    AgentActivityReported,
    AgentCall,
    AgentCallReported,
    AgentErrorReported,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
    ModelUsage,
)
from actors.session.events import AttachmentReceived, DataReceived, RoomEvent
from bridge.lab.people import Person
from bridge.livekit.rooms import agent_streams, seams
from bridge.livekit.rooms.agent_listener import MOST_WAITING, AgentListener, Arrival, Sender
from bridge.livekit.rooms.agent_speech import AgentSpeech, RoomName
from bridge.livekit.rooms.agent_streams import AgentStream, AgentStreams
from bridge.livekit.rooms.intake import Intake
from bridge.livekit.rooms.room_connection import RoomConnection
from tests.livekit.rooms.room_stage import RealStage, Recorder

TOPIC = "lk.agent.session"
SECRET = "the quick brown sentence"
NOW = 1_700_000_000.25
AGENT = "agent-AJ_7"


def stamp(at: float) -> Timestamp:
    return Timestamp(seconds=int(at), nanos=round(at % 1 * 1e9))


def event(at: float = NOW, **fields: Any) -> pb.AgentSessionMessage:
    return pb.AgentSessionMessage(event=pb.AgentSessionEvent(created_at=stamp(at), **fields))


def item(number: int, role: int = pb.ASSISTANT, **metrics: Any) -> pb.AgentSessionMessage:
    text = pb.ChatMessage.ChatContent(text=SECRET)
    numbers = pb.MetricsReport(**metrics)
    message = pb.ChatMessage(id=f"item_{number}", role=role, content=[text], metrics=numbers)  # pyright: ignore[reportArgumentType]
    of = pb.ChatContext.ChatItem(message=message)
    return event(conversation_item_added=pb.AgentSessionEvent.ConversationItemAdded(item=of))


def agent_state(state: Any) -> pb.AgentSessionMessage:
    changed = pb.AgentSessionEvent.AgentStateChanged(new_state=state)
    return event(agent_state_changed=changed)


def usage(tokens: int) -> pb.AgentSessionMessage:
    model = pb.LLMModelUsage(provider="stub", model="m", input_tokens=tokens)
    totals = pb.AgentSessionUsage(model_usage=[pb.ModelUsage(llm=model)])
    updated = pb.AgentSessionEvent.SessionUsageUpdated(usage=totals)
    return event(session_usage_updated=updated)


def tool_messages() -> list[pb.AgentSessionMessage]:
    update = pb.AgentSessionEvent.ToolExecutionUpdated
    call = pb.FunctionCall(id="fc_1", call_id="call_1", name="weather", arguments=SECRET)
    ended = update.Ended(id="call_1", call_id="call_1", message=SECRET, status=pb.TC_ERROR)
    output = pb.FunctionCallOutput(call_id="call_1", output=SECRET, is_error=True)
    executed = pb.AgentSessionEvent.FunctionToolsExecuted(
        function_calls=[call], function_call_outputs=[output]
    )
    return [
        event(NOW, tool_execution_updated=update(started=update.Started(function_call=call))),
        event(NOW + 0.5, tool_execution_updated=update(ended=ended)),
        event(NOW + 0.6, function_tools_executed=executed),
    ]


ERROR = (
    f"type='llm_error' timestamp=1.5 label='stub.L' error=APIError('{SECRET}') recoverable=False"
)


def newest_totals(recorder: Recorder) -> float | None:
    totals = recorder.all(AgentUsageReported)
    if not totals:
        return None
    (model,) = totals[-1].models
    assert model == ModelUsage("llm", "stub", "m", model.amounts)
    return model.amounts["input_tokens"]


async def test_an_agents_messages_are_events_and_a_persons_are_none(real: RealStage) -> None:
    recorder = Recorder()
    agent = await real.join(AGENT, kind="agent")
    mallory = await real.join("mallory")
    info = pb.SessionResponse.GetFrameworkInfoResponse(sdk="python", sdk_version="1.8.9")
    prompt = pb.SessionResponse.GetAgentInfoResponse(instructions=SECRET)
    messages = [
        agent_state(pb.AS_SPEAKING),
        event(user_state_changed=pb.AgentSessionEvent.UserStateChanged(new_state=pb.US_AWAY)),
        usage(100),
        usage(150),
        item(1, e2e_latency=1.25, llm_node_ttft=0.5, tts_node_ttfb=0.125,
             started_speaking_at=stamp(NOW), stopped_speaking_at=stamp(NOW + 2)),
        item(2, pb.USER, transcription_delay=0.25, end_of_turn_delay=0.5),
        item(3, pb.SYSTEM),
        *tool_messages(),
        event(error=pb.AgentSessionEvent.Error(message=ERROR)),
        event(user_input_transcribed=pb.AgentSessionEvent.UserInputTranscribed(transcript=SECRET)),
        pb.AgentSessionMessage(response=pb.SessionResponse(get_agent_info=prompt)),
    ]  # fmt: skip
    later = [
        usage(200),
        pb.AgentSessionMessage(response=pb.SessionResponse(get_framework_info=info)),
    ]

    async def send_all(sender: Person, messages: list[pb.AgentSessionMessage]) -> None:
        for number, message in enumerate(messages):
            # An agent sends each as one packet; one way must not overtake the other.
            send = sender.send_file if number % 3 == 0 else sender.send_bytes
            await send(message.SerializeToString(), name="AS_1", topic=TOPIC)

    async with real.open(recorder) as opened:
        assert isinstance(opened, RoomConnection)
        await recorder.until(lambda: {AGENT, "mallory"} <= set(recorder.known()), "both")
        await mallory.send_text("hello")
        await recorder.wait(DataReceived)
        assert opened.intake.agents is None  # A room without agents pays nothing.
        await mallory.send_file(b"\xff no message", name="AS_0", topic=TOPIC)
        for sender in (mallory, agent):
            await send_all(sender, messages)
        # The newest totals come with a turn: these must not be there yet.
        await recorder.wait(AgentUsageReported)
        for sender in (mallory, agent):
            await send_all(sender, later)
        await recorder.wait(AgentVersionReported)
        await agent.leave()
        # The totals come with the next turn, or when the agent leaves.
        await recorder.until(lambda: newest_totals(recorder) == 200.0, "the last totals")
    reported: list[Any] = [one for one in recorder.events if "Agent" in type(one).__name__]
    assert {one.identity for one in reported} == {AGENT}
    reported = [one for one in reported if not isinstance(one, AgentUsageReported)]
    assert [type(one) for one in reported] == [
        AgentActivityReported, AgentUserReported, AgentTurnReported, AgentTurnReported,
        AgentCallReported, AgentCallReported, AgentErrorReported, AgentVersionReported,
    ]  # fmt: skip
    activity, user, turn, of_user, began, ended, error, version = reported
    assert (activity.sent_at, activity.activity, user.activity) == (NOW, "speaking", "away")
    assert turn.turn == AgentTurn("item_1", "agent", NOW, NOW + 2, 1.25, 0.5, 0.125)
    numbers = AgentTurn("item_2", "user", transcription_delay=0.25, end_of_turn_delay=0.5)
    assert of_user.turn == numbers
    assert began.call == AgentCall("fc_1", "call_1", "weather", NOW)
    assert ended.call == AgentCall("", "call_1", "", None, NOW + 0.5, "error")
    assert (error.kind, error.label, error.recoverable) == ("llm_error", "stub.L", False)
    assert version.version == "1.8.9"
    assert SECRET not in repr(recorder.events)
    assert [one.topic for one in recorder.all(DataReceived)] == ["lk.chat"]
    assert not recorder.all(AttachmentReceived)


class Listened:
    """A listener whose room says who is who."""

    def __init__(self, speech: AgentSpeech | None = None) -> None:
        self.kinds: dict[str, Sender] = {}
        self.events: list[RoomEvent] = []
        self.taken = 0
        self.listener = AgentListener(
            lambda identity: self.kinds.get(identity, "unknown"),
            self.take,
            self.events.append,
            speech,
        )

    def take(self, at: float, packet: Arrival) -> None:
        self.taken += 1
        self.listener.take(at, packet)

    def send(self, identity: str, message: pb.AgentSessionMessage) -> None:
        self.stream(parts(identity, message.SerializeToString()))

    def stream(self, its_parts: list[tuple[str, room_pb2.RoomEvent]]) -> None:
        for name, one in its_parts:
            self.listener.take_part(NOW, one, name)


def parts(
    identity: str, content: bytes, *, stream: str = "AS_1", topic: str = TOPIC
) -> list[tuple[str, room_pb2.RoomEvent]]:
    """The native events of one stream."""
    header, chunk, trailer = room_pb2.RoomEvent(), room_pb2.RoomEvent(), room_pb2.RoomEvent()
    for one in (header.stream_header_received, chunk.stream_chunk_received,
                trailer.stream_trailer_received):  # fmt: skip
        one.participant_identity = identity
    about = header.stream_header_received.header
    about.stream_id, about.topic, about.timestamp, about.mime_type = stream, topic, 0, ""
    part = chunk.stream_chunk_received.chunk
    part.stream_id, part.chunk_index, part.content = stream, 0, content
    end = trailer.stream_trailer_received.trailer
    end.stream_id, end.reason = stream, ""
    return [
        (agent_streams.HEADER, header),
        (agent_streams.CHUNK, chunk),
        (agent_streams.TRAILER, trailer),
    ]


def turns(events: list[RoomEvent]) -> list[str]:
    return [one.turn.id for one in events if isinstance(one, AgentTurnReported)]


def test_messages_wait_bounded_until_their_sender_is_announced() -> None:
    one = Listened()
    for number in range(MOST_WAITING + 10):
        one.send(AGENT, item(number))
    one.send("mallory", item(999))
    assert one.events == []
    one.kinds = {AGENT: "agent", "mallory": "other"}
    one.listener.joined("mallory")
    one.listener.joined(AGENT)
    assert turns(one.events) == [f"item_{n}" for n in range(11, MOST_WAITING + 10)]


def test_the_last_messages_of_an_agent_that_left_count_and_those_of_a_person_do_not() -> None:
    one = Listened()
    one.kinds = {AGENT: "agent", "mallory": "other"}
    one.send(AGENT, usage(5))
    one.send("mallory", usage(6))
    one.kinds = {}
    one.listener.left(AGENT, agent=True)
    one.listener.left("mallory", agent=False)
    one.send(AGENT, item(1))
    one.send("mallory", item(2))
    one.listener.close()
    assert turns(one.events) == ["item_1"]
    totals = [one for one in one.events if isinstance(one, AgentUsageReported)]
    assert [one.models[0].amounts["input_tokens"] for one in totals] == [5]


def test_totals_that_people_send_take_no_place() -> None:
    one = Listened()
    people = [f"person-{number}" for number in range(MOST_WAITING)]
    one.kinds = {AGENT: "agent", **dict.fromkeys(people, "other")}
    for who in (*people, AGENT, AGENT):
        one.send(who, usage(5))
    one.send(AGENT, item(1))
    assert [type(it) for it in one.events] == [AgentTurnReported, AgentUsageReported]


def streams(limit: int = agent_streams.MOST_BYTES) -> tuple[AgentStreams, list[AgentStream]]:
    done = list[AgentStream]()
    return AgentStreams(frozenset({TOPIC}), lambda _, stream: done.append(stream)), done


def send(to: AgentStreams, *which: tuple[str, room_pb2.RoomEvent]) -> None:
    for name, one in which:
        to.take_part(NOW, one, name)


def test_streams_that_break_off_mix_or_are_too_long_make_no_message() -> None:
    to, done = streams()
    header, chunk, trailer = parts(AGENT, b"half")
    send(to, header, chunk)
    (broken,) = to.forget(AGENT)
    send(to, chunk, trailer)  # late parts of it
    assert (done, broken.content, broken.broken) == ([], b"half", True)
    _, foreign, end = parts("mallory", b" mallory's", stream="AS_1")
    send(to, header, chunk, foreign, end, trailer)
    assert [one.content for one in done] == [b"half"]
    send(to, *parts(AGENT, b"x" * (agent_streams.MOST_BYTES + 1)))
    send(to, *parts(AGENT, b"", topic="other"))
    assert len(done) == 1


def test_streams_that_never_end_are_bounded() -> None:
    to, done = streams()
    for number in range(3 * agent_streams.MOST_OPEN):
        send(to, *parts(AGENT, b"x", stream=f"AS_{number}")[:2])
    assert len(to.forget()) == agent_streams.MOST_OPEN
    assert done == []


def test_who_begins_streams_and_ends_none_has_few_that_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, dropped = list[Callable[[bytes], None]](), list[object]()
    monkeypatch.setattr(seams, "read_bytes", lambda _, take: reads.append(take))
    monkeypatch.setattr(seams, "drop", dropped.append)
    to, done = streams()
    opened = room_pb2.RoomEvent()
    about = opened.byte_stream_opened
    about.participant_identity, info = "mallory", about.reader.info
    about.reader.handle.id = 7
    info.stream_id, info.topic, info.total_length = "AS_1", TOPIC, 5
    info.timestamp, info.mime_type, info.name = 0, "", ""
    for _ in range(agent_streams.MOST_OPEN + 20):
        assert to.is_taken(NOW, opened, "byte_stream_opened")
    assert (len(reads), len(dropped)) == (agent_streams.MOST_OPEN, 20)
    for number, take in enumerate(reversed(reads)):  # Answers overtake one another.
        take(b"%d" % number)
    assert [one.content for one in done] == [b"%d" % n for n in reversed(range(len(reads)))]


def test_calls_of_an_older_agent_count_once_each() -> None:
    """It says only when all of them are over, and gives no ids of items."""
    one = Listened()
    one.kinds = {AGENT: "agent"}
    one.send(AGENT, tool_messages()[2])
    (call,) = (it.call for it in one.events if isinstance(it, AgentCallReported))
    assert (call.name, call.result) == ("weather", "error")
    for message in tool_messages():
        one.send(AGENT, message)
    calls = [it.call.result for it in one.events if isinstance(it, AgentCallReported)]
    assert calls == ["error", None, "error"]


class Texts(AgentTexts):
    """Takes texts as the keeper does."""

    def __init__(self, kinds: Collection[TextKind] = (*SPOKEN_KINDS, *TOOL_KINDS)) -> None:
        self.kinds = kinds
        self.texts: list[ConversationText] = []

    def keeps(self, kind: TextKind) -> bool:
        return kind in self.kinds

    def add(self, text: ConversationText) -> None:
        self.texts.append(text)

    def redact(self, room_sid: str, job_id: str) -> None:
        raise AssertionError(f"nothing in a room asks for it: {room_sid} {job_id}")

    def lines(self) -> list[tuple[str, ...]]:
        return [(one.kind, one.speaker, one.identity, one.item, one.text) for one in self.texts]


def transcription(
    identity: str, text: str, segment: str, *, final: bool, writer: str = AGENT
) -> list[tuple[str, room_pb2.RoomEvent]]:
    """An agent writes in the name of whoever spoke: only the header names that person."""
    header, chunk, trailer = parts(
        writer, text.encode(), stream=f"{segment} {text}", topic="lk.transcription"
    )
    header[1].stream_header_received.participant_identity = identity
    about = {"lk.segment_id": segment, "lk.transcription_final": "true" if final else "false"}
    header[1].stream_header_received.header.attributes.update(about)
    return [header, chunk, trailer]


def test_texts_are_handed_over_where_they_are_kept() -> None:
    texts = Texts()
    one = Listened(AgentSpeech(texts, lambda: RoomName("room", "RM_1")))
    one.kinds = {AGENT: "agent", "alice": "other"}
    one.stream(transcription("alice", "before any agent", "SG_0", final=True))
    one.send(AGENT, agent_state(pb.AS_LISTENING))
    one.stream(transcription("alice", "forged", "SG_9", final=True, writer="alice"))
    one.stream(transcription("alice", "hello", "SG_1", final=False))
    one.stream(transcription("alice", "hello there", "SG_1", final=False))
    one.stream(transcription("alice", "hello there you", "SG_1", final=True))
    one.send(AGENT, item(1, pb.USER, started_speaking_at=stamp(NOW)))
    one.send(AGENT, item(2, pb.USER))
    one.send(AGENT, item(3, pb.SYSTEM))
    for message in tool_messages():
        one.send(AGENT, message)
    one.stream(transcription("alice", "never over", "SG_2", final=False))
    one.stream(transcription(AGENT, "I am about to", "SG_3", final=False)[:2])
    one.kinds = {"alice": "other"}
    one.listener.left(AGENT, agent=True)
    assert texts.lines() == [
        ("speech", "person", "alice", "SG_1", "hello there you"),
        ("speech", "person", "alice", "item_1", SECRET),
        ("chat", "person", "alice", "item_2", SECRET),
        ("tool_arguments", "agent", AGENT, "fc_1", SECRET),
        ("tool_output", "agent", AGENT, "fc_1", SECRET),
        ("speech", "agent", AGENT, "SG_3", "I am about to"),
        ("speech", "person", "alice", "SG_2", "never over"),
    ]
    assert {(text.room_sid, text.job_id) for text in texts.texts} == {("RM_1", "AJ_7")}
    assert [text.interim for text in texts.texts] == [True] + [False] * 4 + [True] * 2
    assert SECRET not in repr(one.events)


def test_texts_of_an_agent_whose_clock_is_wrong_have_our_times() -> None:
    texts = Texts()
    speech, late = AgentSpeech(texts, lambda: RoomName("room", "RM_1")), NOW - 100
    content = pb.ChatMessage.ChatContent(text="hello")
    numbers = pb.MetricsReport(started_speaking_at=stamp(late - 2), stopped_speaking_at=stamp(late))
    said = pb.ChatMessage(id="item_1", role=pb.ASSISTANT, content=[content], metrics=numbers)
    added = pb.AgentSessionEvent.ConversationItemAdded(item=pb.ChatContext.ChatItem(message=said))
    event = pb.AgentSessionEvent(created_at=stamp(late), conversation_item_added=added)
    speech.take_message(NOW + 0.01, AGENT, pb.AgentSessionMessage(event=event))
    (text,) = texts.texts
    assert text.ended_at is not None
    assert [round(one - NOW, 2) for one in (text.at, text.ended_at)] == [-1.99, 0.01]


def test_without_a_taker_of_speech_no_transcription_is_read() -> None:
    tools = AgentSpeech(Texts(TOOL_KINDS), lambda: RoomName("room", "RM_1"))
    for one in (Listened(), Listened(tools)):
        one.kinds = {"alice": "other"}
        one.stream(transcription("alice", "hello", "SG_1", final=True))
        assert one.taken == 0


class CountedQueue(list[Any]):
    """Stands for a room's queue: each item in it wakes the trio thread."""

    put = list[Any].append


def test_streams_that_nobody_reads_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped, queue = list[object](), CountedQueue()
    monkeypatch.setattr(seams, "drop", dropped.append)
    inbox: Any = SimpleNamespace(queue=lambda _take, _merge: queue)
    unused: Any = None
    intake = Intake(
        unused, identity="", inbox=inbox, clock=lambda: NOW, drive=unused, follow_up=unused,
        is_renewal=unused, fault=unused, log_payloads=False,
    )  # fmt: skip
    for topic in ("lk.transcription", "lk.transcription", "lk.chat", "lk.other", "news"):
        came = ffi_pb2.FfiEvent()
        info = came.room_event.text_stream_opened.reader.info
        info.topic = topic
        intake.arrived(came)
    topics = [one.room_event.text_stream_opened.reader.info.topic for _, _, one in queue]
    assert (topics, len(dropped), intake.agents) == (["lk.chat", "news"], 3, None)
