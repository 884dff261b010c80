"""The reconciler: every room that should be watched is, whoever forgot to send us there.

LiveKit dispatches named agents only where somebody asks, and forgets what it promised
when a worker's socket drops.  So we compare what is there with what we hold, and
dispatch to ourselves.  `ListParticipants` is the only truth: a dispatch goes on saying
"running" long after its agent died.  An unnamed worker, which LiveKit would send to
every new room by itself, is no way: it would take jobs from the user's other unnamed
agents.

A pass, every `INTERVAL` seconds while the worker is registered and not draining:

1. `due_rooms` picks, from all rooms, those that match `watch`, that we do not hold,
   that are not excluded and whose time has come.
2. For each, `our_agents` and `under_way` say from its participants and dispatches whether
   an agent of our name is there or on its way; if not, we dispatch.
3. After dispatching we look again: where another reconciler dispatched in the same
   moment, both see both, and the later one is taken back.  LiveKit itself would send
   two agents.

1 and 2 are pure functions; what a room's last look said is in `RoomMemory`.  Where
dispatching brought nothing, the next try comes after a delay that doubles.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Protocol

import structlog
import trio
from attrs import Factory, define, field, frozen
from livekit.protocol import agent_dispatch, models

from bridge.livekit.api import ApiError, ServerApi
from bridge.livekit.protocol import INSTANCE_ATTRIBUTE, OUR_DISPATCH
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE

log = structlog.get_logger()

CHECK_PREFIX: Final = "room-actors-check-"
"""Rooms that `check` opens for an instant: nobody's rooms, never watched."""

INTERVAL: Final = 1.5
"""Seconds between two looks at the list of rooms."""

GRACE: Final = 0.5
"""Seconds, at most, that a room which just appeared is left alone: whoever made it may
be about to dispatch us.  Drawn at random, so that two reconcilers rarely meet."""

FRESH: Final = 5.0
"""Seconds for which somebody's dispatch, or the job it became, counts as being under way."""

LAUNCHES_AT_ONCE: Final = 40
"""More dispatches than this in one go are served late.  LiveKit has 50 places for
launching jobs; for the first 5 s after a worker registered (it then asks every node which
agents there are), and again once a minute, each dispatch keeps one of them."""

LATE: Final = 10.0
"""Seconds for which a dispatch counts as being under way where many were made at once.
Measured: of 300 the last became a job after 7 s."""

RETRY_LONGEST: Final = 60.0
"""Seconds: the first retry comes when the dispatch is not under way any more, each
further one after twice as long, up to this."""

GHOST_LIFE: Final = 30.0
"""Seconds after which a participant with our own instance id was not left behind by a
crash (LiveKit drops those after 23 s): another worker uses the same id."""

RECHECK: Final = 3.0
"""Seconds until a room that another worker watches is looked at again, at least."""

LOOKS_PER_SECOND: Final = 20.0
"""How many rooms of other workers are looked at in a second, all in all."""

AT_ONCE: Final = 8
"""Rooms that are looked at at the same time."""

KEPT_AFTER: Final = 30.0
"""Seconds after its dispatch for which a room must be ours for its tries to be forgotten:
one that we enter and lose at once is not dispatched to at once again."""

ERROR_BACKOFF_LONGEST: Final = 15.0
"""Seconds between passes while the server cannot answer."""

NANOSECONDS: Final = 1e9
"""In a second: LiveKit's unit for when a dispatch was made and a job started."""


# ---------------------------------------------------------------------- decisions


@frozen
class RoomSeen:
    """A room as `ListRooms` shows it."""

    sid: str
    name: str


@define
class RoomMemory:
    """What we remember of a room.  Times are on trio's clock."""

    next_look: float
    seen_at: float = float("-inf")
    """When it appeared; for ever ago if it was there before we were."""
    tries: int = 0
    """How often it was dispatched to without our keeping it."""
    dispatched_at: float = float("-inf")
    dispatches: set[str] = field(factory=set[str])
    """The ids of our own."""
    ghost_since: float = float("inf")
    """Since when an agent with our instance id is there that is not ours any more."""
    watched_by_others: bool = False
    unplaced: bool = False
    """There was no place for it when it was last looked at."""


