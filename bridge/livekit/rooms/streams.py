"""Text and byte streams: each one is read to its end and offered as one message.

A byte stream of a chat is no message.  It is a file that was attached to one.

A stream that nobody reads stays subscribed in the SDK for the life of the process.  So every
reader that the SDK gives us is read or closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from livekit import rtc
from livekit.rtc._proto import data_stream_pb2, room_pb2

from actors.session.events import AttachmentReceived, RoomEvent
from actors.session.texts import cut_identity, cut_name
from bridge.livekit.rooms import data_messages, sdk_events, seams

DEADLINE: Final = 600.0
"""Seconds until a stream counts as ended, even if its sender has not ended it."""
OPEN: Final = 64
"""Streams of one room that are read at the same time.  Of others only the header counts."""
CHAT: Final = "lk.chat"
RESERVED: Final = "lk."
"""Prefix of LiveKit's own topics: transcriptions, calls between agents.  Not messages."""

ANNOUNCED: Final = 1_000
"""Announced files of one room that did not arrive yet.  The oldest are forgotten."""
CREATED: Final = data_stream_pb2.TextStreamInfo.OperationType.CREATE

Reader: TypeAlias = rtc.TextStreamReader | rtc.ByteStreamReader


StreamKind: TypeAlias = Literal["text", "bytes", "attachment"]
DiscardedKind: TypeAlias = Literal["message", "attachment"]


def is_message(topic: str) -> bool:
    return topic == CHAT or not topic.startswith(RESERVED)


MESSAGES: Final = frozenset({"data_packet_received", "text_stream_opened", "byte_stream_opened"})
"""Names of the native messages that carry a message of a participant."""


def discard(event: room_pb2.RoomEvent, name: str) -> DiscardedKind | None:
    """Give the native memory of one of `MESSAGES` back, unread.  The result is its kind.

    Called on any thread.  Announced files are not known here: a file counts as an attachment
    on the chat's own topic only.
    """
    if name == "data_packet_received":
        packet = event.data_packet_received
        if not packet.HasField("user"):
            return None
        payload = seams.take_payload(packet.user)
        return "message" if data_messages.is_news(packet.user.topic, payload) else None
    reader = getattr(event, name).reader
    seams.drop(reader.handle)
    if not is_message(reader.info.topic) or is_correction(event, name):
        return None
    is_file = name == "byte_stream_opened" and reader.info.topic == CHAT
    return "attachment" if is_file else "message"


def is_correction(event: room_pb2.RoomEvent, name: str) -> bool:
    """True for a text stream that changes, deletes or marks an earlier text."""
    if name != "text_stream_opened":
        return False
    return event.text_stream_opened.reader.info.operation_type != CREATED


class Streams:
    """The streams of one room."""

    def __init__(
        self,
        here: sdk_events.TranslationContext,
        loop: asyncio.AbstractEventLoop,
        offer: Callable[[RoomEvent], None],
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self._here = here
        self._loop = loop
        self._offer = offer
        self._fault = fault
        self._reading: set[asyncio.Task[None]] = set()
        self._announced: dict[str, None] = {}
        """Ids of the files that messages announced, oldest first."""
        self._ended = False

    def close(self) -> None:
        """We are out of the room: nothing is offered from here on."""
        self._ended = True

    def on_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        for file in (reader.info.attachments or ())[:ANNOUNCED]:
            self._announced[file] = None
        while len(self._announced) > ANNOUNCED:
            del self._announced[next(iter(self._announced))]
        self._read(reader, identity, "text")

    def on_bytes(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        announced = reader.info.stream_id in self._announced
        self._announced.pop(reader.info.stream_id, None)
        attached = announced or reader.info.topic == CHAT
        self._read(reader, identity, "attachment" if attached else "bytes")

    def _read(self, reader: Reader, identity: str, kind: StreamKind) -> None:
        if self._ended or identity == self._here.me:
            reader.close()
        elif len(self._reading) >= OPEN:
            reader.close()
            self._count(reader, identity, self._here.now(), b"", reader.info.size or 0, kind)
        else:
            task = self._loop.create_task(
                self._read_to_end(reader, identity, self._here.now(), kind)
            )
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read_to_end(
        self, reader: Reader, identity: str, at: float, kind: StreamKind
    ) -> None:
        """Count one stream as one message, at the time it began.

        A stream that breaks off is no message.  A stream that does not end counts after
        `DEADLINE`, with the part that arrived until then.
        """
        head = bytearray()
        size = 0
        try:
            async with asyncio.timeout(DEADLINE):
                async for chunk in reader:
                    data = chunk.encode() if isinstance(chunk, str) else chunk
                    size += len(data)
                    head += data[: data_messages.KEEP - len(head)]
        except TimeoutError:
            reader.close()
        except rtc.StreamError:
            return
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._fault("stream", exc)
            return
        if not self._ended:
            self._count(reader, identity, at, bytes(head), size, kind)

    def _count(
        self, reader: Reader, identity: str, at: float, head: bytes, size: int, kind: StreamKind
    ) -> None:
        if kind == "attachment":
            topic = cut_name(reader.info.topic)
            # Somebody hidden has no identity here.
            self._offer(AttachmentReceived(at, cut_identity(identity) or None, topic, size))
            return
        self._offer(
            data_messages.message(
                at=at,
                identity=identity,
                topic=reader.info.topic,
                payload=head,
                size=size,
                stream=True,
                binary=kind == "bytes",
                log_payloads=self._here.log_payloads,
            )
        )
