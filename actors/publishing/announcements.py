"""The announcements of a program: a queue for each room, and one actor for each playback.

In a room one announcement is played at a time, in the order of the orders.  Rooms of one order
that are free at the same moment share one playback, so the sound is made once and in step.  A
room that is busy gets its own playback later.

A playback is an actor of its own under a group of its own.  Where it crashes or hangs, its
announcement fails in its rooms, and neither the rooms nor other announcements notice.
"""

from __future__ import annotations

import fnmatch
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

import trio
from attrs import define, field, frozen

from actors.journal.process_ports import Announce, Clock
from actors.publishing.announcement import Announcement, AnnouncementRecord, RoomPart
from actors.publishing.content_checks import AnnouncementRefused, checked
from actors.publishing.picture_clips import PictureClip, make_picture
from actors.publishing.playback import STOPPED, Playback, PlaybackEnd
from actors.publishing.publishing_port import (
    AnnouncedContent,
    Entry,
    PictureContent,
    PublishingPort,
    SoundError,
    SoundStudio,
    Speech,
)
from actors.publishing.sound import AudioClip
from actors.runtime import Actor, ChildSpec, Down, ExitKind, Ref, Restart, Supervisor, receives
from actors.session import SessionState

MOST_ROOMS: Final = 50
"""Rooms in which something is played at the same time."""
MOST_WAITING_IN_ROOM: Final = 10
"""Announcements that wait for one room."""
MOST_WAITING: Final = 500
"""Announcements that wait at all."""
MOST_BYTES: Final = 100_000_000
"""Bytes of sound files that wait."""
MOST_CLIP_BYTES: Final = 300_000_000
"""Bytes of decoded sound: fifty minutes at 48 kHz."""
MOST_TRIES: Final = 2
"""Playbacks of one announcement in one room: a late room is played once more."""
MOST_FINISHED: Final = 200
"""Finished announcements that can be asked for: the newest."""
ATTRIBUTE: Final = "room_actors.announcement"
"""The attribute of our second participant, with the id of the announcement."""


@frozen
class AnnouncementSettings:
    """Settings of announcements."""

    name: str = "Announcement"
    """Display name of the participant that people see."""
    people_text: bool = False
    """Texts that people wrote may be spoken."""


@frozen
class StopPlayback:
    """Leave the rooms at once."""


@define(eq=False)
class _Work:
    """An announcement that is not over."""

    record: AnnouncementRecord
    clip: AudioClip | PictureClip | None = None
    making: trio.Lock = field(factory=trio.Lock)
    playbacks: int = 0
    """Started so far."""

    @property
    def waiting(self) -> Sequence[str]:
        return [room for room, part in self.record.parts.items() if part.outcome == "waiting"]

    @property
    def is_over(self) -> bool:
        return all(part.outcome in ("played", "failed") for part in self.record.parts.values())


