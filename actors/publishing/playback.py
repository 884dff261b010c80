"""One playback: one sound or picture in one or more rooms at the same time.

In each room a participant enters, publishes the shared source and waits for a subscriber.  When
all rooms are ready, or some have had their time, the sound is fed once for all.  Then the
participants leave.  A room that was not ready in time is `late`: it did not miss a part of the
sound, but all of it, and may be played again.

Facts about LiveKit that shape it (docs/livekit-facts.md):

* A publication may stay without an answer, so it has a deadline (#publish-hangs).
* Sound that is sent before somebody has subscribed is lost.  Where nobody is, nobody subscribes.
* The native queue is fed with a lead.  With 300 ms a loop that is blocked for 250 ms is not heard.
* A participant who leaves within half a second of its sound, or whose track ends then, stays in
  the list of active speakers of its listeners for good.  So the track goes on, silent, for a
  second, on a busy server until it no longer calls us a speaker, and ends with the leave
  (#speaker-ghost).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Final, Literal, TypeAlias, final

import trio
from attrs import define, field, frozen

from actors.publishing.picture_clips import PictureClip, open_picture
from actors.publishing.publishing_port import (
    Entry,
    MediaSource,
    PublishedSource,
    PublishingError,
    PublishingParticipant,
    PublishingPort,
    SoundSource,
)
from actors.publishing.sound import FRAME_SECONDS, AudioClip
from actors.runtime import first_of

QUEUE: Final = 1.0
"""Seconds that the native queue holds."""
LEAD: Final = 0.3
"""Seconds by which frames are queued before they are heard."""
ENTER_DEADLINE: Final = 15.0
"""Seconds to enter a room."""
PUBLISH_DEADLINE: Final = 5.0
"""Seconds to publish a track."""
SUBSCRIBE_DEADLINE: Final = 2.0
"""Seconds for a first subscriber."""
LATE_AFTER: Final = 2.0
"""Seconds for which rooms that are ready wait for the others."""
PLAYOUT: Final = 0.2
"""Seconds from the end of the sound until its last part is heard everywhere."""
QUIET: Final = 1.0
"""Seconds of silence before a participant leaves."""
SILENT_DEADLINE: Final = 4.0
"""Seconds after it in which a busy server has to hear the silence."""

STOPPED: Final = "it was stopped"
"""The error of a playback that somebody ended."""

PartEnd: TypeAlias = Literal["played", "failed", "late"]


@frozen
class PlaybackEnd:
    """How a playback ended in one room."""

    outcome: PartEnd
    error: str = ""


@define(eq=False)
class _Seat:
    """One room of a playback."""

    entry: Entry
    ready: bool = False
    """Its track is published, and somebody takes it or nobody did in time."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)


