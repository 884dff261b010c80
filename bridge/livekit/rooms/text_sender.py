"""Text streams that we send from our own connection to a room.

LiveKit's server API sends only data packets.  The chat of LiveKit's components reads text streams.
The first one makes the SDK open our data channel, which takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import trio
from livekit import rtc

from actors.rooms.room_port import SendOutcome

SEND_DEADLINE: Final = 5.0
"""Seconds for the SDK to hand a text to the server."""


def may_send(room: rtc.Room) -> bool:
    """True if the server takes data of ours.  It drops the data of others without an error."""
    return room.local_participant.permissions.can_publish_data


async def send_text(
    room: rtc.Room,
    text: str,
    *,
    topic: str,
    identities: Sequence[str],
    spawn: Callable[[Coroutine[Any, Any, None]], object],
    fault: Callable[[str, BaseException], object],
) -> SendOutcome:
    """See `OpenRoom.send_text`.  `spawn` starts an asyncio task, `fault` gets what failed."""
    answered = trio.Event()
    outcome: SendOutcome = "unknown"

    async def send() -> None:
        nonlocal outcome
        try:
            await room.local_participant.send_text(
                text, topic=topic, destination_identities=list(identities)
            )
            outcome = "sent"
        except rtc.StreamError as exc:
            # The SDK sends a text in parts: some or all of them may be out.
            fault("send_text", exc)
        except Exception as exc:  # noqa: BLE001  counted and logged
            # The SDK did not take it.
            fault("send_text", exc)
            outcome = "not sent"
        finally:
            answered.set()

    spawn(send())
    with trio.move_on_after(SEND_DEADLINE):
        await answered.wait()
    return outcome
