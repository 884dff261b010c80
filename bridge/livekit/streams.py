"""Text and byte streams: each one is read to its end and told as one message.

A stream that nobody reads would stay subscribed in the SDK for the life of the process,
so every reader that we are given is read or closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from livekit import rtc
from livekit.rtc._proto import room_pb2

from actors.session.events import RoomEvent
from bridge.livekit import seams, translate

DEADLINE: Final = 600.0
"""Seconds until a stream counts as ended, whatever its sender says."""
OPEN: Final = 64
"""Streams of one room read at the same time; of more only their header counts."""
CHAT: Final = "lk.chat"
RESERVED: Final = "lk."
"""Prefix of LiveKit's own topics: transcriptions, calls between agents.  Not messages."""

Reader: TypeAlias = rtc.TextStreamReader | rtc.ByteStreamReader


def is_message(topic: str) -> bool:
    return topic == CHAT or not topic.startswith(RESERVED)


MESSAGES: Final = frozenset({"data_packet_received", "text_stream_opened", "byte_stream_opened"})
"""Names of the native messages by which a message of somebody's comes."""


def give_up(event: room_pb2.RoomEvent, name: str) -> bool:
    """Give back what one of `MESSAGES` holds, unread; whether it would have been a message.

    On any thread.
    """
    if name == "data_packet_received":
        packet = event.data_packet_received
        if not packet.HasField("user"):
            return False
        seams.drop(packet.user.data.handle)
        return True
    reader = getattr(event, name).reader
    seams.drop(reader.handle)
    return is_message(reader.info.topic)


class Streams:
    """The streams of one room."""

    def __init__(
        self,
        here: translate.Here,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[RoomEvent], None],
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self._here = here
        self._loop = loop
        self._tell = tell
        self._fault = fault
        self._reading: set[asyncio.Task[None]] = set()
        self._over = False

    def close(self) -> None:
        """We are out of the room: nothing that comes now is told."""
        self._over = True

    def on_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._read(reader, identity, binary=False)

    def on_bytes(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        self._read(reader, identity, binary=True)

    def _read(self, reader: Reader, identity: str, *, binary: bool) -> None:
        if self._over or identity == self._here.me:
            reader.close()
        elif len(self._reading) >= OPEN:
            reader.close()
            self._count(reader, identity, self._here.now(), b"", reader.info.size or 0, binary)
        else:
            task = self._loop.create_task(
                self._read_to_end(reader, identity, self._here.now(), binary)
            )
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read_to_end(self, reader: Reader, identity: str, at: float, binary: bool) -> None:
        """Count one stream as one message, at the time it began.

        One that breaks off was never a message.  One that never ends counts when its
        time is up, with what came until then.
        """
        head = bytearray()
        size = 0
        try:
            async with asyncio.timeout(DEADLINE):
                async for chunk in reader:
                    data = chunk.encode() if isinstance(chunk, str) else chunk
                    size += len(data)
                    head += data[: translate.KEEP - len(head)]
        except TimeoutError:
            reader.close()
        except rtc.StreamError:
            return
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._fault("stream", exc)
            return
        if not self._over:
            self._count(reader, identity, at, bytes(head), size, binary)

    def _count(
        self, reader: Reader, identity: str, at: float, head: bytes, size: int, binary: bool
    ) -> None:
        self._tell(
            translate.message(
                self._here,
                at=at,
                identity=identity,
                topic=reader.info.topic,
                payload=head,
                size=size,
                stream=True,
                binary=binary,
            )
        )
