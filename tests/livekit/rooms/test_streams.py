"""Streams that no honest sender makes: endless ones, too many at once, broken ones.

The readers are made up: a person of the SDK always ends the streams it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
import trio_asyncio
from livekit import rtc

from actors.rooms.room_port import RoomJob
from actors.session.events import AttachmentReceived, DataReceived
from bridge.livekit.rooms import room_connection, streams
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.room_connection import RoomConnection
from tests.livekit.rooms.room_stage import Recorder

Chunk = str | bytes | None
"""None: nothing more ever comes."""


class Reader:
    def __init__(
        self,
        *chunks: Chunk,
        size: int = 0,
        error: Exception | None = None,
        topic: str = "files",
        stream_id: str = "",
        attachments: Sequence[str] = (),
    ) -> None:
        self.info = SimpleNamespace(
            topic=topic, size=size, stream_id=stream_id, attachments=list(attachments)
        )
        self.closed = False
        self._chunks = chunks
        self._error = error

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        for chunk in self._chunks:
            if chunk is None:
                await asyncio.Event().wait()
            else:
                yield chunk
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def opened(recorder: Recorder) -> AsyncIterator[Any]:
    """A connection that believes it is open."""
    async with trio_asyncio.open_loop() as loop:
        job = RoomJob(
            job_id="AJ_1", room="standup", room_sid="RM_1", url="", token="", identity="agent-1"
        )
        one: Any = RoomConnection(LiveKitRooms(), loop, None, job, recorder)
        one._stage = room_connection._Stage.OPEN
        one.intake._open = True
        yield one


async def test_bytes_are_counted_and_are_binary_whatever_is_in_them(
    opened: Any, recorder: Recorder
) -> None:
    opened.streams.on_bytes(Reader(b"{}", b"x" * 100_000), "alice")
    message = await recorder.wait(DataReceived)
    assert (message.identity, message.topic, message.size) == ("alice", "files", 100_002)
    assert (message.format, message.stream, message.content) == ("binary", True, None)


async def test_a_file_of_a_chat_is_an_attachment_whatever_the_topic_of_the_chat(
    opened: Any, recorder: Recorder
) -> None:
    opened.streams.on_bytes(Reader(b"x" * 30, topic="lk.chat"), "alice")
    opened.streams.on_text(Reader("see this", topic="mine", attachments=["file-1"]), "alice")
    opened.streams.on_bytes(Reader(b"x" * 40, topic="mine", stream_id="file-1"), "alice")
    opened.streams.on_bytes(Reader(b"x" * 50, topic="mine", stream_id="file-2"), "alice")
    await recorder.wait(DataReceived, count=2)
    await recorder.wait(AttachmentReceived, count=2)
    assert {(one.topic, one.size) for one in recorder.all(AttachmentReceived)} == {
        ("lk.chat", 30),
        ("mine", 40),
    }
    assert {one.size for one in recorder.all(DataReceived)} == {8, 50}


async def test_of_the_files_that_messages_announce_only_so_many_are_remembered(
    opened: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ANNOUNCED", 3)
    opened.streams.on_text(Reader("a", attachments=[f"a{n}" for n in range(9)]), "mallory")
    opened.streams.on_text(Reader("b", attachments=["b1", "b2"]), "mallory")
    assert list(opened.streams._announced) == ["a2", "b1", "b2"]


async def test_a_stream_that_breaks_off_was_no_message(opened: Any, recorder: Recorder) -> None:
    opened.streams.on_text(Reader("half", error=rtc.StreamError("aborted")), "alice")
    opened.streams.on_text(Reader("whole"), "alice")
    assert (await recorder.wait(DataReceived)).size == 5
    assert len(recorder.events) == 1


async def test_a_stream_that_never_ends_counts_when_its_time_is_up(
    opened: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "DEADLINE", 0.05)
    endless = Reader("begun ", None)
    opened.streams.on_text(endless, "alice")
    assert (await recorder.wait(DataReceived)).size == 6
    assert endless.closed


async def test_of_too_many_at_once_the_header_counts(
    opened: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OPEN", 2)
    readers = [Reader(None, size=70) for _ in range(5)]
    for reader in readers:
        opened.streams.on_bytes(reader, "mallory")
    assert [event.size for event in recorder.all(DataReceived)] == [70, 70, 70]
    assert [reader.closed for reader in readers] == [False, False, True, True, True]


async def test_our_own_streams_and_those_after_the_end_are_not_read(
    opened: Any, recorder: Recorder
) -> None:
    mine, late = Reader("mine"), Reader("late")
    opened.streams.on_text(mine, "agent-1")
    opened.close(None)
    opened.streams.on_text(late, "alice")
    await trio.testing.wait_all_tasks_blocked()
    assert (mine.closed, late.closed) == (True, True)
    assert not recorder.all(DataReceived)
