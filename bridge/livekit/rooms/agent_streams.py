"""Streams of agents, put together from the native library's own events.

The native library tells of each stream twice: as a stream that opened, which has a reader, and as
the parts that came.

* Bytes whose length is known are read whole, with one request to the native library.  A sender that
  knows all of them sends them inside the header (livekit-agents does), and such a stream has no
  other parts.  Answers may overtake one another, so each sender's streams are given in the order in
  which they opened.
* Other streams are put together from their parts, and their reader is given back unread.  They cost
  no request.

No message costs a task.  All methods but `forget` run on native threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Final

from attrs import define, evolve, field, frozen
from livekit.rtc._proto import data_stream_pb2, room_pb2

from bridge.livekit.rooms import seams

AGENT_SESSION: Final = "lk.agent.session"
TRANSCRIPTION: Final = "lk.transcription"

HEADER: Final = "stream_header_received"
CHUNK: Final = "stream_chunk_received"
TRAILER: Final = "stream_trailer_received"
PARTS: Final = frozenset({HEADER, CHUNK, TRAILER})
OPENED: Final = frozenset({"byte_stream_opened", "text_stream_opened"})

MOST_OPEN: Final = 64
"""Streams of one room that are put together at the same time: the oldest is given up.  Also streams
of one sender that are read whole at the same time: the newest is given back."""
MOST_BYTES: Final = 256 * 1024
"""Of one stream.  A longer one is given up."""


@frozen
class AgentStream:
    """A stream that has come to its end, or that its sender broke off."""

    identity: str
    topic: str
    began_at: float
    """Unix seconds when its header came."""
    content: bytes
    attributes: Mapping[str, str]
    writer: str
    """Who really sent it: an agent writes transcriptions in the name of the person who spoke."""
    broken: bool = False
    """Its sender went in the middle of it."""


@define(eq=False)
class _OpenStream:
    identity: str
    topic: str
    began_at: float
    attributes: dict[str, str]
    writer: str
    """Empty until the first chunk says it."""
    chunks: list[bytes] = field(factory=list[bytes])
    size: int = 0

    def whole(self, *, broken: bool = False) -> AgentStream:
        content = b"".join(self.chunks)
        return AgentStream(
            self.identity, self.topic, self.began_at, content, self.attributes, self.writer, broken
        )


@define(eq=False)
class _ReadStream:
    """A stream that is read whole."""

    began_at: float
    stream: AgentStream
    content: bytes | None = None
    """None until it was read."""


class AgentStreams:
    """The streams of one room.  `done` gets each one at its end, on a native thread."""

    def __init__(
        self, topics: frozenset[str], done: Callable[[float, AgentStream], object]
    ) -> None:
        self._topics = topics
        self._done = done
        self._open: dict[str, _OpenStream] = {}
        """By the stream's id, the oldest first."""
        self._read: dict[str, deque[_ReadStream]] = {}
        """Streams of each sender that are read whole, in the order in which they opened."""
        self._reading = Lock()

    def is_taken(self, at: float, event: room_pb2.RoomEvent, name: str) -> bool:
        """True for a stream that opened and that is read here."""
        opened = getattr(event, name)
        reader = opened.reader
        if reader.info.topic not in self._topics:
            return False
        if not _is_read_whole(name, reader.info) or reader.info.total_length > MOST_BYTES:
            seams.drop(reader.handle)
            return True
        stream = AgentStream(
            opened.participant_identity,
            reader.info.topic,
            at,
            b"",
            dict(reader.info.attributes),
            opened.participant_identity,
        )
        one = _ReadStream(at, stream)
        with self._reading:
            mine = self._read.setdefault(stream.identity, deque())
            full = len(mine) >= MOST_OPEN
            if not full:
                mine.append(one)
        if full:
            seams.drop(reader.handle)  # Nothing is read of who begins streams and ends none.
        else:
            seams.read_bytes(reader.handle, partial(self._take_content, one))
        return True

    def _take_content(self, one: _ReadStream, content: bytes) -> None:
        """A stream was read; the content is empty where it broke off."""
        one.content = content
        with self._reading:
            mine = self._read.get(one.stream.identity)
            while mine and mine[0].content is not None:
                ready = mine.popleft()
                if ready.content:
                    self._done(ready.began_at, evolve(ready.stream, content=ready.content))
            if mine is not None and not mine:
                del self._read[one.stream.identity]

    def take_part(self, at: float, event: room_pb2.RoomEvent, name: str) -> None:
        """One part of a stream of this room came."""
        if name == HEADER:
            self._begin(at, event.stream_header_received)
        elif self._open:
            if name == CHUNK:
                self._add(event.stream_chunk_received)
            else:
                self._end(at, event.stream_trailer_received)

    def _begin(self, at: float, received: room_pb2.DataStreamHeaderReceived) -> None:
        header = received.header
        if header.topic not in self._topics:
            return
        if header.HasField("byte_header") and header.HasField("total_length"):
            return  # It is read whole.
        while len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open)), None)
        identity = received.participant_identity
        # LiveKit takes an agent's word for the sender in the header.  The sender of the chunks is
        # the true one.
        writer = "" if header.topic == TRANSCRIPTION else identity
        self._open[header.stream_id] = _OpenStream(
            identity, header.topic, at, dict(header.attributes), writer
        )

    def _add(self, received: room_pb2.DataStreamChunkReceived) -> None:
        chunk = received.chunk
        stream = self._open.get(chunk.stream_id)
        if stream is None:
            return
        stream.writer = stream.writer or received.participant_identity
        if stream.writer != received.participant_identity:
            return
        stream.size += len(chunk.content)
        if stream.size > MOST_BYTES:
            self._open.pop(chunk.stream_id, None)
        else:
            stream.chunks.append(chunk.content)

    def _end(self, at: float, received: room_pb2.DataStreamTrailerReceived) -> None:
        trailer = received.trailer
        stream = self._open.get(trailer.stream_id)
        if stream is None or stream.writer not in ("", received.participant_identity):
            return
        self._open.pop(trailer.stream_id, None)
        stream.attributes.update(trailer.attributes)
        self._done(at, stream.whole())

    def forget(self, identity: str | None = None) -> list[AgentStream]:
        """The streams of somebody who left, or of all, that never ended.  On the trio thread.

        What is being read of somebody who left still comes: it was sent before.
        """
        if identity is None:
            with self._reading:
                self._read.clear()
        broken = list[AgentStream]()
        for key, stream in tuple(self._open.items()):
            if identity is None or identity in (stream.identity, stream.writer):
                self._open.pop(key, None)
                broken.append(stream.whole(broken=True))
        return broken


def _is_read_whole(name: str, info: data_stream_pb2.ByteStreamInfo) -> bool:
    return name == "byte_stream_opened" and info.HasField("total_length")
