"""Messages that participants send: which of them count, and of which format they are."""

from __future__ import annotations

from typing import Final

import msgspec

from actors.session.events import DataReceived
from actors.session.room_info import DataFormat
from actors.session.texts import MAX_ENTRY_TEXT, cut_identity, cut_name, cut_text

KEEP: Final = 64 * 1024
"""Bytes of a message that are examined, and stored where payloads are logged."""


class _LegacyChat(msgspec.Struct):
    """The fields that we need of the packet that LiveKit's chat components send."""

    message: str
    ignore_legacy: bool = msgspec.field(default=False, name="ignoreLegacy")


_read_legacy_chat: Final = msgspec.json.Decoder(_LegacyChat).decode
CHAT_UPDATE: Final = "lk-chat-update-topic"
_LEGACY_MARK: Final = b"ignoreLegacy"


def is_news(topic: str, payload: bytes) -> bool:
    """True for a data packet that is a message of its own: no duplicate and no correction.

    LiveKit's chat components send each message twice: as a text stream, and as a packet with
    ``"ignoreLegacy": true`` for clients that know no streams.  The packet is on the topic
    ``lk-chat-topic``, or on the stream's topic where the application chose one
    (components-js, ``packages/core/src/components/chat.ts``).  A packet without the mark is
    from a client that sends no stream.  Components before March 2025 sent the new text of an
    edited message on a topic of its own.
    """
    if topic == CHAT_UPDATE:
        return False
    if _LEGACY_MARK not in payload[:KEEP]:
        return True
    try:
        return not _read_legacy_chat(payload[:KEEP]).ignore_legacy
    except (msgspec.DecodeError, ValueError, RecursionError):
        return True


def format_of(payload: bytes, whole: bool = True) -> DataFormat:
    """The format of a message: a JSON object or array, other text, or bytes.

    A bare number or word is text, as it is for the reader of a chat.  A `payload` that is not
    `whole` is the beginning of a message, and is judged by it.
    """
    if not whole:
        start = payload[:-4] if len(payload) > 4 else payload  # a cut character is no fault
        text = start.decode("utf-8", "ignore")
        broken = len(start) - len(text.encode()) > 3
        if broken or "\x00" in text:
            return "binary"
        return "json" if text.lstrip()[:1] in ("{", "[") else "text"
    if payload.lstrip()[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(payload)
            return "json"
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
    try:
        return "binary" if "\x00" in payload.decode() else "text"
    except UnicodeDecodeError:
        return "binary"


def message(
    *,
    at: float,
    identity: str | None,
    topic: str,
    payload: bytes,
    size: int | None = None,
    reliable: bool = True,
    stream: bool = False,
    binary: bool = False,
    log_payloads: bool = False,
) -> DataReceived:
    """One received message.  `size` is its length in bytes where `payload` is only its start.

    `identity` is None, and empty for a stream, if it has no sender: the server sent it, or somebody
    hidden, or it came before its sender.
    """
    length = len(payload) if size is None else size
    head = payload[:KEEP]
    kind: DataFormat = "binary" if binary else format_of(head, whole=len(head) == length)
    return DataReceived(
        at=at,
        identity=cut_identity(identity) if identity else None,
        topic=cut_name(topic),
        size=length,
        format=kind,
        reliable=reliable,
        stream=stream,
        content=cut_text(head.decode("utf-8", "replace"), MAX_ENTRY_TEXT) if log_payloads else None,
    )