@final
class PlaybackActor(Actor[StopPlayback]):
    """Makes the sound and plays it in its rooms."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run_playback = run

    async def started(self) -> None:
        self.context.start_soon(self._run)

    async def _run(self) -> None:
        await self._run_playback()
        self.context.stop()

    @receives(StopPlayback)
    def stop(self, _: StopPlayback) -> None:
        self.context.stop()


@final
class Announcements:
    """See the module."""

    def __init__(
        self,
        supervisor: Supervisor,
        port: PublishingPort,
        studio: SoundStudio,
        *,
        watched: Callable[[], Iterable[SessionState]],
        settings: AnnouncementSettings,
        clock: Clock,
        log: Announce,
        new_id: Callable[[], str],
    ) -> None:
        """`watched` are the sessions of the rooms that are watched now.  `new_id` gives short
        random texts."""
        self._supervisor = supervisor
        self._port = port
        self._studio = studio
        self._watched = watched
        self._settings = settings
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._works: OrderedDict[str, _Work] = OrderedDict()
        """The announcements that are not over, in the order in which they were ordered."""
        self._finished: OrderedDict[str, AnnouncementRecord] = OrderedDict()
        self._playing: dict[str, Ref[StopPlayback]] = {}
        """By room."""
        self._closed = False

    def find(self, announcement_id: str) -> AnnouncementRecord | None:
        """An announcement that is not over, or one of the newest that are."""
        work = self._works.get(announcement_id)
        return self._finished.get(announcement_id) if work is None else work.record

    @property
    def open(self) -> Sequence[AnnouncementRecord]:
        """The announcements that are not over, the oldest first."""
        return [work.record for work in self._works.values()]

    # ---------------------------------------------------------------- orders

    def announce(
        self, rooms: str, content: AnnouncedContent, by: str, *, from_people: bool = False
    ) -> AnnouncementRecord:
        """Take an order.  `rooms` is the name of a watched room, or a pattern of names.

        Raises `AnnouncementRefused`.
        """
        if self._closed:
            raise AnnouncementRefused("busy", "the worker is stopping")
        if from_people and not self._settings.people_text:
            raise AnnouncementRefused(
                "not_allowed",
                "a text that people wrote is not spoken; set --speak-people-text to allow it",
            )
        content = checked(content)
        announcement = Announcement(self._rooms(rooms), content, by, from_people)
        self._require_space(announcement)
        record = AnnouncementRecord(
            self._new_id(),
            announcement,
            self._clock(),
            {room: RoomPart() for room in announcement.rooms},
        )
        self._works[record.id] = _Work(record)
        self._start_what_can()
        return record

    def _rooms(self, wanted: str) -> Sequence[str]:
        states = {state.room: state for state in self._watched()}
        exact = states.get(wanted)
        chosen = (
            [exact]
            if exact is not None
            else [state for name, state in states.items() if fnmatch.fnmatchcase(name, wanted)]
        )
        if not chosen:
            raise AnnouncementRefused("not_found", "no such room is watched by this worker now")
        open_rooms = [state.room for state in chosen if not state.encrypted]
        if not open_rooms:
            raise AnnouncementRefused(
                "not_allowed",
                "the room is encrypted end to end, and the worker does not have its key",
            )
        return open_rooms

    def _require_space(self, announcement: Announcement) -> None:
        if len(self._works) >= MOST_WAITING:
            raise AnnouncementRefused("busy", f"{MOST_WAITING} announcements wait already")
        size = sum(work.record.announcement.size for work in self._works.values())
        if announcement.size and size + announcement.size > MOST_BYTES:
            raise AnnouncementRefused("busy", "too many sound files wait already")
        for room in announcement.rooms:
            waiting = sum(room in work.waiting for work in self._works.values())
            if waiting >= MOST_WAITING_IN_ROOM:
                raise AnnouncementRefused(
                    "busy", f"{MOST_WAITING_IN_ROOM} announcements wait for this room already"
                )

    def stop(self, announcement_id: str) -> bool:
        """Stop an announcement, wherever it waits or is played.  False if there is none."""
        work = self._works.get(announcement_id)
        if work is None:
            return False
        for room, part in work.record.parts.items():
            if part.outcome == "waiting":
                self._fail(work, room, STOPPED)
            elif part.outcome in ("preparing", "playing"):
                self._playing[room].tell(StopPlayback())
        self._finish_if_over(work)
        return True

    def close(self) -> None:
        """Take no more orders, and stop everything."""
        self._closed = True
        for announcement_id in tuple(self._works):
            self.stop(announcement_id)

    # ---------------------------------------------------------------- playbacks

    def _start_what_can(self) -> None:
        """Start what waits in rooms that are free, in the order of the orders."""
        taken = set(self._playing)
        watched = {state.room for state in self._watched()}
        for work in tuple(self._works.values()):
            waiting = work.waiting
            free = [room for room in waiting if room not in taken]
            taken.update(waiting)
            for room in free:
                if room not in watched:
                    self._fail(work, room, "the room is not watched any more")
            places = MOST_ROOMS - len(self._playing)
            chosen = [room for room in free if room in watched][: max(0, places)]
            if chosen:
                self._begin(work, chosen)
            self._finish_if_over(work)

    def _begin(self, work: _Work, rooms: Sequence[str]) -> None:
        record = work.record
        work.playbacks += 1
        for room in rooms:
            part = record.parts[room]
            part.outcome = "preparing"
            part.tries += 1
        spec: ChildSpec[StopPlayback] = ChildSpec(
            f"{record.id}-{work.playbacks}",
            lambda: PlaybackActor(lambda: self._play(work, rooms)),
            restart=Restart.TEMPORARY,
        )
        try:
            ref = self._supervisor.start_child(spec)
        except RuntimeError:  # The program ends, in a hurry.
            for room in rooms:
                self._fail(work, room, STOPPED)
            return
        for room in rooms:
            self._playing[room] = ref
        ref.watch(lambda down: self._on_down(work, rooms, down))

    async def _play(self, work: _Work, rooms: Sequence[str]) -> None:
        """Make the sound and play it.  Runs in the actor of the playback."""
        record, announcement = work.record, work.record.announcement
        try:
            async with work.making:
                if work.clip is None:
                    content = announcement.content
                    work.clip = (
                        await make_picture(content)
                        if isinstance(content, PictureContent)
                        else await self._studio.make(content)
                    )
                    # Before the file is dropped: a room that is busy may play it later.
                    self._require_memory()
                    record.announcement = announcement.without_bytes()
        except SoundError as error:
            work.clip = None
            for room in rooms:
                self._fail(work, room, str(error))
            return
        record.seconds = work.clip.seconds
        track = announcement.track_name
        await Playback(
            self._port,
            work.clip,
            [self._entry(record, room) for room in rooms],
            track,
            on_published=lambda room: self._log("announcement_published", room=room, track=track),
            on_start=lambda room: self._on_start(record, room),
            on_end=lambda room, end: self._on_end(work, room, end),
        ).run()

    def _require_memory(self) -> None:
        """The studio gives the same clip for the same content.  Raises `SoundError`."""
        clips = {id(work.clip): work.clip for work in self._works.values()}
        size = sum(len(one.samples) for one in clips.values() if isinstance(one, AudioClip))
        if size > MOST_CLIP_BYTES:
            raise SoundError("too much other sound is played now; try again later")

    def _entry(self, record: AnnouncementRecord, room: str) -> Entry:
        return Entry(
            room,
            identity=f"announcer-{self._new_id()}",
            name=self._settings.name,
            attributes={ATTRIBUTE: record.id},
        )

    def _on_start(self, record: AnnouncementRecord, room: str) -> None:
        part, announcement = record.parts[room], record.announcement
        part.outcome = "playing"
        part.first_sound = self._clock() - record.ordered_at
        about: dict[str, Any] = {"room": room, "by": announcement.by}
        if isinstance(announcement.content, Speech):
            self._log("announcement_spoken", text=announcement.content.text, **about)
        else:
            self._log("announcement_played", **about)

    def _on_end(self, work: _Work, room: str, end: PlaybackEnd) -> None:
        part = work.record.parts[room]
        if end.outcome == "played":
            part.outcome = "played"
            self._log("announcement_ended", room=room)
        elif end.outcome == "late" and part.tries < MOST_TRIES:
            part.outcome = "waiting"
        else:
            self._fail(work, room, end.error or "the room was not entered in time")

    def _fail(self, work: _Work, room: str, error: str) -> None:
        part = work.record.parts[room]
        part.outcome, part.error = "failed", error
        by = work.record.announcement.by
        self._log("announcement_failed", room=room, by=by, error=error)

    def _on_down(self, work: _Work, rooms: Sequence[str], down: Down) -> None:
        """A playback is over, in whatever way."""
        for room in rooms:
            del self._playing[room]
            if work.record.parts[room].outcome in ("preparing", "playing"):
                crashed = down.kind is ExitKind.CRASHED
                self._fail(work, room, "an internal error" if crashed else STOPPED)
        self._finish_if_over(work)
        self._start_what_can()

    def _finish_if_over(self, work: _Work) -> None:
        record = work.record
        if not work.is_over or self._works.pop(record.id, None) is None:
            return
        record.announcement = record.announcement.without_bytes()
        self._finished[record.id] = record
        if len(self._finished) > MOST_FINISHED:
            self._finished.popitem(last=False)
        record.over.set()
