"""The reporter: polls every session by message and logs how the rooms are.

It writes a status line for each room, and at longer intervals the Analytics Report over active
and ended rooms, in the words of `docs/contract.md`.  One deadline covers a whole poll, so a
session that is stuck costs the others nothing: the log names it and goes on.
"""

from __future__ import annotations

from typing import Final, TypeAlias, final

import trio
from attrs import frozen

from actors.journal.process_ports import Announce, Clock
from actors.rooms.messages import ListedRooms, ListRooms, LiveRoom, Snapshot
from actors.runtime import Actor, ActorError, Ref, ReplyTo, ask_all, receives, sleep_until
from actors.session import SessionState, totals

POLL_DEADLINE: Final = 1.0
"""Seconds for all sessions together."""
ENDED_REPORTED: Final = 50
"""Ended rooms that the report names one by one, beginning with the newest."""


@frozen
class StatusDue:
    """Time for the status lines."""


@frozen
class ReportDue:
    """Time for the Analytics Report."""


@frozen
class Sessions:
    """The answer to `ListSessions`."""

    active: tuple[SessionState, ...]
    silent: tuple[LiveRoom, ...]
    """Rooms whose session did not answer."""
    rooms: ListedRooms


@frozen
class ListSessions:
    """Ask for every session of this run, active and ended."""

    reply_to: ReplyTo[Sessions]


ReporterMessage: TypeAlias = StatusDue | ReportDue | ListSessions


@final
class Reporter(Actor[ReporterMessage]):
    """Announces at its intervals (seconds), the first time after one interval."""

    def __init__(
        self,
        manager: Ref[ListRooms],
        *,
        announce: Announce,
        clock: Clock,
        status_every: float,
        report_every: float,
    ) -> None:
        self._manager = manager
        self._announce = announce
        self._clock = clock
        self._status_every = status_every
        self._report_every = report_every

    async def started(self) -> None:
        self.context.start_soon(self._every, self._status_every, StatusDue())
        self.context.start_soon(self._every, self._report_every, ReportDue())

    async def _every(self, seconds: float, message: StatusDue | ReportDue) -> None:
        due = trio.current_time()
        while True:
            due += seconds
            await sleep_until(due)
            self.context.ref.tell(message)

    @receives(StatusDue)
    async def status(self, _: StatusDue) -> None:
        sessions = await self._poll()
        if sessions is None:
            return
        for state in sessions.active:
            self._announce("room_status", room=state.room, **_numbers(state, self._clock()))
        for live in sessions.silent:
            self._announce("room_silent", room=live.room, waited=POLL_DEADLINE)

    @receives(ReportDue)
    async def report(self, _: ReportDue) -> None:
        sessions = await self._poll()
        if sessions is None:
            return
        ended = sessions.rooms.ended[-ENDED_REPORTED:]
        if not sessions.active and not ended:
            return
        self._announce("report_started")
        for state in (*ended, *sessions.active):
            status = "active" if state.ended_at is None else "ended"
            self._announce(
                "report_room", room=state.room, status=status, **_numbers(state, self._clock())
            )
        older = sessions.rooms.ended_count - len(ended)
        if older:
            self._announce("report_older", rooms=older)
        self._announce("report_ended")

    @receives(ListSessions)
    async def list_sessions(self, message: ListSessions) -> None:
        sessions = await self._poll()
        if sessions is not None:
            message.reply_to.send(sessions)

    async def _poll(self) -> Sessions | None:
        """The state of every session; None if the manager itself did not answer."""
        try:
            rooms = await self._manager.ask(ListRooms, timeout=POLL_DEADLINE)
        except ActorError as error:
            self._announce("report_failed", error=str(error))
            return None
        answers = await ask_all(
            [live.session for live in rooms.live], Snapshot, timeout=POLL_DEADLINE
        )
        active: list[SessionState] = []
        silent: list[LiveRoom] = []
        for live, answer in zip(rooms.live, answers, strict=True):
            if isinstance(answer, ActorError):
                silent.append(live)
            elif not answer.ended:
                active.append(answer)
        return Sessions(tuple(active), tuple(silent), rooms)


def _numbers(state: SessionState, now: float) -> dict[str, float | None]:
    one = totals(state, now)
    return {
        "participants": one.participants,
        "tracks": one.tracks,
        "messages": one.messages,
        "duration": one.duration,
    }
