"""Streams of agents, put together from the native library's own events.

The native library tells of each stream twice: as a stream that opened, which a reader of the SDK
reads with requests of its own, and as the parts that came.  The parts have the whole content, so
the reader is given back unread.  A message costs no task, no request and one wake-up.

All methods but `forget` run on native threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field, frozen
from livekit.rtc._proto import room_pb2

from bridge.livekit.rooms import seams

AGENT_SESSION: Final = "lk.agent.session"
TRANSCRIPTION: Final = "lk.transcription"

HEADER: Final = "stream_header_received"
CHUNK: Final = "stream_chunk_received"
TRAILER: Final = "stream_trailer_received"
PARTS: Final = frozenset({HEADER, CHUNK, TRAILER})
OPENED: Final = frozenset({"byte_stream_opened", "text_stream_opened"})

MOST_OPEN: Final = 64
"""Streams of one room that are put together at the same time.  The oldest is given up."""
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
    broken: bool = False
    """Its sender went in the middle of it."""


@define(eq=False)
class _OpenStream:
    identity: str
    topic: str
    began_at: float
    attributes: dict[str, str]
    chunks: list[bytes] = field(factory=list[bytes])
    size: int = 0

    def whole(self, *, broken: bool = False) -> AgentStream:
        return AgentStream(
            self.identity, self.topic, self.began_at, b"".join(self.chunks), self.attributes, broken
        )


class AgentStreams:
    """The streams of one room.  `done` gets each one at its end, on a native thread."""

    def __init__(
        self, topics: frozenset[str], done: Callable[[float, AgentStream], object]
    ) -> None:
        self._topics = topics
        self._done = done
        self._open: dict[str, _OpenStream] = {}
        """By the stream's id, the oldest first."""

    def is_taken(self, event: room_pb2.RoomEvent, name: str) -> bool:
        """True for a stream that opened and that is read here.  Its reader is given back."""
        reader = getattr(event, name).reader
        if reader.info.topic not in self._topics:
            return False
        seams.drop(reader.handle)
        return True

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
        while len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open)), None)
        self._open[header.stream_id] = _OpenStream(
            received.participant_identity, header.topic, at, dict(header.attributes)
        )

    def _add(self, received: room_pb2.DataStreamChunkReceived) -> None:
        chunk = received.chunk
        stream = self._open.get(chunk.stream_id)
        if stream is None or stream.identity != received.participant_identity:
            return
        stream.size += len(chunk.content)
        if stream.size > MOST_BYTES:
            self._open.pop(chunk.stream_id, None)
        else:
            stream.chunks.append(chunk.content)

    def _end(self, at: float, received: room_pb2.DataStreamTrailerReceived) -> None:
        trailer = received.trailer
        stream = self._open.get(trailer.stream_id)
        if stream is None or stream.identity != received.participant_identity:
            return
        self._open.pop(trailer.stream_id, None)
        stream.attributes.update(trailer.attributes)
        self._done(at, stream.whole())

    def forget(self, identity: str | None = None) -> list[AgentStream]:
        """The streams of somebody who left, or of all, that never ended.  On the trio thread."""
        broken = list[AgentStream]()
        for key, stream in tuple(self._open.items()):
            if identity is None or stream.identity == identity:
                self._open.pop(key, None)
                broken.append(stream.whole(broken=True))
        return broken
