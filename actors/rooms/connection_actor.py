"""The connection actor: keeps us in one room instance until that ends.

It enters through the port and hands every event to its session.  When the connection is lost it
asks the server whether the same room instance goes on.  If so, it enters again and the session
continues with a gap; if not, the session ends.  A bug here is a crash, and the room's supervisor
starts connection and session anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast, final

import trio
from attrs import define, evolve

from actors.journal.process_ports import Announce, Clock
from actors.rooms.messages import (
    ConnectionMessage,
    EndSession,
    LeaveRoom,
    MeasureVideo,
    RosterWanted,
    SendRoomText,
    VerifyDispatch,
)
from actors.rooms.room_port import (
    OpenRoom,
    RoomError,
    RoomJob,
    RoomPort,
    RoomRefused,
    RoomUnreachable,
)
from actors.rooms.server_lookups import DispatchExists, OwnRoomRemoval, RenewJob
from actors.rooms.session_actor import SessionMessage
from actors.runtime import Actor, Backoff, Ref, receives, sleep
from actors.session import EndReason, Reconnected, Reconnecting, Resynced, RoomEvent, Watching
from actors.session.end_reasons import END_OF_DISCONNECT

TERMINATION_GRACE: Final = 1.0
"""Seconds after the end of a job until we ask why LiveKit ended it.

If our participant was removed or the room was deleted, `disconnected` comes 4 to 20 ms after the
end of the job, and nothing is to be asked.  After its dispatch was deleted LiveKit leaves an agent
in the room for 3 s.
"""
ENTRY_RETRY: Final = Backoff(first=0.25, most=10.0, reset_after=30.0)
"""Between tries to enter a room."""
MOST_FAILURES: Final = 6
"""Failed entries in a row, into a room that exists, after which the job has failed."""
LOOKUP_TIMEOUT: Final = 2.0
"""Seconds in which the server must answer, before the first entry, whether the room exists."""
CREATOR_TIMEOUT: Final = 1.5
"""Seconds in which the server must answer who made the room that we are in."""
LISTING_CHECK_DELAYS: Final = (0.5, 2.5)
"""Seconds after an entry at which the room must be in the server's list, and between that
and a second look.  LiveKit can let an agent into a room that it is deleting, and keep it
there."""
DOWN_CHECK_INTERVAL: Final = 1.5
"""Seconds between two questions to the server while the room's connection is down."""
ENTRY_CHECK_INTERVAL: Final = 1.5
"""Seconds between two questions to the server while the room is being entered.  LiveKit's SDK
waits 15 s for a room that is deleted during the entry."""
ABSENT_ANSWERS: Final = 2
"""Answers in a row without the room after which this instance is over.  One is not enough: people
who were in it may be making it anew."""
_WITH_ROSTER: Final = frozenset({Watching, Resynced, Reconnected})


class EntryRefused(Exception):
    """A room that exists could not be entered, with the server's reason."""


@define
class ConnectionMemory:
    """The memory of a connection, which outlives a crash of its actor."""

    over: bool = False
    """We are through with the room: a later incarnation does not enter it again."""
    end: EndSession | None = None
    """The order to the session to end.  It may crash with it in hand, or take too long over it."""
    room_sid: str = ""
    """The room instance that we are in, if it is another one than the job's."""


