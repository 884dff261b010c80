"""Texts that are sent from our own connection to a room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, final

from actors.rooms.messages import SendRoomText
from actors.rooms.room_port import SendOutcome
from actors.rooms.room_table_view import RoomTableView
from actors.runtime import ActorError

ANSWER_WITHIN: Final = 7.0
"""Seconds for the connection's answer: more than a room takes to send a text."""


class RoomTexts(Protocol):
    """The way to send text streams."""

    async def send(
        self, room_sid: str, text: str, *, topic: str, identities: Sequence[str] = ()
    ) -> SendOutcome:
        """Send a text stream in the room with this SID.  See `OpenRoom.send_text`.

        `not sent` where no connection of ours is in the room.  Never raises.
        """
        ...


@final
class RoomTableTexts(RoomTexts):
    """Sends through the connections of the room table."""

    def __init__(self, table: RoomTableView) -> None:
        self._table = table

    async def send(
        self, room_sid: str, text: str, *, topic: str, identities: Sequence[str] = ()
    ) -> SendOutcome:
        record = self._table.find_room(room_sid)
        if record is None or record.connection is None or not record.entered:
            return "not sent"
        message = partial(SendRoomText, text, topic, tuple(identities))
        try:
            outcome: SendOutcome = await record.connection.ask(message, timeout=ANSWER_WITHIN)
        except ActorError:
            return "unknown"  # It ended with the text in hand.
        return outcome
