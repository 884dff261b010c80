"""The connection actor: keeps us in one room, for as long as that room lives.

It enters through the port, hands every event to its session, and when the connection
is lost finds out whether the same life of the room goes on: then it enters again and
the session continues with a gap; otherwise the session ends.  A bug here is a crash,
and the room's supervisor starts connection and session anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias, cast, final

import trio
from attrs import define, evolve

from actors.rooms.messages import (
    END_REASONS,
    Announce,
    EndReason,
    Finish,
    Leave,
    RosterWanted,
)
from actors.rooms.port import OpenRoom, RoomError, RoomJob, RoomPort, RoomRefused, RoomUnreachable
from actors.rooms.session import Clock, SessionMessage
from actors.runtime import Actor, Backoff, Ref, receives
from actors.session import Reconnected, Reconnecting, Resynced, RoomEvent, Watching

FindAgain: TypeAlias = Callable[[RoomJob], Awaitable[RoomJob | None]]
"""The job with a token that is good now, None where that life of the room is over.
Raises `RoomUnreachable` where the server does not say."""

AGAIN: Final = Backoff(first=0.25, most=10.0, reset_after=30.0)
"""Between tries to enter a room."""
MOST_FAILURES: Final = 6
"""Failed entries in a row, into a room that lives, after which the job has failed."""
_WITH_ROSTER: Final = frozenset({Watching, Resynced, Reconnected})


class Refused(Exception):
    """A room that lives could not be entered, with the server's reason."""


@define
class Stay:
    """What outlives a crash of a connection."""

    over: bool = False
    """The session was told to end: a later incarnation does not go into the room again."""


@final
class ConnectionActor(Actor[Leave | RosterWanted]):
    """One incarnation.  `job` is what LiveKit assigned."""

    def __init__(
        self,
        job: RoomJob,
        port: RoomPort,
        *,
        find_again: FindAgain,
        clock: Clock,
        announce: Announce,
        entered: Callable[[], object],
        stay: Stay,
    ) -> None:
        self._job = job
        self._port = port
        self._find_again = find_again
        self._clock = clock
        self._announce = announce
        self._entered = entered
        self._told = stay
        self._room: OpenRoom | None = None
        self._stay = trio.CancelScope()
        self._reason: EndReason = "server_lost"
        """Why the session ends, as far as it is known."""
        self._down = False
        """The room told that its connection broke, and not yet that it is back."""
        self._lost_at: float | None = None

    async def started(self) -> None:
        self._session: Ref[SessionMessage] = self.context.sibling("session")
        self.context.start_soon(self._run)

    @receives(Leave)
    def leave(self, message: Leave) -> None:
        if message.grace > 0:
            self.context.start_soon(self._leave_later, message)
        else:
            self._reason, self._lost_at = message.reason, None
            self._stay.cancel()

    async def _leave_later(self, message: Leave) -> None:
        """LiveKit also ends the job of an agent that it lets into a room that it is closing,
        and then the end of the job is all we hear."""
        await trio.sleep(message.grace)
        reason = message.reason
        with suppress(RoomUnreachable):
            if await self._find_again(self._job) is None:
                reason = "found_ended"
        self.leave(Leave(reason))

    @receives(RosterWanted)
    def tell_roster(self, _: RosterWanted) -> None:
        if self._room is not None:
            up = not self._down
            self._session.tell(Resynced(self._clock(), self._room.roster(), connected=up))

    async def _run(self) -> None:
        if not self._told.over:
            with self._stay:
                await self._stay_while_it_lives()
            ended_at = self._clock() if self._lost_at is None else self._lost_at
            self._told.over = True
            self._session.tell(Finish(ended_at, self._reason))
        self.context.stop()

    async def _stay_while_it_lives(self) -> None:
        failures = 0
        job: RoomJob | None = self._job
        if self.context.generation > 1:
            job = await self._same_life()
        while job is not None:
            error = await self._visit(job)
            if error is None:
                failures = 0
                if self._lost_at is None:
                    return
            else:
                failures += 1
                self._announce(
                    "room_entry_failed", room=job.room, job_id=job.job_id, error=str(error)
                )
                if failures >= (2 if isinstance(error, RoomRefused) else MOST_FAILURES):
                    raise Refused(f"room {job.room!r} could not be entered: {error}")
                await trio.sleep(AGAIN.delay(failures, self.context.random))
            job = await self._same_life()

    async def _visit(self, job: RoomJob) -> RoomError | None:
        """Be in the room until we are out of it; the error where we never were."""
        try:
            async with self._port.open(job, self._offer) as room:
                self._room = room
                self._entered()
                reason = await room.closed()
        except RoomError as error:
            return error
        finally:
            self._room = None
        end = END_REASONS.get(reason)
        if end is not None:
            self._reason, self._lost_at = end, None
        else:
            self._lost_at = self._clock()
            self._announce("room_lost", room=job.room, job_id=job.job_id, reason=reason)
        return None

    def _offer(self, event: RoomEvent) -> None:
        """Hand an event of the room to the session; note which life of the room it is."""
        self._session.tell(event)
        if isinstance(event, Reconnecting):
            self._down = True
        elif type(event) in _WITH_ROSTER:
            self._down = False
            room_sid = cast("Watching | Resynced | Reconnected", event).roster.room_sid
            if room_sid and room_sid != self._job.room_sid:
                self._job = evolve(self._job, room_sid=room_sid)
            if isinstance(event, Reconnected):
                self.context.start_soon(self._make_sure)

    async def _make_sure(self) -> None:
        """A server that was killed and came back lets us into a room that it made anew, and
        where nobody else is there it does not say so: ask it."""
        if await self._same_life() is None and self._room is not None:
            self._lost_at = self._clock()
            self._stay.cancel()

    async def _same_life(self) -> RoomJob | None:
        """Ask the server, as long as it takes, whether the room lives."""
        attempt = 0
        while True:
            try:
                return await self._find_again(self._job)
            except RoomUnreachable as error:
                attempt += 1
                if attempt & (attempt - 1) == 0:
                    self._announce(
                        "room_unknown", room=self._job.room, attempt=attempt, error=str(error)
                    )
                await trio.sleep(AGAIN.delay(attempt, self.context.random))
