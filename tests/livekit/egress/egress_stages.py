"""Stages for the contract of LiveKit's egress: a room to record, and the port to record it."""

from __future__ import annotations

from typing import Final

import trio
from attrs import define

from actors.recording.egress_port import EgressPort, EgressState

PATIENCE: Final = 60.0
"""Seconds; only bounds a test that would hang."""
INBOX: Final = "http://127.0.0.1:9/livekit/webhook"
"""An address on which nobody listens."""


@define(eq=False)
class EgressStage:
    """One room with somebody in it."""

    room: str
    room_sid: str
    egress: EgressPort
    keyless: EgressPort
    """The same egress by a port whose starts carry no key."""
    no_room: str = "nobody-made-this-room"

    async def until(self, egress_id: str, status: str) -> EgressState:
        """The recording when it has this status."""
        with trio.fail_after(PATIENCE):
            while True:
                state = await self.egress.look_up(egress_id)
                if state.status == status:
                    return state
                await trio.sleep(0.05)
