"""Acquisition of a room: by a claim or a dispatch, if there is a place for it.

* A **dispatch** lets LiveKit choose the worker.  Of several nodes it takes the one with most
  workers.  Afterwards we
  list the dispatches again: if another reconciler dispatched in the same moment, both see both,
  and the later dispatch is taken back.
* A **claim** (`Worker.claim`) brings a job for this worker at once.  It is used for rooms whose
  sessions are to be resumed, for rooms with ghosts (a dispatch goes to the room's node, which may
  be dead), and while more rooms wait than LiveKit launches promptly (measured: 300 claims are jobs
  after 0.1 s, 100 dispatches right after a registration after 5.6 s).  A claimed job is in the
  worker's book like any other, so its place, its status and its end are counted once; a join with
  a token of our own would not be.  Two workers can claim the same room; the inspection of own rooms
  settles that.  So each worker claims only as many rooms as it can enter in that moment, inspects
  each before, and waits for the workers that are before it in the order for that room
  (`claim_order`).  `start` claims every room at the first attempt (`claims_first`).
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import define

from bridge.livekit.watching.claim_order import claim_delay
from bridge.livekit.watching.room_candidates import (
    MAX_CLOCK_SKEW,
    MAX_PROMPT_LAUNCHES,
    ListedRoom,
    RoomMemory,
    has_people,
    is_superseded,
    retry_delay,
)
from bridge.livekit.watching.watch_state import WatchState
from bridge.livekit.worker.job_refusals import OUR_DISPATCH

log = structlog.get_logger()

PLACE_FREE_AFTER: Final = 0.3
"""Seconds until a room that gets the place of an empty one is inspected again: leaving takes
0.1 s."""

PLACE_TIMEOUT: Final = 3.0
"""Seconds in which an empty room has to be left.  Then another one is to be left."""

RECHECK_INTERVAL: Final = 3.0
"""Seconds between two inspections of a room that another worker watches, at least."""


@define(eq=False)
class RoomAcquisition:
    """Claims and dispatches, within the places and claims of a pass."""

    state: WatchState
    claims_first: bool
    """Claim each room at the first attempt."""

    def must_wait(self, room: ListedRoom, known: RoomMemory) -> bool:
        """True if a room that is to be claimed has to wait until others are entered."""
        if self._should_claim(room, known) and self.state.claims <= 0:
            self.state.backlog = True
            known.inspect_at = trio.current_time()
            return True
        return False

    async def acquire(self, room: ListedRoom, known: RoomMemory) -> None:
        """Get a room that nobody watches, or have a place freed for it."""
        known.unplaced = not self._has_place(room, known)
        if known.unplaced:
            if known.has_people:
                await self._request_place(room, known)
            return
        if self.must_wait(room, known):
            return
        claim = self._should_claim(room, known)
        self.state.places -= 1
        known.attempts += 1
        known.attempted_at = trio.current_time()
        if claim:
            self.state.claims -= 1
            known.inspect_at = known.attempted_at + retry_delay(known.attempts)
            self.state.worker.claim(room.name, room.sid, room.created_at or None)
            log.info(
                "room_claimed", room=room.name, room_sid=room.sid, attempt=known.next_attempt()
            )
        else:
            known.inspect_at = known.attempted_at + retry_delay(known.attempts, self.state.burst)
            await self._dispatch(room, known)

    def _should_claim(self, room: ListedRoom, known: RoomMemory) -> bool:
        state = self.state
        # A dispatch could go to an agent that only has our name, or to a node that is dead.
        if not state.agent_name or state.log.namesake_rooms or known.has_ghosts:
            return True
        many = state.burst > MAX_PROMPT_LAUNCHES
        return known.attempts == 0 and (many or room.sid in state.resumable or self.claims_first)

    def is_our_turn(self, room: ListedRoom, known: RoomMemory) -> bool:
        """True if no other worker should claim this unwatched room before us."""
        now = trio.current_time()
        known.unwatched_since = min(known.unwatched_since, now)
        if known.attempts or room.sid in self.state.resumable:
            return True
        others = self.state.others.before_us(room.sid, known.watched_by)
        many = self.state.burst > MAX_PROMPT_LAUNCHES
        turn = known.unwatched_since + claim_delay(len(others), many=many)
        if now < turn:
            known.inspect_at = turn
            return False
        for instance in others:
            self.state.others.note_missed(instance)
        return True

    # -------------------------------------------------------------------------- places

    def _has_place(self, room: ListedRoom, known: RoomMemory) -> bool:
        """True if there is a place for this room.  Empty rooms leave some places free, and other
        places are reserved."""
        left_free = self.state.worker.reserved_from(room.name)
        if not known.has_people:
            left_free += self.state.worker.places_for_people
        return self.state.places > left_free

    async def _request_place(self, room: ListedRoom, known: RoomMemory) -> None:
        """Have an empty room of ours give its place to this one, which has people.

        A room without a claim on reserved places goes first, then the newest.  A room that may
        not use reserved places gets none from a room that may.
        """
        now = trio.current_time()
        known.inspect_at = now + PLACE_FREE_AFTER
        if now - known.place_requested_at < PLACE_TIMEOUT:
            return
        reserved = self.state.worker.reserved_for
        vacant = [
            (sid, name)
            for sid, name in self.state.rooms.vacant()
            if reserved(room.name) or not reserved(name)
        ]
        requested = {
            other.place_from
            for other in (self.state.memory or {}).values()
            if now - other.place_requested_at < PLACE_TIMEOUT
        }
        for sid, name in sorted(vacant, key=lambda entry: reserved(entry[1])):
            if sid in requested:
                continue
            # Set before the next await: other rooms are inspected meanwhile.
            known.place_from, known.place_requested_at = sid, now
            # People who publish nothing are announced up to 3 s late; the list has them at once.
            if not has_people(await self.state.api.list_participants(name)):
                log.info("place_given_up", room=name, room_sid=sid, to=room.name)
                self.state.rooms.give_up(sid)
                return
        known.place_requested_at = float("-inf")
        known.inspect_at = now + RECHECK_INTERVAL

    # ---------------------------------------------------------------------- dispatches

    async def _dispatch(self, room: ListedRoom, known: RoomMemory) -> None:
        api = self.state.api
        requested_at = api.clock.now()
        ours = await api.create_dispatch(room.name, self.state.agent_name, OUR_DISPATCH)
        known.dispatches.add(ours.id)
        log.info(
            "room_dispatched",
            room=room.name,
            room_sid=room.sid,
            dispatch_id=ours.id,
            attempt=known.next_attempt(),
        )
        if await self._was_recreated(room, requested_at):
            return
        if is_superseded(ours, await api.list_dispatch(room.name)):
            await api.delete_dispatch(room.name, ours.id)
            known.attempts -= 1
            log.info("dispatch_taken_back", room=room.name, dispatch_id=ours.id)

    async def _was_recreated(self, room: ListedRoom, requested_at: float) -> bool:
        """True if our dispatch created a room again that was deleted in that moment.

        That room is then deleted, unless somebody is there, or it may be somebody's own: it has
        metadata, or it is older than our request (`requested_at`, on the server's clock).
        """
        api = self.state.api
        alive = await api.list_rooms([room.name])
        if not alive or any(one.sid == room.sid for one in alive):
            return False
        ours = ListedRoom.of(alive[0]).created_at >= requested_at - MAX_CLOCK_SKEW
        if not ours or alive[0].metadata or await api.list_participants(room.name):
            return True
        log.info("room_undone", room=room.name, room_sid=alive[0].sid)
        await api.delete_room(room.name)
        return True
