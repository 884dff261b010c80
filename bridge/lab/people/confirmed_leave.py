"""A leave that the server confirms.

The SDK leaves a room by sending a leave request and a close frame, and then closes its
socket without waiting for the server's own close frame.  Where the server just writes
to that socket (an answer, an update: likely right after something was published), the
kernel answers with a reset, and the server drops the connection with the leave request
unread in its buffer.  It then lists the person for another 20 s, because it waits for a
resumed connection.  On a busy machine this happens to one leave in forty.

So the server is asked, and a lost leave request is sent again over a resumed signalling connection.
No other participant notices that.  The connection is read until the server has closed it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp  # comes with livekit-api, which speaks HTTP with it
from attrs import field, frozen
from livekit import api
from livekit.protocol import models, rtc
from livekit.protocol.room import RoomParticipantIdentity

_SECONDS: Final = 10.0
_ON_ITS_WAY: Final = 0.1
"""Seconds that a leave request may still be on its way inside the server."""
_LEAVE: Final = rtc.SignalRequest(
    leave=rtc.LeaveRequest(
        reason=models.CLIENT_INITIATED, action=rtc.LeaveRequest.Action.DISCONNECT
    )
).SerializeToString()


@frozen
class ConfirmedLeave:
    """Makes sure that the server knows that one person has left."""

    url: str
    api_key: str
    api_secret: str = field(repr=False)
    token: str = field(repr=False)
    room: str
    identity: str

    async def ensure_left(self) -> bool:
        """Return when the server knows that the person has left; whether a second request
        was needed.

        Only for a person who was in the room until now, so that an entry under this identity is
        this person.  A server that does not answer is taken for one that has ended.
        """
        lost = False
        with suppress(aiohttp.ClientError, api.TwirpError, TimeoutError):
            async with asyncio.timeout(_SECONDS), aiohttp.ClientSession() as http:
                server = api.LiveKitAPI(self.url, self.api_key, self.api_secret, session=http)
                while await self._is_listed(server):
                    await asyncio.sleep(_ON_ITS_WAY)
                    if await self._is_listed(server):
                        lost = True
                        await self._send_again(http)
        return lost

    async def _is_listed(self, server: api.LiveKitAPI) -> bool:
        who = RoomParticipantIdentity(room=self.room, identity=self.identity)
        try:
            await server.room.get_participant(who)
        except api.TwirpError as error:
            if error.code != api.TwirpErrorCode.NOT_FOUND:
                raise
            return False
        return True

    async def _send_again(self, http: aiohttp.ClientSession) -> None:
        """Send the leave request again.  If the first one arrived, the server closes as well."""
        where = f"{self.url.rstrip('/')}/rtc"
        bearer = {"Authorization": f"Bearer {self.token}"}
        async with http.ws_connect(where, params={"reconnect": "1"}, headers=bearer) as signalling:
            await signalling.send_bytes(_LEAVE)
            async for _ in signalling:
                pass
