"""Lists the dispatches of named agents in rooms that are watched.

LiveKit tells nobody of a dispatch.  Its list has a dispatch without a job where no worker took it,
and the session finds after a while that it is missing (`actors.session.agent_problems`).  So rooms
are listed: each one soon after it was entered, when an agent joins, and again and again while
somebody is there.

A list is a call of the server's API, 2 ms of a core there and as much here.  So all lists together
have a budget of a few a second, and the first list of a room comes first.  Where this process has
met no other agents, rooms are listed again at a much lower rate.

Other agents are met where one is seen in a room, or a dispatch waits for one for a while.  A
dispatch that has a job is not enough: the agent may be hidden, as another worker that watches rooms
is.  No session sees it, and its rooms would be listed again and again for nothing.

A dispatch whose agent is there and hidden is not reported: to the session it would be missing.

The first list of each room stays, also where no agents are in use.  A dispatch whose agent never
came has no other trace: no webhook, no participant, and nothing in the lists of rooms and people.
A list is of one room, and a room in which nobody is may wait for its agent too (one that calls
somebody by phone).  Without this list the first missing agent of a server is never found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, Protocol, final

import structlog
import trio
from attrs import define
from livekit.protocol import agent_dispatch, models

from actors.session import SessionState
from actors.session.agent_reports import MAX_LABEL, AgentDispatchListed
from bridge.livekit.api_errors import ApiError

log = structlog.get_logger()

TICK: Final = 1.0
"""Seconds between two looks at the rooms that are watched."""
AFTER_ENTRY: Final = 2.0
"""Seconds after the entry: agents that were dispatched with the room have joined by then."""
AGAIN: Final = 4.0
"""Seconds between two lists of one room, at least.  A dispatch is then known in time."""
BUDGET: Final = 5.0
"""Lists a second."""
SMALL_BUDGET: Final = 0.2
"""Lists a second of rooms that were listed before, where no other agents were met."""
WAITS_AFTER: Final = 5.0
"""Seconds after which a dispatch without a job waits.  On a busy machine a job takes some."""
BURST: Final = 10.0
"""Lists that may be made at once."""
NANOSECONDS: Final = 1e9


class ListsDispatches(Protocol):
    """The part of the server's API that is needed."""

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        """The dispatches of a room.  Raises `ApiError`."""
        ...

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        """Everybody in a room, also those who are hidden.  Raises `ApiError`."""
        ...


@define(eq=False)
class _KnownRoom:
    due: float
    """On trio's clock."""
    listed_at: float = float("-inf")
    """Unix seconds of the newest list."""
    reported: dict[str, tuple[str, ...]] | None = None
    """The jobs of each dispatch that the session knows; None while there was none."""
    has_new: bool = False
    """A dispatch had no job in the newest list.  The next list comes in time."""


@final
class AgentDispatches:
    """Lists the dispatches of the watched rooms.  `run` is the service."""

    def __init__(
        self,
        api: ListsDispatches,
        watched: Callable[[], Iterable[SessionState]],
        report: Callable[[str, AgentDispatchListed], object],
        *,
        clock: Callable[[], float],
        own_names: Collection[str],
    ) -> None:
        """`clock` gives Unix seconds by the server's clock.  `own_names`: agents of this worker,
        whose dispatches are none of a voice agent."""
        self._api = api
        self._watched = watched
        self._report = report
        self._clock = clock
        self._own_names = frozenset(own_names)
        self._known: dict[str, _KnownRoom] = {}
        """By room SID."""
        self._budget = self._again_budget = BURST
        self.met_agents = False
        """Other agents are in use here."""

    async def run(self) -> None:
        """List until it is cancelled."""
        while True:
            await self.pass_once()
            await trio.sleep(TICK)

    async def pass_once(self) -> None:
        """Look at all rooms once, and list those that are due."""
        again = BUDGET if self.met_agents else SMALL_BUDGET
        self._again_budget = min(BURST, self._again_budget + again * TICK)
        self._budget = min(BURST, self._budget + BUDGET * TICK)
        for state, first in self._due_rooms():
            if self._budget < 1.0:
                return
            if not first and self._again_budget < 1.0:
                continue
            self._budget -= 1.0
            self._again_budget -= not first
            await self._list(state)

    def _due_rooms(self) -> list[tuple[SessionState, bool]]:
        """The rooms that are due, each with whether it comes first: it was never listed, or a
        dispatch may have got its job."""
        now, known = trio.current_time(), self._known
        due = list[tuple[bool, float, SessionState]]()
        self._known = {}
        for state in self._watched():
            room = known.get(state.room_sid) or _KnownRoom(now + AFTER_ENTRY)
            self._known[state.room_sid] = room
            if state.agents is not None and state.agents.runs:
                self.met_agents = True
                if _joined_since(state, room.listed_at):
                    room.due = min(room.due, now)
            if room.due <= now and state.watching and not state.ended and _is_wanted(state, room):
                expected = (
                    room.has_new and state.agents is not None and state.agents.due is not None
                )
                due.append((room.listed_at >= 0.0 and not expected, room.due, state))
        due.sort(key=lambda one: one[:2])
        return [(state, not again) for again, _, state in due]

    async def _list(self, state: SessionState) -> None:
        room = self._known[state.room_sid]
        room.due, at = trio.current_time() + AGAIN, self._clock()
        try:
            dispatches = await self._api.list_dispatch(state.room)
        except ApiError:
            return  # The room may be over.  It is listed again if it is not.
        room.listed_at, room.has_new = at, False
        for one, event in self._events(self._clock(), dispatches):
            room.has_new = room.has_new or not event.job_ids
            waits = not event.job_ids and event.at - event.created_at >= WAITS_AFTER
            self.met_agents = self.met_agents or waits
            reported = room.reported = {} if room.reported is None else room.reported
            if reported.get(event.dispatch_id) != event.job_ids:
                reported[event.dispatch_id] = event.job_ids
                if not await self._is_hidden(state, one):
                    self._report(state.room_sid, event)

    async def _is_hidden(self, state: SessionState, one: agent_dispatch.AgentDispatch) -> bool:
        """True if the agent of a dispatch is in the room and hidden."""
        identities = {job.state.participant_identity for job in one.state.jobs} - {""}
        if not identities or not identities.isdisjoint(state.present):
            return False
        try:
            participants = await self._api.list_participants(state.room)
        except ApiError:
            return False
        return any(who.identity in identities and who.permission.hidden for who in participants)

    def _events(
        self, at: float, dispatches: Iterable[agent_dispatch.AgentDispatch]
    ) -> Iterator[tuple[agent_dispatch.AgentDispatch, AgentDispatchListed]]:
        for one in dispatches:
            state = one.state
            if not one.agent_name or one.agent_name in self._own_names or state.deleted_at:
                continue
            event = AgentDispatchListed(
                at,
                one.id[:MAX_LABEL],
                one.agent_name[:MAX_LABEL],
                state.created_at / NANOSECONDS,
                tuple(sorted(job.id[:MAX_LABEL] for job in state.jobs)[:10]),
            )
            yield one, event


def _joined_since(state: SessionState, listed_at: float) -> bool:
    """True if an agent joined whose dispatch is not known yet."""
    assert state.agents is not None
    return any(
        run.dispatched_at is None and run.ended_at is None and run.started_at > listed_at
        for run in state.agents.runs.values()
    )


def _is_wanted(state: SessionState, room: _KnownRoom) -> bool:
    """True if a dispatch could still matter: somebody is there, or it was never listed, or one
    waits for its agent."""
    waits = state.agents is not None and state.agents.due is not None
    return room.listed_at < 0.0 or state.current > 0 or waits