def watches(patterns: Iterable[str], room: str) -> bool:
    """Whether a room's name fits one of the globs, upper and lower case apart."""
    return any(fnmatchcase(room, pattern) for pattern in patterns)


def due_rooms(
    rooms: Iterable[RoomSeen],
    memory: Mapping[str, RoomMemory],
    now: float,
    *,
    patterns: Sequence[str],
    held: Collection[str],
    excluded: Callable[[str, str], bool],
) -> list[RoomSeen]:
    """The rooms that want a look now.  `held` are the names of those that are ours."""
    return [
        room
        for room in rooms
        if memory[room.sid].next_look <= now
        and room.name not in held
        and not room.name.startswith(CHECK_PREFIX)
        and watches(patterns, room.name)
        and not excluded(room.name, room.sid)
    ]


def our_agents(participants: Iterable[models.ParticipantInfo], agent_name: str) -> frozenset[str]:
    """The instance ids of the agents of our name, "" for one that carries none."""
    return frozenset(
        who.attributes.get(INSTANCE_ATTRIBUTE, "")
        for who in participants
        if who.kind == models.ParticipantInfo.Kind.AGENT
        and who.attributes.get(AGENT_NAME_ATTRIBUTE) == agent_name
    )


def under_way(
    dispatches: Iterable[agent_dispatch.AgentDispatch],
    agent_name: str,
    server_time: float,
    in_vain: Collection[str] = (),
) -> bool:
    """Whether a dispatch of our name may still bring an agent, whoever made it.

    `in_vain` are the ids of those that were given up; a job that came of one counts.
    """

    def age(nanoseconds: int) -> float:
        return server_time - nanoseconds / NANOSECONDS

    def waiting(dispatch: agent_dispatch.AgentDispatch) -> bool:
        # Reconcilers dispatch to many rooms at once, people seldom.
        longest = LATE if dispatch.metadata == OUR_DISPATCH else FRESH
        return dispatch.id not in in_vain and age(dispatch.state.created_at) < longest

    return any(
        waiting(dispatch) or any(age(job.state.started_at) < FRESH for job in dispatch.state.jobs)
        for dispatch in dispatches
        if dispatch.agent_name == agent_name and not dispatch.state.deleted_at
    )


def superseded(
    mine: agent_dispatch.AgentDispatch,
    dispatches: Iterable[agent_dispatch.AgentDispatch],
) -> bool:
    """Whether our own new dispatch must go, because another one came just before it.

    Everyone who sees both decides alike: the oldest stays, at the same nanosecond the
    one with the smaller id.
    """
    created_at = mine.state.created_at
    return any(
        other.agent_name == mine.agent_name
        and not other.state.deleted_at
        and created_at - FRESH * NANOSECONDS < other.state.created_at
        and (other.state.created_at, other.id) < (created_at, mine.id)
        for other in dispatches
    )


def patience(at_once: int) -> float:
    """Seconds to wait for a job where `at_once` rooms were dispatched to at once."""
    return FRESH if at_once <= LAUNCHES_AT_ONCE else LATE


def retry_delay(tries: int, at_once: int) -> float:
    """Seconds until a room is dispatched to again, after `tries` dispatches to it."""
    return min(RETRY_LONGEST, patience(at_once) * 2.0 ** min(tries - 1, 16))


# ------------------------------------------------------------------------- the loop


