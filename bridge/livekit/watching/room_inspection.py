"""The inspection of one room: who is there, and whether we must get it or leave it."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog
import trio
from attrs import define
from livekit.protocol import models

from actors.runtime import Backoff
from bridge.livekit.api_errors import NotFound
from bridge.livekit.watching.ghost_probes import GhostProbes
from bridge.livekit.watching.room_acquisition import RoomAcquisition
from bridge.livekit.watching.room_candidates import (
    DISPATCH_GRACE,
    MAX_PROMPT_LAUNCHES,
    SHORT_DISPATCH_GRACE,
    ListedAgent,
    ListedRoom,
    RoomMemory,
    dispatch_wait,
    duplicate_agents,
    has_people,
    namesakes,
    our_agents,
)
from bridge.livekit.watching.watch_state import WatchState

log = structlog.get_logger()

OWN_ROOM_PAUSE: Final = Backoff(first=30.0, most=240.0)
"""Between two inspections of a room that is ours: another worker may have entered it in the same
moment, or during an outage before we were back in it.  Each inspection is a call of the server's
API, 2 ms of a core.  So the pause begins anew after an outage, and doubles from there."""

MAX_LEFTOVER_AGE: Final = 30.0
"""Seconds for which a participant with our own instance id can be left behind by a crash: LiveKit
removes those after 23 s.  If one stays longer, it is a ghost, or another worker has our id."""


@define(eq=False)
class RoomInspection:
    """Inspects rooms and acts on what it finds."""

    state: WatchState
    acquisition: RoomAcquisition
    ghosts: GhostProbes
    instance: str
    former_instances: frozenset[str]
    rng: random.Random
    began_at: float = float("-inf")
    """When the reconciler was started, on trio's clock."""

    async def inspect(self, room: ListedRoom, known: RoomMemory) -> None:
        """Inspect one room.  Raises `ApiError`."""
        await (self._inspect_own if known.ours else self._inspect_other)(room, known)

    async def _inspect_own(self, room: ListedRoom, known: RoomMemory) -> None:
        """Inspect a room that is ours.  If another worker was there first, leave it."""
        participants = await self.state.api.list_participants(room.name)
        self._note_namesakes(room, known, participants)
        former = self._former_instances()
        agents = [
            agent
            for agent in our_agents(participants, self.state.agent_name)
            if agent.instance not in former
        ]
        identities = self.state.worker.identities
        if any(agent.identity in identities for agent in agents):
            known.inspections += 1
            known.inspect_at += OWN_ROOM_PAUSE.delay(known.inspections, self.rng)
        rivals = [agent for agent in agents if agent.identity not in identities]
        self._note_others(rival for rival in rivals if not self.ghosts.is_ghost(room, rival))
        if not duplicate_agents(agents, identities, self.instance):
            return
        answering = self.ghosts.answering(
            room, [agent for agent in rivals if agent.instance != self.instance]
        )
        watchers = [agent for agent in agents if agent not in rivals or agent in answering]
        for identity in duplicate_agents(watchers, identities, self.instance):
            log.info("room_left_to_another", room=room.name, room_sid=room.sid)
            with suppress(NotFound):  # It may have left by itself.
                await self.state.api.remove_participant(room.name, identity)

    async def _inspect_other(self, room: ListedRoom, known: RoomMemory) -> None:
        """Inspect a room that should be ours, and get it if nobody watches it."""
        if not self.state.first_look and self.acquisition.must_wait(room, known):
            return
        participants = await self.state.api.list_participants(room.name)
        known.has_people = has_people(participants)
        self._note_namesakes(room, known, participants)
        if not await self._is_unwatched(room, known, participants):
            known.unwatched_since = float("inf")
        elif not self.state.is_settled(room) and self.acquisition.is_our_turn(room, known):
            await self.acquisition.acquire(room, known)

    async def _is_unwatched(
        self,
        room: ListedRoom,
        known: RoomMemory,
        participants: Sequence[models.ParticipantInfo],
    ) -> bool:
        """True if no worker of ours is there or on its way, and the room exists."""
        state = self.state
        agents = our_agents(participants, state.agent_name)
        if not state.worker.identities.isdisjoint(agent.identity for agent in agents):
            # We are back in a new instance of the room, whose SID our job does not have yet.
            return False
        # An agent that a crash of ours left behind, or a ghost, watches nothing.  It shows that
        # the room exists.  Its dispatch may look new, so the dispatches do not matter.
        watchers = self._watchers(room, known, agents)
        known.watched_by_others = bool(watchers)
        if watchers:
            known.watched_by = frozenset(agent.instance for agent in watchers)
        if agents:
            return not watchers
        # A dispatch would create a room again that ended meanwhile.
        if not (participants or await self._exists(room)):
            return False
        if room.sid in state.resumable:
            return True
        many = state.burst > MAX_PROMPT_LAUNCHES
        wait = dispatch_wait(
            await state.api.list_dispatch(room.name),
            state.agent_name,
            state.api.clock.now(),
            failed=known.dispatches,
            grace=SHORT_DISPATCH_GRACE if many else DISPATCH_GRACE,
        )
        if wait:
            known.inspect_at = min(known.inspect_at, trio.current_time() + wait)
        return not wait

    def _watchers(
        self, room: ListedRoom, known: RoomMemory, agents: Sequence[ListedAgent]
    ) -> Sequence[ListedAgent]:
        """The agents of other workers that may really be there."""
        if self._is_left_behind(agents, known):
            return ()
        present = self.ghosts.present(room, agents)
        known.has_ghosts = len(present) < len(agents)
        for agent in agents:
            if agent not in present:
                self.state.others.forget(agent.instance)
        self._note_others(present)
        namesakes_of_ours = [agent for agent in present if agent.instance == self.instance]
        if namesakes_of_ours and self.ghosts.answering(room, namesakes_of_ours):
            self.state.log.instance_shared()
        return present

    async def _exists(self, room: ListedRoom) -> bool:
        return any(one.sid == room.sid for one in await self.state.api.list_rooms([room.name]))

    def _is_left_behind(self, agents: Collection[ListedAgent], known: RoomMemory) -> bool:
        """True if all of `agents` are of our own instance, and have not been listed for long."""
        instances = {agent.instance for agent in agents}
        if not instances or not instances <= {self.instance, *self._former_instances()}:
            known.leftover_since = float("inf")
            return False
        now = trio.current_time()
        known.leftover_since = min(known.leftover_since, now)
        return now - known.leftover_since < MAX_LEFTOVER_AGE

    def _former_instances(self) -> frozenset[str]:
        recent = trio.current_time() - self.began_at < MAX_LEFTOVER_AGE
        return self.former_instances if recent else frozenset()

    def _note_others(self, agents: Iterable[ListedAgent]) -> None:
        former = self._former_instances()
        for agent in agents:
            if agent.instance not in former:
                self.state.others.note(agent.instance, agent.joined_at)

    def _note_namesakes(
        self, room: ListedRoom, known: RoomMemory, participants: Iterable[models.ParticipantInfo]
    ) -> None:
        others = namesakes(participants, self.state.agent_name)
        if others and not known.namesake_logged:
            known.namesake_logged = True
            self.state.log.namesake(room.name, room.sid, others[0])
