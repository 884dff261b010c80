"""The reconciler: every room that should be watched is, by one worker, whoever forgot it.

LiveKit dispatches named agents only where somebody asks, and forgets what it promised
when a worker's socket drops.  So we compare what is there with what we hold.
`ListParticipants` is the only truth: a dispatch goes on saying "running" long after its
agent died.  An unnamed worker, which LiveKit would send to every new room by itself, is
no way: it would take jobs from the user's other unnamed agents.

A pass, every `INTERVAL` seconds and whenever somebody says `look_now`, while the worker
is registered and not draining:

1. `candidates` picks from all rooms those that are ours or should be.
   Those with people come first; of the places, rooms with nobody in them leave a tenth free.
2. In a room that is not ours, `our_agents` and `under_way` say from its participants and
   dispatches whether an agent of our name is there or on its way; if not, we get it.
3. In a room that is ours, `duplicate_agents` says whether another worker was there before us:
   then we leave it, and our session of it ends.

There are two ways to get a room:

* A **dispatch**: LiveKit chooses the worker, so rooms spread over all of them.  After
  dispatching we look again: where another reconciler dispatched in the same moment,
  both see both, and the later one is taken back.
* A **claim** (`Worker.claim`): a job for this worker at once.  For rooms that are
  `wanted`, whose sessions are ours to go on with, and where more rooms are waiting than
  LiveKit launches jobs for (measured: 300 claims are jobs after 0.1 s, 100 dispatches
  right after a registration after 5.6 s).  Not a
  token of our own, which would do as well: a claimed job is in the worker's book like
  any other, so that its place, its status and its end are counted once.  Two workers
  can claim the same room; 3 settles it.  So each claims only as many as it can enter
  in that moment, in an order of its own, and looks before each.  A worker that sees no
  other one (`claims_when_alone`) has nothing to spread and claims every room.

The decisions are pure functions (`decisions`); what a room's last look said is in
`RoomMemory`.  Where a try brought nothing the next is a dispatch, after a delay that
doubles.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog
import trio
from attrs import Factory, define, field
from livekit.protocol import models

from actors.runtime import Backoff
from bridge.livekit.api_errors import ApiError, NotFound
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.decisions import (
    CLOCKS_APART,
    DISPATCH_GRACE,
    FRESH_IN_A_BURST,
    KEPT_AFTER,
    LATE,
    LAUNCH,
    LAUNCHES_AT_ONCE,
    ListedAgent,
    ListedRoom,
    RoomMemory,
    candidates,
    dispatch_grace,
    duplicate_agents,
    has_people,
    namesakes,
    our_agents,
    retry_delay,
    rooms_in,
    superseded,
    under_way,
)
from bridge.livekit.worker.worker_protocol import OUR_DISPATCH

log = structlog.get_logger()

INTERVAL: Final = 1.5
"""Seconds between two looks at the list of rooms, at most."""

LEAST_PAUSE: Final = 0.1
"""Seconds between two looks at the list of rooms, at least."""

GRACE: Final = 0.5
"""Seconds, at most, that a room which just appeared is left alone: whoever made it may
be about to dispatch us.  Drawn at random, so that two reconcilers rarely meet."""

CLAIMED_AT_ONCE: Final = 12
"""Rooms that are claimed, or on the way to be entered, at the same time: a few more than
are entered at once (8, see `connection`), so that nobody waits there.  The more, the more
often two workers claim the same room."""

CLAIM_MORE_AT: Final = 8
"""As soon as only so many are, more are claimed."""

CLAIM_ANSWERED: Final = 1.0
"""Seconds for which a claim counts without the job that answers it (after milliseconds)."""

GHOST_LIFE: Final = 30.0
"""Seconds after which a participant with our own instance id was not left behind by a
crash (LiveKit drops those after 23 s): another worker uses the same id."""

PLACE_FREE_AFTER: Final = 0.3
"""Seconds until a room that gets the place of an empty one is looked at again: leaving takes
0.1 s."""

PLACE_WITHIN: Final = 3.0
"""Seconds that an empty room has to be left, until another one is to be."""

RECHECK: Final = 3.0
"""Seconds until a room that another worker watches is looked at again, at least."""

SETTLED: Final = 1.0
"""Seconds after a room became ours until we look whether somebody else came too."""

OURS_RECHECK: Final = 30.0
"""Seconds until we look so again: after an outage a room can have got another watcher
before we were back in it."""

LOOKS_PER_SECOND: Final = 20.0
"""How many rooms of other workers are looked at in a second, all in all."""

AT_ONCE: Final = 8
"""Rooms that are looked at at the same time."""

ALONE_AFTER: Final = 60.0
"""Seconds without another worker's agent after which we count as the only one."""

