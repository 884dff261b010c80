"""What people ask of a participant of ours: data messages, text streams and calls (RPC).

All three go to one handler, which answers at once.  LiveKit names the sender, nobody can forge it.
A message without a sender comes from the server's API, or from somebody whose join is not known
yet, and is no command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, final

from livekit import rtc

from actors.publishing.media_commands import MAX_COMMAND
from actors.publishing.publishing_port import CommandHandler

TOPIC: Final = "media-publisher"
"""Of text streams with commands, and of our answers to data messages and streams."""
METHOD: Final = "media-publisher"
"""Of calls."""
MOST_STREAMS: Final = 20
"""Text streams that are read at the same time."""

Spawn: TypeAlias = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]
"""Runs a coroutine under a name.  Its failure is counted, and nobody waits for it."""


@final
class RoomCommands:
    """The way from a room's events to a handler, for as long as the room is entered."""

    def __init__(self, room: rtc.Room, handler: CommandHandler, spawn: Spawn) -> None:
        self._room, self._handler, self._spawn = room, handler, spawn
        self._reading = 0
        room.on("data_received", self._on_data)
        room.on("participant_connected", self._on_arrival)
        room.register_text_stream_handler(TOPIC, self._on_stream)
        room.local_participant.register_rpc_method(METHOD, self._on_call)

    def _answer(self, sender: str, payload: bytes) -> None:
        response = self._handler.command(sender, payload, by_call=False)
        if response is not None:
            self._spawn("answer", send(self._room, response, [sender]))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.participant is not None:
            self._answer(packet.participant.identity, packet.data)

    def _on_arrival(self, participant: rtc.RemoteParticipant) -> None:
        if is_person(participant):
            self._handler.arrived(participant.identity)

    def _on_stream(self, reader: rtc.TextStreamReader, sender: str) -> None:
        size = reader.info.size
        if self._reading < MOST_STREAMS and (size is None or size <= MAX_COMMAND):
            self._spawn("read", self._read(reader, sender))

    async def _read(self, reader: rtc.TextStreamReader, sender: str) -> None:
        self._reading += 1
        try:
            parts, length = list[str](), 0
            async for part in reader:
                parts.append(part)
                length += len(part)
                if length > MAX_COMMAND:
                    return
            if sender in self._room.remote_participants:
                self._answer(sender, "".join(parts).encode())
        finally:
            self._reading -= 1

    async def _on_call(self, call: rtc.RpcInvocationData) -> str:
        response = self._handler.command(call.caller_identity, call.payload.encode(), by_call=True)
        return (response or b"").decode()


async def send(room: rtc.Room, payload: bytes, to: list[str]) -> None:
    """Send a data message."""
    await room.local_participant.publish_data(
        payload, reliable=True, destination_identities=to, topic=TOPIC
    )


def is_person(participant: rtc.RemoteParticipant) -> bool:
    """True for everybody but agents and other machines."""
    return participant.kind in (
        rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD,
        rtc.ParticipantKind.PARTICIPANT_KIND_SIP,
    )
