"""The reconciler: every room that should be watched is watched, by one worker.

LiveKit dispatches named agents only where somebody asks for them, and it forgets its promises when
a worker's socket closes.  So we compare the rooms that exist with the rooms that are ours.
`ListParticipants` is the only truth: a dispatch still says "running" long after its agent died.
LiveKit would send an unnamed worker to every new room by itself.  But an unnamed worker would also
take jobs from the user's other unnamed agents.

A pass comes every `INTERVAL` seconds, and whenever `inspect_now` is called, while the worker is
registered and not draining:

1. `candidates` picks the rooms that are ours or should be.  Rooms with people come first.  Rooms
   without people leave a tenth of the places free.
2. `room_inspection` lists who is in each room that is due.  In a room that is not ours it finds out
   whether an agent of our name is there or on its way.  If not, `room_acquisition` gets the room.
   `ghost_probes` finds agents that are listed and not there.
   In a room that is ours it finds out whether another worker was there before us.  Then we leave
   the room, and our session of it ends.

If an attempt brings no job, the next one is a dispatch, after a delay that doubles.  The choice
of candidates is pure functions (`room_candidates`).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import trio
from attrs import Factory, define, field

from actors.runtime import Backoff, first_of
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.claim_order import FIRST_CLAIMS, FIRST_LOOK, KnownWorkers, weight
from bridge.livekit.watching.ghost_probes import GhostProbes
from bridge.livekit.watching.room_acquisition import RECHECK_INTERVAL, RoomAcquisition
from bridge.livekit.watching.room_candidates import (
    LAUNCH_WINDOW,
    MAX_PROMPT_LAUNCHES,
    RETRY_RESET_AFTER,
    SLOW_DISPATCH_GRACE,
    ListedRoom,
    RoomMemory,
    attempt_grace,
    candidates,
    retry_delay,
    rooms_in,
)
from bridge.livekit.watching.room_inspection import OWN_ROOM_PAUSE, RoomInspection
from bridge.livekit.watching.watch_log import WatchLog
from bridge.livekit.watching.watch_state import OurRooms, WatchState, WorkerPort

INTERVAL: Final = 1.5
"""Seconds between two lists of the rooms, at most."""

MIN_PAUSE: Final = 0.1
"""Seconds between two lists of the rooms, at least."""

NEW_ROOM_GRACE: Final = 0.5
"""Seconds, at most, for which a new room is left alone: its maker may be about to dispatch us.
Drawn at random, so that two reconcilers rarely inspect it at the same time."""

MAX_OPEN_CLAIMS: Final = 12
"""Rooms that are claimed or being entered at the same time.  That is a few more than are entered
at once (8, see `livekit_rooms`), so that no entry slot is idle.  The more there are, the more
often two workers claim the same room."""

CLAIM_AGAIN_BELOW: Final = 8
"""As soon as no more rooms than this are claimed or being entered, more are claimed."""

CLAIM_TIMEOUT: Final = 1.0
"""Seconds for which a claim counts without a job.  The job comes after milliseconds."""

SETTLED_AFTER: Final = 1.0
"""Seconds after a room became ours until we inspect whether another worker came too."""

INSPECTIONS_PER_SECOND: Final = 20.0
"""How many rooms of other workers are inspected in a second, all in all."""

PARALLEL_INSPECTIONS: Final = 8
"""Rooms that are inspected at the same time."""

ERROR_BACKOFF: Final = Backoff(first=2 * INTERVAL, most=15.0, jitter=0.5)
"""Between passes while the server cannot answer."""


@define(eq=False)
class Reconciler:
    """Gets `agent_name` into every room that matches `watch` and has none.

    Without a name there are no dispatches, so `watch` must be empty then.
    """

    api: ServerApi
    worker: WorkerPort
    agent_name: str
    instance: str
    watch: Sequence[str]
    rooms: OurRooms = Factory(OurRooms)
    former_instances: frozenset[str] = frozenset()
    """Instance ids that this worker had before it was started, perhaps after a crash.  They count
    as ours for `MAX_LEFTOVER_AGE` after the start: by then LiveKit has removed the participants
    that a crash left behind."""
    claims_first: bool = False
    """Claim each room at the first attempt, in the order of `claim_order`.  A dispatch creates a
    room again that is deleted in that moment, and LiveKit gives most of them to the node with most
    workers.  A claim does neither, and is 0.2 s faster."""
    rng: random.Random = Factory(random.Random)
    rooms_without_place: tuple[str, ...] = field(default=(), init=False)
    """Names of the rooms that would be watched if there was a place, as of the last pass.  Rooms
    without people are among them."""
    _state: WatchState = field(init=False)
    _inspection: RoomInspection = field(init=False)
    _ghosts: GhostProbes = field(init=False)
    _log: WatchLog = field(init=False)
    _requests: set[str] = field(factory=set[str], init=False)
    """The SIDs of the rooms to inspect at once."""
    _requested: trio.Event = field(factory=trio.Event, init=False)
    _failures: int = field(default=0, init=False)
    """Passes in a row that failed."""
    _had_rooms: bool = field(default=False, init=False)
    """We had a room when that began."""
    _burst_at: float | None = field(default=None, init=False)
    """Since when more rooms wait than LiveKit launches promptly."""

    def __attrs_post_init__(self) -> None:
        if self.watch and not self.agent_name:
            raise ValueError("rooms can only be dispatched to under an agent name")
        self._log = WatchLog(self.agent_name, self.instance)
        self._state = WatchState(
            self.api,
            self.worker,
            self.agent_name,
            self.rooms,
            self._log,
            KnownWorkers(self.instance),
        )
        self._ghosts = GhostProbes(self.api, self._log, self.inspect_now)
        self._inspection = RoomInspection(
            self._state,
            RoomAcquisition(self._state, self.claims_first),
            self._ghosts,
            self.instance,
            self.former_instances,
            self.rng,
        )

    def inspect_now(self, room_sid: str) -> None:
        """Inspect this room at once: a webhook or a probe named it."""
        self._requests.add(room_sid)
        self._requested.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with trio.open_nursery() as nursery:
            self._ghosts.nursery = nursery
            await self._run_passes()

    async def _run_passes(self) -> None:
        self._inspection.began_at = trio.current_time()
        began = False
        while True:
            if not (began and self.worker.registered):
                began = True
                await self.worker.wait_registered()
                await self._begin()
            if self.worker.draining or not (self.watch or self.rooms.resumable()):
                await trio.sleep(INTERVAL)
                continue
            try:
                pause = await self.reconcile()
            except Exception as error:  # noqa: BLE001  must not end the process with all rooms
                self._failures += 1
                self._log.error(self._log.text_of(error))
                await trio.sleep(ERROR_BACKOFF.delay(self._failures, self.rng))
            else:
                self._failures = 0
                await self._rest(pause)

    async def _begin(self) -> None:
        """After each registration: the attempts of the last connection are lost."""
        if not self.rooms.resumable():
            # A server that comes back gets all its workers back in the same moment.
            await trio.sleep(self.rng.uniform(0, NEW_ROOM_GRACE))
        now = trio.current_time()
        for known in (self._state.memory or {}).values():
            if known.ours:
                _on_outage(known, now + self.rng.uniform(0.0, OWN_ROOM_PAUSE.first))
            elif now - known.attempted_at < SLOW_DISPATCH_GRACE:
                known.inspect_at = now

    async def _rest(self, seconds: float) -> None:
        """Wait for the next pass, for `inspect_now`, or until the backlog can be claimed."""
        with trio.move_on_after(seconds):
            if self._state.backlog and not self._state.first_look:
                await first_of(self._requested.wait, self._until_entered)
            else:
                await self._requested.wait()

    async def _until_entered(self) -> None:
        await trio.sleep(MIN_PAUSE)
        await self.worker.wait_pending_entries(CLAIM_AGAIN_BELOW)

    # ------------------------------------------------------------------------ a pass

    async def reconcile(self) -> float:
        """One pass.  Seconds until the next; raises `ApiError` if the rooms cannot be listed."""
        requests, self._requests, self._requested = self._requests, set(), trio.Event()
        # A room that was ours while the list was made is not new, even if it ended meanwhile.
        ours_before = self._state.ours()
        listed = rooms_in(await self.api.list_rooms())
        now = trio.current_time()
        self._state.resumable = frozenset(self.rooms.resumable())
        memory = self._remember(listed, ours_before | self._state.ours(), requests, now)
        rooms = candidates(
            listed,
            memory,
            patterns=self.watch,
            resumable=self._state.resumable,
            excluded=self.rooms.excluded,
        )
        due = [room for room in rooms if memory[room.sid].inspect_at <= now]
        # Two reconcilers with the same order would meet in each room.
        due.sort(key=lambda room: weight(room.sid, self.instance), reverse=True)
        self._set_limits(memory, due, now)
        await self._inspect_all(due, memory)
        self._note_unplaced(rooms, memory)
        if self._state.backlog:
            return FIRST_LOOK / 2 if self._state.first_look else INTERVAL
        # A room in which we were seen can wait for the next pass: a pass lists all rooms.
        urgent = (memory[room.sid] for room in rooms if not memory[room.sid].inspections)
        soonest = min((known.inspect_at for known in urgent), default=float("inf"))
        return min(INTERVAL, max(MIN_PAUSE, soonest - trio.current_time()))

    async def _inspect_all(self, due: Sequence[ListedRoom], memory: dict[str, RoomMemory]) -> None:
        """Inspect the rooms that are due.  Rooms with people get the places first, and of these
        the rooms whose sessions are to be resumed."""
        others = sum(known.watched_by_others or known.unplaced for known in memory.values())
        recheck = max(RECHECK_INTERVAL, others / INSPECTIONS_PER_SECOND)
        errors: list[str] = []

        async def inspect(room: ListedRoom) -> None:
            known = memory[room.sid]
            known.inspect_at = trio.current_time() + recheck
            try:
                await self._inspection.inspect(room, known)
            except Exception as error:  # noqa: BLE001  the other rooms are inspected
                errors.append(self._log.text_of(error))

        for people in (True, False):
            for resumed in (True, False):
                group = [
                    room
                    for room in due
                    if bool(room.people or memory[room.sid].has_people) is people
                    and (room.sid in self._state.resumable) is resumed
                ]
                await _for_each(group, inspect)
        self._log.error(errors[0] if errors else "", rooms=len(errors))

    def _note_unplaced(self, rooms: Sequence[ListedRoom], memory: dict[str, RoomMemory]) -> None:
        unplaced = [room for room in rooms if memory[room.sid].unplaced]
        self.rooms_without_place = tuple(
            sorted(room.name for room in unplaced if not memory[room.sid].ours)
        )
        self._log.unplaced([room.name for room in unplaced if memory[room.sid].has_people])

    def _remember(
        self,
        listed: Iterable[ListedRoom],
        ours: Collection[str],
        requests: Collection[str],
        now: float,
    ) -> dict[str, RoomMemory]:
        """Forget the rooms that ended; note which rooms became ours, and which were lost."""
        before = self._state.memory
        # One draw for all new rooms, so that one further pass inspects them all.
        new_at = now + self.rng.uniform(NEW_ROOM_GRACE / 4, NEW_ROOM_GRACE)
        disconnected = frozenset(self.rooms.disconnected())
        memory: dict[str, RoomMemory] = {}
        for room in listed:
            known = (before or {}).get(room.sid)
            if known is None:
                known = RoomMemory(inspect_at=now if before is None else new_at)
            memory[room.sid] = known
            is_ours = room.sid in ours or room.name in ours
            if is_ours != known.ours:
                known.ours = is_ours
                (_on_acquired if is_ours else _on_lost)(known, now)
            elif known.disconnected and room.sid not in disconnected:
                _on_outage(known, now + SETTLED_AFTER)
            known.disconnected = is_ours and room.sid in disconnected
            people_came = room.people and known.unplaced and not known.has_people
            if people_came or room.sid in requests:
                known.inspect_at = min(known.inspect_at, now)
        self._state.memory = memory
        self._ghosts.keep_rooms(memory)
        return memory

    def _set_limits(
        self, memory: dict[str, RoomMemory], due: Sequence[ListedRoom], now: float
    ) -> None:
        """Compute how many rooms are on their way, and how many more can be taken."""
        state = self._state
        to_get = sum(not memory[room.sid].ours for room in due)
        recent = sum(now - known.attempted_at < LAUNCH_WINDOW for known in memory.values())
        state.burst = to_get + recent
        waits = [now - known.attempted_at for known in memory.values() if not known.ours]
        state.places = self.worker.free - sum(wait < attempt_grace(state.burst) for wait in waits)
        unanswered = sum(wait < CLAIM_TIMEOUT for wait in waits)
        state.claims = MAX_OPEN_CLAIMS - self.worker.pending_entries - unanswered
        if state.burst <= MAX_PROMPT_LAUNCHES:
            self._burst_at = None
        elif self._burst_at is None:
            self._burst_at = now
            self._had_rooms = any(known.ours for known in memory.values())
        state.first_look = self._is_first_look(now)
        if state.first_look:
            since = self._burst_at or now
            attempts = sum(known.attempted_at >= since for known in memory.values())
            state.claims = min(state.claims, FIRST_CLAIMS - attempts)
        state.backlog = False

    def _is_first_look(self, now: float) -> bool:
        """True if other workers may claim the same rooms, and we do not know of each other."""
        if not self.claims_first or self._burst_at is None or self._state.resumable:
            return False
        if not self._state.others.any_known:
            return now - self._burst_at < FIRST_LOOK
        # The others do not know of us, and claim at once.
        return not self._had_rooms and now - self._burst_at < 2 * FIRST_LOOK


def _on_outage(known: RoomMemory, at: float) -> None:
    """Another worker may have come meanwhile: inspect a room of ours at this time."""
    known.inspect_at = min(known.inspect_at, at)
    known.inspections = 0


def _on_acquired(known: RoomMemory, now: float) -> None:
    known.inspect_at, known.inspections = now + SETTLED_AFTER, 0
    known.unplaced = known.watched_by_others = known.has_ghosts = False
    known.leftover_since = float("inf")


def _on_lost(known: RoomMemory, now: float) -> None:
    if now - known.attempted_at > RETRY_RESET_AFTER:
        known.attempts, known.attempts_logged, known.inspect_at = 0, 0, now
    else:
        known.inspect_at = known.attempted_at + retry_delay(known.attempts)


async def _for_each(
    rooms: Sequence[ListedRoom], function: Callable[[ListedRoom], Awaitable[None]]
) -> None:
    """Call `function` for each of `rooms`, `PARALLEL_INSPECTIONS` at a time."""
    queue = iter(rooms)

    async def work() -> None:
        for room in queue:
            await function(room)

    async with trio.open_nursery() as nursery:
        for _ in range(min(PARALLEL_INSPECTIONS, len(rooms))):
            nursery.start_soon(work)