NAMESAKES_LOGGED: Final = 20
"""Rooms in which it is said that another agent bears our name."""

ERROR_BACKOFF: Final = Backoff(first=2 * INTERVAL, most=15.0, jitter=0.5)
"""Between passes while the server cannot answer."""


class WorkerView(Protocol):
    """What the reconciler asks the worker."""

    @property
    def registered(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def free(self) -> int: ...
    @property
    def rooms(self) -> frozenset[str]: ...
    @property
    def identities(self) -> frozenset[str]: ...
    @property
    def under_way(self) -> int: ...
    @property
    def kept_for_people(self) -> int: ...
    def kept_from(self, room: str) -> int: ...
    def reserved_for(self, room: str) -> bool: ...
    async def wait_registered(self) -> None: ...
    async def wait_under_way(self, most: int) -> None: ...
    def claim(self, room: str, room_sid: str, created_at: float | None) -> None: ...


def _nothing() -> Collection[str]:
    return ()


def _nowhere() -> Sequence[tuple[str, str]]:
    return ()


def _nothing_done(_sid: str) -> None:
    return None


def _never(_room: str, _sid: str) -> bool:
    return False


@define(eq=False)
class Reconciler:
    """Gets `agent_name` into every room that matches `watch` and has none.

    `held` are the names of rooms in which we are, or to which a connection of ours may
    come back: the life of such a room that we do not know is left to that connection.
    What is only being left does not belong to them.
    `excluded` is asked with a room's name and SID: true where it must be left alone (the
    user deleted our dispatch).
    `wanted` are the SIDs of rooms to be watched whatever `watch` says, because we were in
    them and did not want to leave: their sessions were open when we died.  Where another
    worker watches one by now, it is left to that one.

    With no name there are no dispatches, so `watch` must be empty.
    """

    api: ServerApi
    worker: WorkerView
    agent_name: str
    instance: str
    watch: Sequence[str]
    former: frozenset[str] = frozenset()
    """Instance ids that this worker had before it was started, perhaps after a crash.  They
    are ours for `GHOST_LIFE` after the start: by then LiveKit has dropped what a crash left."""
    held: Callable[[], Collection[str]] = _nothing
    excluded: Callable[[str, str], bool] = _never
    wanted: Callable[[], Collection[str]] = _nothing
    claims_when_alone: bool = False
    """Claim rooms at the first try as long as no other worker of this name is seen.  A dispatch
    spreads rooms over workers, and makes a room that is deleted in that moment anew; a claim
    does not, and is 0.2 s faster."""
    vacant: Callable[[], Sequence[tuple[str, str]]] = _nowhere
    """SID and name of the rooms that we are in, for watching only, and that nobody is in, the
    newest first."""
    give_up: Callable[[str], object] = _nothing_done
    """Leave one of those, by its SID, for a room with people."""
    rng: random.Random = Factory(random.Random)
    without_place: tuple[str, ...] = field(default=(), init=False)
    """Names of the rooms that would be watched if there was a place, as of the last pass; those
    that were prepared and that nobody is in are among them."""
    _memory: dict[str, RoomMemory] | None = field(default=None, init=False)
    """By room SID; None before the first pass, when no room is new."""
    _began_at: float = field(default=float("-inf"), init=False)
    """On trio's clock."""
    _nudges: set[str] = field(factory=set[str], init=False)
    """The SIDs to look at now."""
    _nudged: trio.Event = field(factory=trio.Event, init=False)
    _wanted: frozenset[str] = field(default=frozenset(), init=False)
    """As of this pass."""
    _places: int = field(default=0, init=False)
    """Places left in this pass."""
    _at_once: int = field(default=0, init=False)
    """Rooms that are to be had in this pass, and were in the last seconds."""
    _claims: int = field(default=0, init=False)
    """Rooms that can still be claimed in this pass."""
    _backlog: bool = field(default=False, init=False)
    """Rooms are left that wait until others are entered."""
    _unplaced_said: int = field(default=0, init=False)
    """How many rooms there were no places for, as last said."""
    _error: str = field(default="", init=False)
    """What went wrong, as last said."""
    _failures: int = field(default=0, init=False)
    _faults: int = field(default=0, init=False)
    """Errors that were no `ApiError`."""
    _namesakes: int = field(default=0, init=False)
    """Rooms in which agents of our name were found that are none of ours.  Dispatches may go
    to these, so rooms are claimed from then on."""
    _others_seen_at: float = field(default=float("-inf"), init=False)
    """When an agent of another worker was seen, on trio's clock."""
    _shared_said: bool = field(default=False, init=False)
    """Whether it was said that another worker has our instance id."""

    def __attrs_post_init__(self) -> None:
        if self.watch and not self.agent_name:
            raise ValueError("rooms can only be dispatched to under an agent name")

    def look_now(self, room_sid: str) -> None:
        """Look at this room at once: somebody told us that it is there."""
        self._nudges.add(room_sid)
        self._nudged.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self._began_at = trio.current_time()
        began = False
        while True:
            if not (began and self.worker.registered):
                began = True
                await self.worker.wait_registered()
                await self._begin()
            if self.worker.draining or not (self.watch or self.wanted()):
                await trio.sleep(INTERVAL)
                continue
            try:
                pause = await self.reconcile()
            except Exception as error:  # noqa: BLE001  must not end the process with all rooms
                self._failures += 1
                self._complain(self._text_of(error))
                await trio.sleep(ERROR_BACKOFF.delay(self._failures, self.rng))
            else:
                self._failures = 0
                await self._rest(pause)

    async def _begin(self) -> None:
        """After each registration: what was under way was lost with the last connection."""
        if not self.wanted():
            # A server that comes back has all its workers again in the same moment.
            await trio.sleep(self.rng.uniform(0, GRACE))
        now = trio.current_time()
        for known in (self._memory or {}).values():
            if not known.ours and now - known.tried_at < LATE:
                known.next_look = now

    async def _rest(self, seconds: float) -> None:
        """Wait for the next pass: somebody's `look_now`, or a place at the rooms' doors."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                if self._backlog:
                    nursery.start_soon(self._until_entered, nursery.cancel_scope)
                await self._nudged.wait()
                nursery.cancel_scope.cancel()

    async def _until_entered(self, rest: trio.CancelScope) -> None:
        await trio.sleep(LEAST_PAUSE)
        await self.worker.wait_under_way(CLAIM_MORE_AT)
        rest.cancel()

    # ------------------------------------------------------------------------ a pass

    async def reconcile(self) -> float:
        """One pass.  Seconds until the next; raises `ApiError` if the list cannot be had."""
        nudges, self._nudges, self._nudged = self._nudges, set(), trio.Event()
        # What was ours while the list was made is no news, even if it ended meanwhile.
        before = self._ours()
        seen = rooms_in(await self.api.list_rooms())
        now = trio.current_time()
        self._wanted = frozenset(self.wanted())
        memory = self._remember(seen, before | self._ours(), nudges, now)
        those = candidates(
            seen, memory, patterns=self.watch, wanted=self._wanted, excluded=self.excluded
        )
        due = [room for room in those if memory[room.sid].next_look <= now]
        # Two reconcilers that look at the same rooms in the same order meet at each of them.
        self.rng.shuffle(due)
        self._count(memory, due, now)
        others = sum(known.watched_by_others or known.unplaced for known in memory.values())
        recheck = max(RECHECK, others / LOOKS_PER_SECOND)
        errors: list[str] = []

        async def look(room: ListedRoom) -> None:
            known = memory[room.sid]
            known.next_look = trio.current_time() + recheck
            try:
                await (self._look_inside if known.ours else self._look)(room, known)
            except Exception as error:  # noqa: BLE001  the other rooms are looked at
                errors.append(self._text_of(error))

        # Rooms with people get the places first, and of these what we watched before.
        for somebody in (True, False):
            for before in (True, False):
                those_due = [
                    room
                    for room in due
                    if bool(room.people or memory[room.sid].people) is somebody
                    and (room.sid in self._wanted) is before
                ]
                await _each_of(those_due, look)
        self._complain(errors[0] if errors else "", rooms=len(errors))
        self.without_place = tuple(
            sorted(
                room.name for room in those if (one := memory[room.sid]).unplaced and not one.ours
            )
        )
        self._say_unplaced(
            [room.name for room in those if (known := memory[room.sid]).unplaced and known.people]
        )
        if self._backlog:
            return INTERVAL
        soonest = min((memory[room.sid].next_look for room in those), default=float("inf"))
        return min(INTERVAL, max(LEAST_PAUSE, soonest - trio.current_time()))

    def _ours(self) -> frozenset[str]:
        """The SIDs of the rooms that are ours, and names where those are all we know."""
        return self.worker.rooms | frozenset(self.held())

    def _remember(
        self, seen: Iterable[ListedRoom], ours: Collection[str], nudges: Collection[str], now: float
    ) -> dict[str, RoomMemory]:
        """Forget the rooms that are gone; note which became ours, and which are no more."""
        before = self._memory
        # One draw for all that are new, so that one further pass deals with them.
        new_at = now + self.rng.uniform(GRACE / 4, GRACE)
        memory: dict[str, RoomMemory] = {}
        for room in seen:
            known = (before or {}).get(room.sid)
            if known is None:
                known = RoomMemory(next_look=now if before is None else new_at)
            memory[room.sid] = known
            is_ours = room.sid in ours or room.name in ours
            if is_ours != known.ours:
                known.ours = is_ours
                (_became_ours if is_ours else _was_lost)(known, now)
            came = room.people and known.unplaced and not known.people
            if came or room.sid in nudges:
                known.next_look = min(known.next_look, now)
        self._memory = memory
        return memory

    def _count(self, memory: dict[str, RoomMemory], due: Sequence[ListedRoom], now: float) -> None:
        """How many rooms are under way, and how many more we can take."""
        hoped_for = sum(not memory[room.sid].ours for room in due)
        lately = sum(now - known.tried_at < LAUNCH for known in memory.values())
        self._at_once = hoped_for + lately
        waits = [now - known.tried_at for known in memory.values() if not known.ours]
        self._places = self.worker.free - sum(
            wait < dispatch_grace(self._at_once) for wait in waits
        )
        unanswered = sum(wait < CLAIM_ANSWERED for wait in waits)
        self._claims = CLAIMED_AT_ONCE - self.worker.under_way - unanswered
        self._backlog = False

    # ------------------------------------------------------------------------ a room

    async def _look_inside(self, room: ListedRoom, known: RoomMemory) -> None:
        """Look at a room that is ours, and leave it to whoever was there first."""
        participants = await self.api.list_participants(room.name)
        self._note_namesakes(room, known, participants)
        agents = our_agents(participants, self.agent_name)
        former = self._former()
        agents = tuple(agent for agent in agents if agent.instance not in former)
        mine = self.worker.identities
        if any(agent.identity in mine for agent in agents):
            known.next_look += OURS_RECHECK * self.rng.uniform(0.5, 1.0)
        for identity in duplicate_agents(agents, mine, self.instance):
            log.info("room_left_to_another", room=room.name, room_sid=room.sid)
            with suppress(NotFound):  # It may have left by itself.
                await self.api.remove_participant(room.name, identity)

    async def _look(self, room: ListedRoom, known: RoomMemory) -> None:
        """Look at a room that should be ours, and get it if need be."""
        if self._must_wait(self._is_to_be_claimed(room, known), known):
            return
        participants = await self.api.list_participants(room.name)
        known.people = has_people(participants)
        self._note_namesakes(room, known, participants)
        if not await self._is_unwatched(room, known, participants) or self._is_ours_by_now(room):
            return
        known.unplaced = not self._has_place(room, known)
        if known.unplaced:
            if known.people:
                await self._make_place(room, known)
            return
        claim = self._is_to_be_claimed(room, known)
        if self._must_wait(claim, known):
            return
        self._places -= 1
        known.tries += 1
        known.tried_at = trio.current_time()
        if claim:
            self._claims -= 1
            known.next_look = known.tried_at + retry_delay(known.tries)
            self.worker.claim(room.name, room.sid, room.created_at or None)
            log.info("room_claimed", room=room.name, room_sid=room.sid, attempt=known.tries)
        else:
            known.next_look = known.tried_at + retry_delay(known.tries, self._at_once)
            await self._dispatch(room, known)

    def _must_wait(self, claim: bool, known: RoomMemory) -> bool:
        """Whether a room that is to be claimed has to wait until others are entered."""
        if claim and self._claims <= 0:
            self._backlog = True
            known.next_look = trio.current_time()
            return True
        return False

    def _has_place(self, room: ListedRoom, known: RoomMemory) -> bool:
        """Whether there is a place for this room: rooms with nobody in them leave some free,
        and others are reserved."""
        kept = self.worker.kept_from(room.name)
        if not known.people:
            kept += self.worker.kept_for_people
        return self._places > kept

    async def _make_place(self, room: ListedRoom, known: RoomMemory) -> None:
        """Have an empty room of ours give its place to this one, which has people.

        One that is not reserved for goes first, then the newest.  A room that cannot use
        reserved places gets none from a room that can.
        """
        now = trio.current_time()
        known.next_look = now + PLACE_FREE_AFTER
        if now - known.place_asked_at < PLACE_WITHIN:
            return
        reserved = self.worker.reserved_for
        those = [one for one in self.vacant() if reserved(room.name) or not reserved(one[1])]
        taken = {
            other.place_of
            for other in (self._memory or {}).values()
            if now - other.place_asked_at < PLACE_WITHIN
        }
        for sid, name in sorted(those, key=lambda one: reserved(one[1])):
            if sid in taken:
                continue
            known.place_of, known.place_asked_at = sid, now  # Others look meanwhile.
            # Who publishes nothing is announced up to 3 s late; the list has them at once.
            if not has_people(await self.api.list_participants(name)):
                log.info("place_given_up", room=name, room_sid=sid, to=room.name)
                self.give_up(sid)
                return
        known.place_asked_at = float("-inf")
        known.next_look = now + RECHECK

    def _is_to_be_claimed(self, room: ListedRoom, known: RoomMemory) -> bool:
        if not self.agent_name or self._namesakes:
            return True
        many = self._at_once > LAUNCHES_AT_ONCE
        alone = trio.current_time() - self._others_seen_at > ALONE_AFTER
        return known.tries == 0 and (
            many or room.sid in self._wanted or (alone and self.claims_when_alone)
        )

    async def _is_unwatched(
        self,
        room: ListedRoom,
        known: RoomMemory,
        participants: Sequence[models.ParticipantInfo],
    ) -> bool:
        """Whether no worker of ours is there or on its way, and the room lives."""
        agents = our_agents(participants, self.agent_name)
        if not self.worker.identities.isdisjoint(agent.identity for agent in agents):
            return False  # We are back in a life of the room that our job does not name yet.
        # What a crash of ours left behind is no watcher.  That it is listed shows that the
        # room lives, and its dispatch may look fresh: what is under way does not matter.
        left_behind = self._left_behind(agents, known)
        known.watched_by_others = bool(agents) and not left_behind
        if known.watched_by_others:
            self._others_seen_at = trio.current_time()
        if agents:
            return left_behind
        # A dispatch makes a room anew that is gone by now.
        if not (participants or await self._lives(room)):
            return False
        if room.sid in self._wanted:
            return True
        waiting = under_way(
            await self.api.list_dispatch(room.name),
            self.agent_name,
            self.api.clock.now(),
            in_vain=known.dispatches,
            fresh=FRESH_IN_A_BURST if self._at_once > LAUNCHES_AT_ONCE else DISPATCH_GRACE,
        )
        if waiting:
            known.next_look = min(known.next_look, trio.current_time() + waiting)
        return not waiting

    async def _lives(self, room: ListedRoom) -> bool:
        return any(one.sid == room.sid for one in await self.api.list_rooms([room.name]))

    def _left_behind(self, agents: Collection[ListedAgent], known: RoomMemory) -> bool:
        """Whether all of `agents` are of our own instance, and not for too long."""
        instances = {agent.instance for agent in agents}
        if not instances or not instances <= {self.instance, *self._former()}:
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

    def _former(self) -> frozenset[str]:
        fresh = trio.current_time() - self._began_at < GHOST_LIFE
        return self.former if fresh else frozenset()

    def _is_ours_by_now(self, room: ListedRoom) -> bool:
        """Whether we got the room, or lost interest, while we looked."""
        ours = self._ours()
        return (
            room.sid in ours
            or room.name in ours
            or self.excluded(room.name, room.sid)
            or self.worker.draining
            or not self.worker.registered
        )

    async def _dispatch(self, room: ListedRoom, known: RoomMemory) -> None:
        asked_at = self.api.clock.now()
        mine = await self.api.create_dispatch(room.name, self.agent_name, OUR_DISPATCH)
        known.dispatches.add(mine.id)
        log.info(
            "room_dispatched",
            room=room.name,
            room_sid=room.sid,
            dispatch_id=mine.id,
            attempt=known.tries,
        )
        if await self._was_made_anew(room, asked_at):
            return
        if superseded(mine, await self.api.list_dispatch(room.name)):
            await self.api.delete_dispatch(room.name, mine.id)
            known.tries -= 1
            log.info("dispatch_taken_back", room=room.name, dispatch_id=mine.id)

    async def _was_made_anew(self, room: ListedRoom, asked_at: float) -> bool:
        """Whether our dispatch made a room that was deleted in that moment anew; it is then
        deleted again, unless somebody is there, or it may be somebody's: with metadata, or
        made before we asked (`asked_at`, by the server's clock)."""
        lives = await self.api.list_rooms([room.name])
        if not lives or any(one.sid == room.sid for one in lives):
            return False
        ours = ListedRoom.of(lives[0]).created_at >= asked_at - CLOCKS_APART
        if not ours or lives[0].metadata or await self.api.list_participants(room.name):
            return True
        log.info("room_undone", room=room.name, room_sid=lives[0].sid)
        await self.api.delete_room(room.name)
        return True

    # ----------------------------------------------------------------- what is said

    def _text_of(self, error: Exception) -> str:
        """What is said of it: an `ApiError` explains itself, any other is a fault of ours."""
        if isinstance(error, ApiError):
            return str(error)
        self._faults += 1
        if self._faults & (self._faults - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.error("reconciler_fault", count=self._faults, exc_info=error)
        return f"a fault in this program: {type(error).__name__}"

    def _note_namesakes(
        self, room: ListedRoom, known: RoomMemory, participants: Iterable[models.ParticipantInfo]
    ) -> None:
        """Say once a room, in so many rooms, that another agent bears our name."""
        others = namesakes(participants, self.agent_name)
        if not others or known.namesake:
            return
        known.namesake = True
        self._namesakes += 1
        if self._namesakes <= NAMESAKES_LOGGED:
            log.warning(
                "agent_name_shared",
                agent_name=self.agent_name,
                room=room.name,
                room_sid=room.sid,
                identity=others[0],
                last=self._namesakes == NAMESAKES_LOGGED,
            )

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


def _became_ours(known: RoomMemory, now: float) -> None:
    known.next_look = now + SETTLED
    known.unplaced = known.watched_by_others = False
    known.ghost_since = float("inf")


def _was_lost(known: RoomMemory, now: float) -> None:
    if now - known.tried_at > KEPT_AFTER:
        known.tries, known.next_look = 0, now
    else:
        known.next_look = known.tried_at + retry_delay(known.tries)


async def _each_of(
    rooms: Sequence[ListedRoom], look: Callable[[ListedRoom], Awaitable[None]]
) -> None:
    """Call `look` for each of `rooms`, `AT_ONCE` at a time."""
    queue = iter(rooms)

    async def take() -> None:
        for room in queue:
            await look(room)

    async with trio.open_nursery() as nursery:
        for _ in range(min(AT_ONCE, len(rooms))):
            nursery.start_soon(take)