@final
class ConnectionActor(Actor[ConnectionMessage]):
    """One incarnation.  `job` is what LiveKit assigned."""

    def __init__(
        self,
        job: RoomJob,
        port: RoomPort,
        *,
        renew_job: RenewJob,
        dispatch_exists: DispatchExists,
        own_room_removal: OwnRoomRemoval,
        clock: Clock,
        announce: Announce,
        report_entered: Callable[[], object],
        memory: ConnectionMemory,
    ) -> None:
        self._job = evolve(job, room_sid=memory.room_sid or job.room_sid)
        self._port = port
        self._renew_job = renew_job
        self._dispatch_exists = dispatch_exists
        self._own_room_removal = own_room_removal
        self._clock = clock
        self._announce = announce
        self._report_entered = report_entered
        self._memory = memory
        self._room: OpenRoom | None = None
        self._entry: object = None
        """The entry that is under way."""
        self._in_room = trio.CancelScope()
        """Cancelled when we are to leave the room for good."""
        self._reason: EndReason = "server_lost"
        """Why the session will end, by what is known now."""
        self._session_stays_open = False
        self._down = False
        """Our connection to the room broke and is not back."""
        self._lost_at: float | None = None
        self._withheld: list[RoomEvent] | None = None
        """Events of a room that perhaps only our entry made.  They are released or discarded."""

    async def started(self) -> None:
        self._session: Ref[SessionMessage] = self.context.sibling("session")
        self.context.start_soon(self._run)

    @receives(LeaveRoom)
    def leave(self, message: LeaveRoom) -> None:
        self._reason, self._lost_at = message.reason, None
        self._session_stays_open = message.session_stays_open
        self._in_room.cancel()

    @receives(VerifyDispatch)
    def verify_dispatch(self, _: VerifyDispatch) -> None:
        self.context.start_soon(self._verify_dispatch)

    async def _verify_dispatch(self) -> None:
        """Find out why LiveKit ended the job, and leave the room if we are to.

        LiveKit ends a job for one of three reasons and does not say which:

        * Its dispatch was deleted.  We leave.
        * Our participant left, as LiveKit has it: an entry failed, or we connected anew.  We stay.
        * The room is over.  If LiveKit let us in while it closed the room, the end of the job is
          the only message that we get.
        """
        await sleep(TERMINATION_GRACE)
        attempt = 0
        while not self._down:
            job, room = self._job, self._room
            exists = await self._find_instance() is not None
            if job is not self._job or room is not self._room:
                continue
            if not exists:
                # While the room is entered, another check asks the same.
                if room is not None and not self._down:
                    self.leave(LeaveRoom("found_ended"))
                return
            try:
                dispatched = not job.dispatch_id or await self._dispatch_exists(job)
            except RoomUnreachable:
                attempt += 1
                await sleep(ENTRY_RETRY.delay(attempt, self.context.random))
                continue
            if dispatched:
                self._announce("job_goes_on", room=job.room, job_id=job.job_id)
            elif not self._down:
                self.leave(LeaveRoom("dispatch_deleted"))
            return

    @receives(MeasureVideo)
    def measure_video(self, message: MeasureVideo) -> None:
        if self._room is None or self._down:
            message.reply_to.send({})
        else:
            self.context.start_soon(self._measure_video, self._room, message)

    async def _measure_video(self, room: OpenRoom, message: MeasureVideo) -> None:
        message.reply_to.send(await room.video_frames(message.track_sids))

    @receives(SendRoomText)
    def send_text(self, message: SendRoomText) -> None:
        if self._room is None or self._down:
            message.reply_to.send("not sent")
        else:
            self.context.start_soon(self._send_text, self._room, message)

    async def _send_text(self, room: OpenRoom, message: SendRoomText) -> None:
        message.reply_to.send(
            await room.send_text(message.text, topic=message.topic, identities=message.identities)
        )

    @receives(RosterWanted)
    def tell_roster(self, _: RosterWanted) -> None:
        if self._room is not None:
            up = not self._down
            self._session.tell(Resynced(self._clock(), self._room.roster(), connected=up))

    async def _run(self) -> None:
        if not self._memory.over:
            with self._in_room:
                await self._watch_instance()
            ended_at = self._clock() if self._lost_at is None else self._lost_at
            self._memory.over = True
            if not self._session_stays_open:
                self._memory.end = EndSession(ended_at, self._reason)
                self._session.tell(self._memory.end)
        self.context.stop()

    async def _watch_instance(self) -> None:
        failures = 0
        job = await (
            self._find_instance() if self.context.generation > 1 else self._look_before_entry()
        )
        while job is not None:
            error = await self._enter_and_watch(job)
            if error is None:
                failures = 0
                if self._lost_at is None:
                    return
            else:
                failures += 1
                await sleep(ENTRY_RETRY.delay(failures, self.context.random))
            again = await self._find_instance()
            if error is not None and again is not None:
                self._announce(
                    "room_entry_failed", room=job.room, job_id=job.job_id, error=str(error)
                )
                if failures >= (2 if isinstance(error, RoomRefused) else MOST_FAILURES):
                    raise EntryRefused(f"room {job.room!r} could not be entered: {error}")
            job = again
        if self._lost_at is None:
            self._reason = "found_ended"  # It was over before we were in.

    async def _look_before_entry(self) -> RoomJob | None:
        """True if the room of a new job exists.  Without an answer in time we enter: the token
        makes no room, and the entry is compared with the job."""
        with trio.move_on_after(LOOKUP_TIMEOUT), suppress(RoomUnreachable):
            return await self._renew_job(self._job)
        return self._job

    async def _enter_and_watch(self, job: RoomJob) -> RoomError | None:
        """Be in the room until we are out of it.  Gives the error if we could not enter."""
        reason, made_by_us = None, ""
        self._entry = entry = object()
        self.context.start_soon(self._check_while_entering, entry)
        try:
            async with self._port.open(job, self._offer) as room:
                self._entry = None
                room_sid = room.roster().room_sid
                if self._withheld is not None and await self._is_made_by_us(job, room_sid):
                    made_by_us = room_sid
                else:
                    self._room = room
                    self._release_withheld()
                    self._report_entered()
                    self.context.start_soon(self._check_listing, room)
                    reason = await room.closed()
        except RoomError as error:
            return error
        finally:
            self._entry, self._room, self._withheld = None, None, None
            if made_by_us:
                with trio.CancelScope(shield=True):
                    await self._own_room_removal.delete(job, made_by_us)
        if made_by_us:
            self._reason, self._lost_at = "found_ended", None
            return None
        end = END_OF_DISCONNECT.get(reason)
        if end is not None:
            self._reason, self._lost_at = end, None
        else:
            self._lost_at = self._clock()
            self._announce("room_lost", room=job.room, job_id=job.job_id, reason=reason)
        return None

    async def _check_while_entering(self, entry: object) -> None:
        """Ask the server while an entry waits or hangs, and give it up if the room is over."""
        while True:
            await sleep(ENTRY_CHECK_INTERVAL)
            if self._entry is not entry:
                return
            over = await self._find_instance() is None
            if self._entry is not entry:
                return
            if over:
                if self._lost_at is None:
                    self._reason = "found_ended"  # It was over before we were in.
                self._in_room.cancel()
                return

    async def _is_made_by_us(self, job: RoomJob, room_sid: str) -> bool:
        """Ask who made the room that we are in.  Shielded, because a room that we made would
        otherwise stay."""
        with trio.move_on_after(CREATOR_TIMEOUT, shield=True), suppress(RoomUnreachable):
            return await self._own_room_removal.only_we_made(job, room_sid)
        return False

    def _release_withheld(self) -> None:
        """The room is to be watched: hand its events so far to the session."""
        withheld, self._withheld = self._withheld, None
        for event in withheld or ():
            self._offer(event)

    async def _check_listing(self, room: OpenRoom) -> None:
        for seconds in LISTING_CHECK_DELAYS:
            await sleep(seconds)
            if self._room is not room or self._down or await self._find_instance() is not None:
                return
        if self._room is room:
            self._reason, self._lost_at = "found_ended", None
            self._in_room.cancel()

    def _offer(self, event: RoomEvent) -> None:
        """Hand an event of the room to the session, and note which room instance it is of."""
        if self._withheld is None and self._room is None and self._may_be_ours_alone(event):
            self._withheld = []
        if self._withheld is not None:
            self._withheld.append(event)
            return
        self._session.tell(event)
        if isinstance(event, Reconnecting):
            self._down = True
            self.context.start_soon(self._check_while_down, event.at)
        elif type(event) in _WITH_ROSTER:
            self._down = False
            room_sid = cast("Watching | Resynced | Reconnected", event).roster.room_sid
            if room_sid and room_sid != self._job.room_sid:
                self._job = evolve(self._job, room_sid=room_sid)
                self._memory.room_sid = room_sid
            if isinstance(event, Reconnected):
                self.context.start_soon(self._check_instance)

    def _may_be_ours_alone(self, event: RoomEvent) -> bool:
        """True if we entered another room instance than the job is for, and see nobody."""
        return (
            isinstance(event, Watching)
            and self._job.room_sid not in ("", event.roster.room_sid)
            and bool(event.roster.room_sid)
            and not event.roster.participants
        )

    async def _check_while_down(self, since: float) -> None:
        """Ask the server while our connection is down, and leave as soon as the room is over.

        A server that was killed and is back does not have the room, and LiveKit's SDK would try
        for 20 s to get into it.  `since`: Unix seconds.
        """
        room, missing = self._room, 0
        while missing < ABSENT_ANSWERS:
            await sleep(DOWN_CHECK_INTERVAL)
            if not self._down or self._room is not room:
                return
            missing = missing + 1 if await self._find_instance() is None else 0
        if self._down and self._room is room:
            self._lost_at = since
            self._in_room.cancel()

    async def _check_instance(self) -> None:
        """Ask whether this is still the same room instance.

        A server that was killed and is back lets us into a room that it made anew, and does not
        say so if nobody else is in it.
        """
        if await self._find_instance() is None and self._room is not None:
            self._lost_at = self._clock()
            self._in_room.cancel()

    async def _find_instance(self) -> RoomJob | None:
        """Ask the server whether the room instance exists, until it answers."""
        attempt = 0
        while True:
            try:
                return await self._renew_job(self._job)
            except RoomUnreachable as error:
                attempt += 1
                if attempt & (attempt - 1) == 0:
                    self._announce(
                        "room_unknown", room=self._job.room, attempt=attempt, error=str(error)
                    )
                await sleep(ENTRY_RETRY.delay(attempt, self.context.random))
