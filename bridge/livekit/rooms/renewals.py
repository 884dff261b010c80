"""A paused track is subscribed a second time, so that the server sends no silence for it.

At each mute LiveKit sends 50 packets of silence a second for one second, or until the unmute
(`sfu/downtrack.go`, `handleMute`), also to a subscriber who paused the track.  At 11 events a
second that is 28 packets a second and room, which cost the server, the machine and us.  The
server sends none where nothing was ever sent on that subscription.

A pause takes effect 1.1 s after its request, and an open microphone sends meanwhile.  So a
track that has sent something is unsubscribed and subscribed again, once.  The server keeps the
pause of a subscription until the old one has ended (0.2 s, `rtc/subscriptionmanager.go`).  The
new one begins paused and never sends.

The second request may come too late, because this thread or the server was busy.  Then the
server has forgotten the pause, and sends on the same transceiver as before.  The SDK does not
show such a track: nobody can pause it.  So a track that does not return is watched.  As soon as
it sends, it is renewed once more.  The server then takes another transceiver, since the old one
is still busy with its end, the SDK shows the track, and it is paused as after any subscription.

A track that is shown and has sent again is left as it is.  It is paused, and costs what it cost
without a renewal.  Another renewal would take the first transceiver again.

No participant is referred to: one reference to somebody who left keeps a whole room in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from attrs import define, field
from livekit import rtc

SETTLE: Final = 1.5
"""Seconds from the pause until the packets are counted.  The server stops sending after 1.15 s
(seven of seven, livekit-server 1.13.5)."""
BETWEEN: Final = 0.05
"""Seconds between the two requests.  The server forgets the pause after 0.2 s."""
RETURN_DEADLINE: Final = 2.0
"""Seconds for a track to return.  It takes 0.2 s."""
LOOK_AGAIN: Final = 2.0
"""Seconds until a track that did not return is looked at, doubled each time."""
LOOK_AGAIN_AT_MOST: Final = 60.0
STATS_DEADLINE: Final = 5.0

GetStats: TypeAlias = Callable[[], Awaitable[Iterable[Any]]]
"""The statistics of everything that we receive in the room."""


@define(eq=False)
class _Renewal:
    publication: rtc.RemoteTrackPublication
    returned: asyncio.Event = field(factory=asyncio.Event)
    requested: bool = False
    """We unsubscribed, and the track has not returned."""
    done: bool = False
    """It was renewed, and is paused."""
    task: asyncio.Task[None] | None = None


def packets_of(sid: str, stats: Iterable[Any]) -> int:
    """Packets that were received of a track since it was subscribed."""
    return sum(
        one.inbound_rtp.received.packets_received
        for one in stats
        if one.WhichOneof("stats") == "inbound_rtp"
        and one.inbound_rtp.inbound.track_identifier == sid
    )


class Renewals:
    """The renewals of one connection, each in an asyncio task of its own.

    `connected` says whether requests reach the server.  `get_stats` may raise.  `fault` gets
    what failed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        connected: Callable[[], bool],
        get_stats: GetStats,
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self._loop = loop
        self._connected = connected
        self._get_stats = get_stats
        self._fault = fault
        self._renewals: dict[str, _Renewal] = {}
        """By SID of the publication: all that are chosen and were subscribed."""

    @property
    def busy(self) -> int:
        """The number of renewals that are under way."""
        return sum(one.task is not None and not one.task.done() for one in self._renewals.values())

    def paused(self, publication: rtc.RemoteTrackPublication) -> None:
        """A subscription took effect and was paused."""
        renewal = self._renewals.get(publication.sid)
        if renewal is not None and renewal.publication is not publication:
            self.cancel(publication.sid)
            renewal = None
        if renewal is None:
            renewal = self._renewals[publication.sid] = _Renewal(publication)
        if renewal.requested:
            renewal.requested = False
            renewal.returned.set()
        elif not renewal.done and (renewal.task is None or renewal.task.done()):
            renewal.task = self._loop.create_task(self._run(renewal))

    def under_way(self, sid: str) -> bool:
        """True between our unsubscription of this track and its return."""
        renewal = self._renewals.get(sid)
        return renewal is not None and renewal.requested

    def is_busy(self, sid: str) -> bool:
        """True while a renewal of this track may still send requests."""
        renewal = self._renewals.get(sid)
        return renewal is not None and renewal.task is not None and not renewal.task.done()

    def cancel(self, sid: str) -> None:
        """The track is not wanted any more, or not there."""
        renewal = self._renewals.pop(sid, None)
        if renewal is not None and renewal.task is not None:
            renewal.task.cancel()

    def cancel_all(self) -> None:
        for sid in tuple(self._renewals):
            self.cancel(sid)

    async def _run(self, renewal: _Renewal) -> None:
        try:
            await asyncio.sleep(SETTLE)
            if renewal.publication.track is not None and await self._has_sent(renewal):
                await self._renew_until_it_returns(renewal)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._fault("renewal", exc)

    async def _renew_until_it_returns(self, renewal: _Renewal) -> None:
        renewal.done = True
        look_again = LOOK_AGAIN
        while not await self._renew(renewal):
            while not await self._has_sent(renewal):
                await asyncio.sleep(look_again)
                look_again = min(2 * look_again, LOOK_AGAIN_AT_MOST)

    async def _has_sent(self, renewal: _Renewal) -> bool:
        """False also if it is unknown, or if nothing can be requested."""
        if not self._connected():
            return False
        try:
            async with asyncio.timeout(STATS_DEADLINE):
                stats = await self._get_stats()
        except Exception:  # noqa: BLE001  the SDK has one kind for all that goes wrong
            return False
        return self._connected() and packets_of(renewal.publication.sid, stats) > 0

    async def _renew(self, renewal: _Renewal) -> bool:
        """Unsubscribe and subscribe.  False where the track did not return."""
        renewal.returned.clear()
        renewal.requested = True
        renewal.publication.set_subscribed(False)
        await asyncio.sleep(BETWEEN)
        renewal.publication.set_subscribed(True)
        try:
            async with asyncio.timeout(RETURN_DEADLINE):
                await renewal.returned.wait()
        except TimeoutError:
            return False
        return True