@final
class Playback:
    """See the module.  `run` once."""

    def __init__(
        self,
        port: PublishingPort,
        clip: AudioClip | PictureClip,
        entries: Sequence[Entry],
        track_name: str,
        *,
        on_published: Callable[[str], object] = lambda _: None,
        on_start: Callable[[str], object] = lambda _: None,
        on_end: Callable[[str, PlaybackEnd], object] = lambda _room, _end: None,
    ) -> None:
        """`on_published`, `on_start` (the first frame) and `on_end` are called once a room, with
        its name."""
        self._port = port
        self._clip = clip
        self._published_as: PublishedSource = (
            "microphone" if isinstance(clip, AudioClip) else "screen"
        )
        self._track_name = track_name
        self._seats = [_Seat(entry) for entry in entries]
        self._unsettled = len(self._seats)
        """Rooms that are neither ready nor over."""
        self._settled = trio.Event()
        self._one_ready = trio.Event()
        self._started = False
        self._over = trio.Event()
        self._empty = trio.Event()
        """It is over in every room."""
        self._on_published = on_published
        self._on_start = on_start
        self._on_end = on_end
        self.ends: dict[str, PlaybackEnd] = {}
        """By room."""

    async def run(self) -> Mapping[str, PlaybackEnd]:
        """Play it; how it ended in each room."""
        with self._open_source() as (source, feed_source):
            async with trio.open_nursery() as nursery:
                for seat in self._seats:
                    nursery.start_soon(self._attend, source, seat)
                await first_of(self._settled.wait, self._waited_for_late_rooms)
                self._start()
                await first_of(feed_source, self._empty.wait)
                self._over.set()
        return self.ends

    @contextmanager
    def _open_source(
        self,
    ) -> Generator[tuple[MediaSource, Callable[[], Awaitable[None]]], None, None]:
        """The source, and what feeds it."""
        clip = self._clip
        if isinstance(clip, AudioClip):
            with self._port.open_sound(clip.format, queue=QUEUE) as source:
                yield source, lambda: feed(source, clip)
        else:
            with open_picture(self._port, clip) as opened:
                yield opened

    async def _waited_for_late_rooms(self) -> None:
        await self._one_ready.wait()
        await trio.sleep(LATE_AFTER)

    def _start(self) -> None:
        self._started = True
        for seat in self._seats:
            if seat.ready:
                self._on_start(seat.entry.room)
            else:
                seat.scope.cancel()

    # ---------------------------------------------------------------- one room

    async def _attend(self, source: MediaSource, seat: _Seat) -> None:
        end = PlaybackEnd("failed", STOPPED)
        try:
            end = await self._take_part(source, seat)
        except PublishingError as error:
            end = PlaybackEnd("failed", str(error))
        except Exception:
            end = PlaybackEnd("failed", "an internal error")
            raise
        finally:
            if not seat.ready:
                self._settle()
            seat.ready = False
            self.ends[seat.entry.room] = end
            if len(self.ends) == len(self._seats):
                self._empty.set()
            self._on_end(seat.entry.room, end)

    def _settle(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._settled.set()

    async def _take_part(self, source: MediaSource, seat: _Seat) -> PlaybackEnd:
        end = PlaybackEnd("late")
        with seat.scope:
            seat.scope.deadline = trio.current_time() + ENTER_DEADLINE
            async with self._port.enter(seat.entry) as participant:
                seat.scope.deadline = inf
                end = await self._in_room(source, seat, participant)
        if seat.scope.cancelled_caught and not self._started:
            raise PublishingError(f"the room was not entered within {ENTER_DEADLINE:g} s")
        return end

    async def _in_room(
        self, source: MediaSource, seat: _Seat, participant: PublishingParticipant
    ) -> PlaybackEnd:
        async def watch() -> PlaybackEnd:
            why = await participant.lost()
            if self._over.is_set():
                return PlaybackEnd("played")
            return PlaybackEnd("failed", f"the room was lost: {why}")

        async def play() -> PlaybackEnd:
            try:
                await self._play(source, seat, participant)
            except PublishingError as error:
                return PlaybackEnd("failed", str(error))
            return PlaybackEnd("played")

        return await first_of(watch, play)

    async def _play(
        self, source: MediaSource, seat: _Seat, participant: PublishingParticipant
    ) -> None:
        try:
            with trio.fail_after(PUBLISH_DEADLINE):
                sid = await participant.publish(source, self._track_name, self._published_as)
        except trio.TooSlowError:
            raise PublishingError(
                f"the server did not publish the track within {PUBLISH_DEADLINE:g} s"
            ) from None
        self._on_published(seat.entry.room)
        with trio.move_on_after(SUBSCRIBE_DEADLINE):
            await participant.subscribed(sid)
        seat.ready = True
        self._one_ready.set()
        self._settle()
        await self._over.wait()
        await fall_silent(participant)


async def fall_silent(participant: PublishingParticipant) -> None:
    """Wait, after the last part of a sound was heard, until browsers have forgotten the speaker."""
    await trio.sleep(QUIET)
    with trio.move_on_after(SILENT_DEADLINE):
        await participant.silent()


async def feed(source: SoundSource, sound: AudioClip) -> None:
    """Queue the whole sound in time, and return when its last part was heard."""
    start = trio.current_time()
    for index, frame in enumerate(sound.frames()):
        await trio.sleep_until(start + index * FRAME_SECONDS - LEAD)
        now = trio.current_time()
        if now > start + index * FRAME_SECONDS:
            # The queue ran dry.  The rest comes later, and none of it is lost.
            start = now - index * FRAME_SECONDS
        source.capture(frame)
    await trio.sleep_until(start + sound.frame_count * FRAME_SECONDS + PLAYOUT)
