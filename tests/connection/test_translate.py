"""The SDK's numbers and messages in our words."""

from __future__ import annotations

import time

import pytest
from livekit import rtc

from actors.session.events import DataFormat
from bridge.livekit import translate
from bridge.redact import redact


class Here:
    me = "agent-1"
    log_payloads = True

    def now(self) -> float:
        return 7.0


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
    told = translate.message(Here(), at=1.0, identity=None, topic="", payload=payload)
    assert time.thread_time() - before < 0.2
    assert told.format == kind
    assert told.size == len(payload)
    assert told.content is not None
    assert len(told.content) <= translate.KEEP


def test_every_reason_kind_source_and_quality_of_the_sdk_has_a_word() -> None:
    for name, number in rtc.DisconnectReason.items():
        expected = None if name == "UNKNOWN_REASON" else name.lower()
        assert translate.reason_of(number) == expected
    assert translate.reason_of(None) is None
    assert translate.reason_of(99) == "reason_99"
    assert set(translate.KINDS) == set(rtc.ParticipantKind.values())
    unknown = {rtc.TrackSource.SOURCE_UNKNOWN}
    assert set(translate.SOURCES) == set(rtc.TrackSource.values()) - unknown
    assert set(translate.QUALITIES) == {q for q in rtc.ConnectionQuality if q >= 0}


def test_every_translated_event_is_one_that_the_sdk_emits() -> None:
    from typing import get_args

    from livekit.rtc.room import EventTypes

    assert set(translate.TRANSLATORS) <= set(get_args(EventTypes))


def test_a_room_that_is_not_connected_has_no_sid() -> None:
    class Waiting:
        @property
        async def sid(self) -> str:
            raise RuntimeError("cannot get sid of a disconnected room")

    assert translate.room_sid(Waiting()) == ""  # type: ignore[arg-type]


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
