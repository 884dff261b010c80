"""The media path, tried: a real WebRTC connection to a room, and how it was made.

Signalling and media take different ways: the websocket may pass every firewall while the ports that
LiveKit negotiates are closed.  The SDK's `connect` returns only when the peer connection is
established, so a connection is the proof.  Its statistics name the protocol and the address.

As in `bridge.livekit.rooms.room_connection`, a connect is never cancelled, because the native
library would end the process 15 s later.  A caller may stop waiting; the task then closes its room
when the connect has returned.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import trio
import trio_asyncio
from attrs import frozen
from livekit import rtc

from bridge.livekit.rooms import seams
from bridge.livekit.rooms.connect_errors import connect_error
from bridge.output.redact import redact

DEADLINE: Final = 12.0
"""Seconds for a connection.  A good one takes 0.1 s, a bad one a minute."""
STATS_DEADLINE: Final = 3.0
GOODBYE: Final = 3.0


class MediaError(Exception):
    """No connection.  The text has the SDK's reason, and no token."""


@frozen
class MediaPath:
    """The path of a connection's media; "" where its statistics do not have it."""

    protocol: str
    """`udp` or `tcp`."""
    address: str
    """The server's end, as `HOST:PORT`."""
    kind: str
    """`host`, `srflx`, `prflx`, or `relay` where a TURN server stands between."""


async def try_media(url: str, token: str, *, deadline: float = DEADLINE) -> MediaPath:
    """Join the room of `token`, find out how, and leave.  Inside `trio_asyncio.open_loop()`.

    Raises `MediaError`.
    """
    loop = trio_asyncio.current_loop.get()
    assert loop is not None
    seams.initialize()
    attempt = _Attempt(loop, url, token)
    with trio.move_on_after(deadline):
        await attempt.over.wait()
    if attempt.path is None:
        attempt.abandoned = True
        raise MediaError(attempt.error or f"no connection within {deadline:g} s")
    return attempt.path


class _Attempt:
    """One connection, in an asyncio task that is never cancelled."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, token: str) -> None:
        self.over = trio.Event()
        self.path: MediaPath | None = None
        self.error = ""
        self.abandoned = False
        self._room = rtc.Room(loop=loop)
        self._task = loop.create_task(self._run(url, token))

    async def _run(self, url: str, token: str) -> None:
        options = rtc.RoomOptions(
            auto_subscribe=False,
            single_peer_connection=False,
            rtc_config=rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            ),
        )
        try:
            await self._room.connect(url, token, options)
            path = await self._path()
            if not self.abandoned:
                self.path = path
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.disconnect(), GOODBYE)
        except rtc.ConnectError as error:
            self.error = str(connect_error(error.message))
        except Exception as error:  # noqa: BLE001 - it becomes the result
            self.error = redact(f"{type(error).__name__}: {error}")[:300]
        self.over.set()

    async def _path(self) -> MediaPath:
        try:
            stats = await asyncio.wait_for(self._room.get_rtc_stats(), STATS_DEADLINE)
        except (TimeoutError, RuntimeError):
            return MediaPath("", "", "")
        return path_of([*stats.subscriber_stats, *stats.publisher_stats])


def path_of(stats: list[Any]) -> MediaPath:
    """The nominated pair of candidates among WebRTC's statistics."""
    remotes = {
        entry.remote_candidate.rtc.id: entry.remote_candidate.candidate
        for entry in stats
        if entry.WhichOneof("stats") == "remote_candidate"
    }
    for entry in stats:
        if entry.WhichOneof("stats") != "candidate_pair":
            continue
        pair = entry.candidate_pair.candidate_pair
        remote = remotes.get(pair.remote_candidate_id)
        if pair.nominated and remote is not None:
            host = f"[{remote.address}]" if ":" in remote.address else remote.address
            kind = type(remote).DESCRIPTOR.fields_by_name["candidate_type"].enum_type
            name = kind.values_by_number[remote.candidate_type].name.lower()
            return MediaPath(remote.protocol, f"{host}:{remote.port}", name)
    return MediaPath("", "", "")
