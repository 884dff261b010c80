"""Measures the tracks of one room (`--measure-tracks`).

**sampled**: for 2 s of every 30 s the microphones that are subscribed and paused are received.  The
counters are read 0.3 s after that and at the end, so the begin of a reception, which looks like
concealment, is left out.  Videos are only read while they are received anyway: a video that is
paused makes a freeze of our own, and costs its publisher a key frame when it goes on.

**all**: microphones, cameras and screens are received all the time, from the second in which they
come, and read every 2 s.  A window has 10 s, or 2 s while a track is new.  A track that ends gets a
last window up to its last reading.

A room has one asyncio task for it, and none where nothing is measured.  It measures as many tracks
at a time as its budget says.  Where more microphones are there, those wait least who were measured
longest ago.

No participant is referred to: one reference to somebody who left keeps a whole room in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import Final, Literal, TypeAlias, TypeVar

from attrs import evolve, frozen
from livekit import rtc

from actors.session.events import TracksMeasured
from actors.session.track_stats import TrackWindow
from bridge.livekit.rooms.renewals import STATS_DEADLINE, GetStats
from bridge.livekit.rooms.subscriptions import Subscriptions
from bridge.livekit.rooms.track_counters import (
    ZERO,
    Reading,
    counters_of,
    window_between,
    without_our_concealment,
)

MeasuredTracks: TypeAlias = Literal["sampled", "all"]

T = TypeVar("T")

PURPOSE: Final = "stats"
"""The name under which tracks are received."""


@frozen
class MeasurePlan:
    """Which tracks are measured, and when.  Times are in seconds."""

    tracks: MeasuredTracks
    budget: int = 20
    """Tracks of a room at the same time."""
    every: float = 30.0
    """Between the begins of two samples."""
    sample: float = 2.0
    """A sample is so long."""
    skip: float = 0.3
    """Left out at the begin of a reception."""
    interval: float = 10.0
    """Between two windows of what is received all the time."""
    read_every: float = 2.0
    """Between two readings of what is received all the time."""
    look: float = 1.0
    """Between two looks for new tracks."""


@frozen
class MeasuredRoom:
    """What the measurer needs of its connection."""

    subscriptions: Subscriptions
    participants: Callable[[], Mapping[str, rtc.RemoteParticipant]]
    connected: Callable[[], bool]
    """Requests reach the server."""
    get_stats: GetStats
    """May raise."""
    offer: Callable[[TracksMeasured], object]
    now: Callable[[], float]
    """Unix seconds."""
    fault: Callable[[str, BaseException], None]


class TrackMeasurer:
    """The measurer of one connection, from `start` to `close`."""

    def __init__(
        self, plan: MeasurePlan, room: MeasuredRoom, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._plan = plan
        self._room = room
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._turns = 0
        self._measured_in = dict[str, int]()
        """By SID: the number of the sample that had the track last."""
        self._chosen = frozenset[str]()
        """Tracks that are received all the time."""
        self._formats = dict[str, tuple[str, bool]]()
        """By SID: the MIME type, and whether it is encrypted."""
        self._random = random.Random()

    def start(self) -> None:
        run = self._sample_forever if self._plan.tracks == "sampled" else self._measure_forever
        self._task = self._loop.create_task(run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # ------------------------------------------------------------ sampled

    async def _sample_forever(self) -> None:
        plan = self._plan
        # The first one comes soon, but not in all rooms at once.
        pause = self._random.uniform(0.1, 0.5) * plan.every
        while True:
            await asyncio.sleep(pause)
            if self._room.connected():
                await self._guarded("track_sample", self._sample)
            pause = (plan.every - plan.sample) * self._random.uniform(0.95, 1.05)

    async def _sample(self) -> None:
        plan, subscriptions = self._plan, self._room.subscriptions
        participants = self._room.participants()
        sids = self._next_of([pub.sid for pub in subscriptions.pausable(participants)])
        if not sids and not subscriptions.received:
            return
        try:
            subscriptions.receive(PURPOSE, sids, participants)
            await asyncio.sleep(plan.skip)
            before = await self._read()
            await asyncio.sleep(max(0.0, plan.sample - plan.skip))
            after = await self._read()
        finally:
            if self._room.connected():
                subscriptions.receive(PURPOSE, frozenset(), self._room.participants())
        self._offer(before, after, sids | subscriptions.received, begun=sids)

    def _next_of(self, sids: list[str]) -> frozenset[str]:
        """Those within the budget who were measured longest ago."""
        self._turns += 1
        measured_in = {sid: self._measured_in.get(sid, 0) for sid in sids}
        chosen = sorted(sids, key=measured_in.__getitem__)[: self._plan.budget]
        self._measured_in = {**measured_in, **dict.fromkeys(chosen, self._turns)}
        return frozenset(chosen)

    # ------------------------------------------------------------ all the time

    async def _measure_forever(self) -> None:
        plan, time = self._plan, self._loop.time
        before: Reading | None = None
        latest: Reading | None = None
        offer_at = read_at = fresh_until = time()
        while True:
            if not self._room.connected():
                before = None
            else:
                if before is not None and latest is not None:
                    before = self._offer_ended(before, latest)
                new = self._has_new_tracks()
                if new:
                    fresh_until = time() + plan.interval
                if before is None or new or time() >= offer_at:
                    before = await self._guarded("track_measure", partial(self._measure, before))
                    latest = before
                    fresh = time() < fresh_until
                    offer_at = time() + min(plan.interval, plan.read_every if fresh else inf)
                    read_at = time() + plan.read_every
                elif time() >= read_at:
                    latest = await self._guarded("track_measure", self._read) or latest
                    read_at = time() + plan.read_every
            await asyncio.sleep(min(plan.look, plan.interval))

    def _offer_ended(self, before: Reading, latest: Reading) -> Reading:
        """Offer the last windows of tracks that have ended.  Gives the base of the others."""
        here = {
            sid
            for participant in self._room.participants().values()
            for sid in participant.track_publications
        }
        ended = self._chosen - here
        if not ended:
            return before
        self._offer(before, latest, ended)
        self._chosen -= ended
        return {sid: counters for sid, counters in before.items() if sid not in ended}

    def _has_new_tracks(self) -> bool:
        """Some are not received yet, and the budget has room for them."""
        received = self._room.subscriptions.received_for(PURPOSE)
        tracks = self._room.subscriptions.measurable(self._room.participants())
        return len(received) < self._plan.budget and any(pub.sid not in received for pub in tracks)

    async def _measure(self, before: Reading | None) -> Reading:
        """Read what is received, offer it, and receive what is new.  Gives the next base."""
        subscriptions = self._room.subscriptions
        after = await self._read()
        wanted = subscriptions.received_for(PURPOSE)
        if before is not None:
            self._offer(before, after, wanted)
        participants = self._room.participants()
        tracks = [pub.sid for pub in subscriptions.measurable(participants)]
        going_on = [sid for sid in tracks if sid in wanted]
        more = [sid for sid in tracks if sid not in wanted]
        self._chosen = chosen = frozenset((*going_on, *more)[: self._plan.budget])
        subscriptions.receive(PURPOSE, chosen, participants)
        if chosen <= wanted:
            return self._base(before, after)
        await asyncio.sleep(self._plan.skip)
        fresh = await self._read()
        if not chosen <= fresh.keys():  # Subscriptions take a moment longer.
            await asyncio.sleep(2 * self._plan.skip)
            fresh = await self._read()
        old = self._base(before, after)
        # A track that was measured goes on from where it was read, a new one from here.  Counters
        # of a track that is not subscribed yet will begin at zero.
        goes_on = {sid: one for sid, one in old.items() if sid in wanted}
        zero = evolve(ZERO, at=self._loop.time())
        return {**dict.fromkeys(chosen, zero), **fresh, **goes_on}

    def _base(self, before: Reading | None, after: Reading) -> Reading:
        """The next window's begin.

        A late packet makes the count of lost ones smaller: those that are counted stay the base, so
        that the sum over all windows is right.  A track of which nothing has come yet has no
        counters: they will begin at zero.
        """
        if before is None:
            return after
        counters = dict(after)
        for sid, old in before.items():
            new = counters.get(sid)
            if new is None and not old.packets and sid in self._chosen:
                counters[sid] = evolve(old, at=self._loop.time())
            elif new is not None and new.packets >= old.packets and new.lost < old.lost:
                counters[sid] = evolve(new, lost=old.lost)
        return counters

    # ------------------------------------------------------------ both

    async def _read(self) -> Reading:
        async with asyncio.timeout(STATS_DEADLINE):
            stats = await self._room.get_stats()
        formats = {sid: one for sid, one in self._formats.items() if sid in self._chosen}
        for participant in self._room.participants().values():
            for sid, pub in participant.track_publications.items():
                encrypted = pub.encryption_type != rtc.EncryptionType.NONE
                formats[sid] = pub.mime_type, encrypted
        self._formats = formats
        return counters_of(stats, self._loop.time())

    def _offer(
        self,
        before: Reading,
        after: Reading,
        sids: frozenset[str],
        begun: frozenset[str] = frozenset(),
    ) -> None:
        """Offer the windows of these tracks.  `begun`: whose reception has just begun."""
        if not self._room.connected():
            return
        windows = list[TrackWindow]()
        for sid in sorted(sids & before.keys() & after.keys() & self._formats.keys()):
            mime_type, encrypted = self._formats[sid]
            window = window_between(sid, before[sid], after[sid], mime_type, encrypted=encrypted)
            if window is not None:
                windows.append(without_our_concealment(window) if sid in begun else window)
        if windows:
            self._room.offer(TracksMeasured(self._room.now(), tuple(windows)))

    async def _guarded(self, name: str, step: Callable[[], Awaitable[T]]) -> T | None:
        """A failure costs one window."""
        try:
            return await step()
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._room.fault(name, exc)
            return None