class Capacity(Protocol):
    """What the reconciler asks the worker."""

    @property
    def registered(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def free(self) -> int: ...
    @property
    def rooms(self) -> frozenset[str]: ...
    async def wait_registered(self) -> None: ...


def _nothing() -> Collection[str]:
    return ()


def _never(_room: str, _sid: str) -> bool:
    return False


@define(eq=False)
class Reconciler:
    """Dispatches `agent_name` to every room that matches `watch` and has none.

    `held` names the rooms we are in beyond those the worker has jobs for.  `excluded`
    is asked with a room's name and SID: true where it must be left alone (the user
    deleted our dispatch, the session just ended).
    """

    api: ServerApi
    worker: Capacity
    agent_name: str
    instance: str
    watch: Sequence[str]
    held: Callable[[], Collection[str]] = _nothing
    excluded: Callable[[str, str], bool] = _never
    rng: random.Random = Factory(random.Random)
    _memory: dict[str, RoomMemory] | None = field(default=None, init=False)
    """By room SID; None before the first pass, when no room is new."""
    _places: int = field(default=0, init=False)
    """Places left in this pass."""
    _at_once: int = field(default=0, init=False)
    """Rooms that are, or may be, dispatched to in this pass and the last seconds."""
    _new_in: float = field(default=0.0, init=False)
    """Seconds until the rooms that appeared in this pass are looked at."""
    _unplaced_said: int = field(default=0, init=False)
    """How many rooms there were no places for, as last said."""
    _error: str = field(default="", init=False)
    """What went wrong, as last said."""
    _failures: int = field(default=0, init=False)
    _shared_said: bool = field(default=False, init=False)
    """Whether it was said that another worker has our instance id."""

    def __attrs_post_init__(self) -> None:
        if not self.agent_name:
            raise ValueError("rooms can only be dispatched to under an agent name")

    async def run(self) -> None:
        """Reconcile until cancelled.  Returns at once where there is nothing to watch."""
        if not self.watch:
            return
        await trio.sleep(self.rng.uniform(0, GRACE))
        while True:
            if not self.worker.registered:
                await self.worker.wait_registered()
                # A server that comes back has all its workers again in the same moment.
                await trio.sleep(self.rng.uniform(0, GRACE))
            try:
                pause = INTERVAL if self.worker.draining else await self.reconcile()
            except ApiError as error:
                self._failures += 1
                self._complain(str(error))
                bound = min(ERROR_BACKOFF_LONGEST, INTERVAL * 2.0 ** min(self._failures, 16))
                pause = self.rng.uniform(INTERVAL, max(INTERVAL, bound))
            else:
                self._failures = 0
            await trio.sleep(pause)

    async def reconcile(self) -> float:
        """One pass.  Seconds until the next; raises `ApiError` if the list cannot be had."""
        seen = [RoomSeen(room.sid, room.name) for room in await self.api.list_rooms()]
        now = trio.current_time()
        held = {*self.worker.rooms, *self.held()}
        memory = self._remember(seen, held, now)
        due = due_rooms(seen, memory, now, patterns=self.watch, held=held, excluded=self.excluded)
        # Two reconcilers that look at the same rooms in the same order meet at each of them.
        self.rng.shuffle(due)
        waits = [now - memory[room.sid].dispatched_at for room in seen if room.name not in held]
        self._at_once = len(due) + sum(wait < LATE for wait in waits)
        self._places = self.worker.free - sum(wait < patience(self._at_once) for wait in waits)
        others = sum(known.watched_by_others or known.unplaced for known in memory.values())
        recheck = max(RECHECK, others / LOOKS_PER_SECOND)
        errors: list[str] = []

        async def look(room: RoomSeen) -> None:
            known = memory[room.sid]
            known.next_look = trio.current_time() + recheck
            try:
                await self._look(room, known)
            except ApiError as error:
                errors.append(str(error))

        await _each_of(due, look)
        self._complain(errors[0] if errors else "", rooms=len(errors))
        self._say_unplaced(
            [room.name for room in seen if memory[room.sid].unplaced and room.name not in held]
        )
        return self._new_in if any(m.seen_at == now for m in memory.values()) else INTERVAL

    def _remember(
        self, seen: Iterable[RoomSeen], held: Collection[str], now: float
    ) -> dict[str, RoomMemory]:
        """Forget the rooms that are gone, and the failed tries for those we kept for long."""
        before = self._memory
        # One draw for all that are new, so that one further pass deals with them.
        self._new_in = self.rng.uniform(GRACE / 4, GRACE)
        memory: dict[str, RoomMemory] = {}
        for room in seen:
            if before is None:
                memory[room.sid] = RoomMemory(next_look=now)
            elif (known := before.get(room.sid)) is None:
                memory[room.sid] = RoomMemory(next_look=now + self._new_in, seen_at=now)
            else:
                memory[room.sid] = known
                if room.name in held and now - known.dispatched_at > KEPT_AFTER:
                    known.tries, known.next_look = 0, now
        self._memory = memory
        return memory

    async def _look(self, room: RoomSeen, known: RoomMemory) -> None:
        """Look at one room and dispatch if need be."""
        agents = our_agents(await self.api.list_participants(room.name), self.agent_name)
        # What a crash of ours left behind is no watcher.  That it is listed shows that the
        # room lives, and its dispatch may look fresh: what is under way does not matter.
        left_behind = self._left_behind(agents, known)
        known.watched_by_others = bool(agents) and not left_behind
        known.unplaced = False
        if known.watched_by_others:
            return
        if not left_behind and under_way(
            await self.api.list_dispatch(room.name),
            self.agent_name,
            self.api.server_time(),
            in_vain=known.dispatches,
        ):
            return
        if self._is_ours(room):
            return
        known.unplaced = self._places <= 0
        if not known.unplaced:
            self._places -= 1
            await self._dispatch(room, known)

    def _left_behind(self, agents: frozenset[str], known: RoomMemory) -> bool:
        """Whether all of `agents` are of our own instance, and not for too long."""
        if agents != {self.instance}:
            known.ghost_since = float("inf")
            return False
        now = trio.current_time()
        known.ghost_since = min(known.ghost_since, now)
        if now - known.ghost_since < GHOST_LIFE:
            return True
        if not self._shared_said:
            self._shared_said = True
            log.error("instance_shared", instance=self.instance)
        return False

    def _is_ours(self, room: RoomSeen) -> bool:
        """Whether we got the room, or lost interest, while we looked."""
        return (
            room.name in self.worker.rooms
            or room.name in self.held()
            or self.excluded(room.name, room.sid)
            or self.worker.draining
            or not self.worker.registered
        )

    async def _dispatch(self, room: RoomSeen, known: RoomMemory) -> None:
        known.tries += 1
        known.dispatched_at = trio.current_time()
        known.next_look = known.dispatched_at + retry_delay(known.tries, self._at_once)
        mine = await self.api.create_dispatch(room.name, self.agent_name, OUR_DISPATCH)
        known.dispatches.add(mine.id)
        log.info(
            "room_dispatched",
            room=room.name,
            room_sid=room.sid,
            dispatch_id=mine.id,
            attempt=known.tries,
        )
        if superseded(mine, await self.api.list_dispatch(room.name)):
            await self.api.delete_dispatch(room.name, mine.id)
            known.tries -= 1
            log.info("dispatch_taken_back", room=room.name, dispatch_id=mine.id)

    # ----------------------------------------------------------------- what is said

    def _complain(self, error: str, rooms: int | None = None) -> None:
        """Log an error when it begins, changes and ends, not each time."""
        if error == self._error:
            return
        if error:
            log.warning("reconcile_failed", error=error, rooms=rooms)
        else:
            log.info("reconcile_recovered")
        self._error = error

    def _say_unplaced(self, rooms: Sequence[str]) -> None:
        """Log the rooms there is no place for: the first time, when they are twice as
        many as was said, and when there are none any more."""
        if rooms and len(rooms) >= 2 * self._unplaced_said:
            log.warning("rooms_not_watched", rooms=len(rooms), first=sorted(rooms)[:5])
            self._unplaced_said = len(rooms)
        elif not rooms and self._unplaced_said:
            log.info("rooms_all_watched")
            self._unplaced_said = 0


async def _each_of(rooms: Sequence[RoomSeen], look: Callable[[RoomSeen], Awaitable[None]]) -> None:
    """Call `look` for each of `rooms`, `AT_ONCE` at a time."""
    queue = iter(rooms)

    async def take() -> None:
        for room in queue:
            await look(room)

    async with trio.open_nursery() as nursery:
        for _ in range(min(AT_ONCE, len(rooms))):
            nursery.start_soon(take)
