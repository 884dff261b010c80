"""The SDK's numbers and messages in our words."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc._proto import room_pb2
from livekit.rtc._proto.room_pb2 import RoomEvent

from actors.session.events import QualityChanged, SpeakersChanged
from actors.session.room_info import DataFormat
from bridge.livekit.rooms import data_messages, sdk_events, sdk_values, streams
from bridge.livekit.server_clock import joined_at
from bridge.output.redact import redact


class Here:
    me = "agent-1"
    log_payloads = True

    def now(self) -> float:
        return 7.0

    def sid_of(self, identity: str) -> str | None:
        return {"alice": "PA_1", "bob": "PA_2"}.get(identity)


@pytest.mark.parametrize(
    "payload, kind",
    [
        (b"", "text"),
        (b"{}", "json"),
        (b' \n[1, {"a": null}]', "json"),
        (b"{", "text"),
        (b'{"a": 1} trailing', "text"),
        (b"null", "text"),
        (b'"quoted"', "text"),
        ("🎈".encode(), "text"),
        (b"\x00\x01", "binary"),
        (b"a\x00b", "binary"),
        (b"\xc3", "binary"),
        (b"[" * 100_000, "json"),
        (b"[" * 60_000, "text"),
        (b'{"a": "' + b"x" * 100_000, "json"),
        (b"x" * 100_000, "text"),
        (("ü" * 100_000).encode(), "text"),
        (b"\xff" * 100_000, "binary"),
    ],
)
def test_a_message_is_json_text_or_bytes(payload: bytes, kind: DataFormat) -> None:
    before = time.thread_time()
    event = data_messages.message(
        at=1.0, identity=None, topic="", payload=payload, log_payloads=True
    )
    assert time.thread_time() - before < 0.2
    assert event.format == kind
    assert event.size == len(payload)
    assert event.content is not None
    assert len(event.content) <= data_messages.KEEP


CHAT, PACKET, MINE = "lk.chat", "lk-chat-topic", "mine"


@pytest.mark.parametrize(
    "topic, payload, news",
    [
        (PACKET, b'{"message":"x","ignoreLegacy":true}', False),
        (PACKET, b'{"id":"1","message":"x","ignoreLegacy":true,"attachedFiles":[]}', False),
        (MINE, b'{"message":"x","ignoreLegacy":true}', False),
        (PACKET, b'{"message":"x","ignoreLegacy":false}', True),
        (PACKET, b'{"message":"x"}', True),
        (PACKET, b'{"message":"what is \"ignoreLegacy\": true?"}', True),
        (PACKET, b'{"message":"x","ignoreLegacy":"true"}', True),
        (PACKET, b'{"message":"x","ignoreLegacy":[[[1]]]}', True),
        (PACKET, b'{"message":7,"ignoreLegacy":true}', True),
        (PACKET, b'["ignoreLegacy"]', True),
        (PACKET, b'"ignoreLegacy"', True),
        (PACKET, b'{"ignoreLegacy":true', True),
        (PACKET, b"\xff ignoreLegacy", True),
        (PACKET, b"ignoreLegacy" + b"[" * 200_000, True),
        (PACKET, b'{"ignoreLegacy":true,"message":' + b"[" * 60_000, True),
        (PACKET, b'{"ignoreLegacy":true,"message":"' + b"x" * 200_000 + b'"}', True),
        ("lk-chat-update-topic", b'{"id":"1","message":"x","editTimestamp":2}', False),
        ("", b"", True),
    ],
)  # fmt: skip
def test_what_a_chat_sends_twice_or_corrects_is_no_message(
    topic: str, payload: bytes, news: bool
) -> None:
    assert data_messages.is_news(topic, payload) is news


def test_texts_of_strangers_are_cut_where_they_enter() -> None:
    long = "x" * 100_000
    event = data_messages.message(
        at=1.0, identity=long, topic=long, payload=long.encode(), log_payloads=True
    )
    assert event.identity is not None
    assert event.content is not None
    assert (len(event.identity), len(event.topic), len(event.content.encode())) == (
        256,
        256,
        4096,
    )
    assert event.topic.endswith("…[100000 characters]")
    assert event.size == 100_000


def test_every_reason_kind_source_and_quality_of_the_sdk_has_a_word() -> None:
    for name, number in rtc.DisconnectReason.items():
        expected = None if name == "UNKNOWN_REASON" else name.lower()
        assert sdk_values.reason_of(number) == expected
    assert sdk_values.reason_of(None) is None
    assert sdk_values.reason_of(99) == "reason_99"
    assert set(sdk_values.KINDS) == set(rtc.ParticipantKind.values())
    unknown = {rtc.TrackSource.SOURCE_UNKNOWN}
    assert set(sdk_values.SOURCES) == set(rtc.TrackSource.values()) - unknown
    assert set(sdk_values.QUALITIES) == {q for q in rtc.ConnectionQuality if q >= 0}


def test_every_translated_event_is_one_that_the_sdk_emits() -> None:
    from typing import get_args

    from livekit.rtc.room import EventTypes

    assert set(sdk_events.TRANSLATORS) <= set(get_args(EventTypes))


def test_every_message_that_is_known_by_name_is_one_of_the_native_library() -> None:
    fields = RoomEvent.DESCRIPTOR.fields_by_name
    known = {*sdk_events.RAW, *sdk_events.NEEDLESS, *streams.MESSAGES, *sdk_events._SUBJECTS}
    assert known <= set(fields)
    for name in sdk_events._SUBJECTS:
        sdk_events.subject_of(RoomEvent(), name)
    for name in streams.MESSAGES - {"data_packet_received"}:
        assert getattr(RoomEvent(), name).reader.info.topic == ""


def test_of_what_changes_over_and_over_the_newest_is_enough_and_of_nothing_else() -> None:
    def of(message: str, **fields: str) -> object:
        more: dict[str, Any] = {message: fields}
        return sdk_events.subject_of(RoomEvent(**more), message)

    muted = of("track_muted", participant_identity="alice", track_sid="TR_1")
    assert muted == of("track_unmuted", participant_identity="alice", track_sid="TR_1")
    assert muted != of("track_muted", participant_identity="alice", track_sid="TR_2")
    name = of("participant_name_changed", participant_identity="alice", name="Al")
    assert name == of("participant_name_changed", participant_identity="alice", name="Ally")
    assert name != of("participant_name_changed", participant_identity="bob", name="Al")
    assert name != of("participant_metadata_changed", participant_identity="alice")
    assert of("active_speakers_changed") == of("active_speakers_changed") is not None
    for lasting in ("participant_disconnected", "track_published", "reconnecting", "moved"):
        assert of(lasting) is None


Pairs = dict[str, str]


@pytest.mark.parametrize(
    "before, steps, changed",
    [
        ({}, [{"a": "1"}, {"a": "2"}], {"a": "2"}),
        ({"a": "1"}, [{"a": "1", "b": "1"}, {"b": "1"}], {"a": ""}),
        ({"a": "1"}, [{}, {"a": "1"}], {}),
        ({"a": "1", "b": "1"}, [{"b": "1"}, {"b": "2"}, {"b": "2", "c": "1"}], {"a": ""}),
        ({}, [{f"key {n}": "x"} for n in range(50)], {}),
    ],
)
def test_the_last_of_many_changes_of_attributes_tells_all_that_they_changed(
    before: Pairs, steps: list[Pairs], changed: Pairs
) -> None:
    messages, was = list[room_pb2.ParticipantAttributesChanged](), before
    for now in steps:
        message = room_pb2.ParticipantAttributesChanged()
        for key, value in now.items():
            message.attributes.add(key=key, value=value)
        for key in was | now:
            if was.get(key) != now.get(key):
                message.changed_attributes.add(key=key, value=now.get(key, ""))
        messages.append(message)
        was = now
    first, last = messages[0], messages[-1]
    sdk_events.merge_attributes(first, last)
    changes = {entry.key: entry.value for entry in last.changed_attributes}
    assert {key: value for key, value in (before | changes).items() if value} == steps[-1]
    assert changes.items() >= changed.items()
    assert len(changes) <= len(before) + len(steps[0]) + len(steps[-1])


def test_quality_is_told_of_others_who_are_there() -> None:
    events = [
        raw("connection_quality_changed", participant_identity=who, quality=quality)
        for who, quality in [
            ("alice", room_pb2.QUALITY_POOR),
            ("nobody", room_pb2.QUALITY_POOR),
            ("agent-1", room_pb2.QUALITY_LOST),
        ]
    ]
    assert events == [QualityChanged(7.0, "alice", "PA_1", "poor"), None, None]


def test_only_others_who_are_there_speak() -> None:
    spoke = raw("active_speakers_changed", participant_identities=["agent-1", "bob", "x", "alice"])
    assert spoke == SpeakersChanged(7.0, ("bob", "alice"))
    assert raw("active_speakers_changed") == SpeakersChanged(7.0, ())


def test_a_telephone_key_and_a_chunk_of_a_stream_are_no_messages() -> None:
    assert raw("data_packet_received", sip_dtmf={"digit": "1"}) is None
    assert "stream_chunk_received" in sdk_events.NEEDLESS


def raw(name: str, **fields: Any) -> object:
    """The event of one message of the native library."""
    more: dict[str, Any] = {name: fields}
    message = getattr(RoomEvent(**more), name)
    return sdk_events.RAW[name](Here(), message)


def test_a_room_that_is_not_connected_has_no_sid() -> None:
    class Waiting:
        @property
        async def sid(self) -> str:
            raise RuntimeError("cannot get sid of a disconnected room")

    assert sdk_values.room_sid(Waiting()) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text, clean",
    [
        (
            "invalid token: eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6e30.c2ln-_x, error",
            "invalid token: <token>, error",
        ),
        ("?access_token=eyJhbGciOiJI&x=1", "?access_token=<token>&x=1"),
        ("cut eyJhbGciOiJIUzI1NiJ9.eyJ2", "cut <token>"),
        ("eyJhbGci.a.b eyJhbGci.c.d", "<token> <token>"),
        ("keep eyes, AJ_x and PA_y", "keep eyes, AJ_x and PA_y"),
        ("", ""),
    ],
)
def test_tokens_are_taken_out_of_text(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize("joined_at_ms", [-(2**62), -1, 0, 10**16, 2**62])
def test_a_join_before_or_beyond_all_time_is_one_of_now(joined_at_ms: int) -> None:
    class SentTime:
        @property
        def joined_at(self) -> datetime | None:
            return datetime.fromtimestamp(joined_at_ms / 1000, tz=UTC) if joined_at_ms else None

    now = 1_790_000_000.0
    participant: Any = SentTime()
    assert joined_at(sdk_values.server_joined_at(participant), now) == now
