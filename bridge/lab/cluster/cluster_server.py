"""LiveKit's API over the simulated rooms of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, final

import trio
from attrs import define, field
from livekit.protocol import agent_dispatch, models

from actors.rooms.room_port import OfferEvent, OpenRoom, RoomJob, RoomPort, RoomUnreachable
from actors.rooms.server_lookups import OwnRoomRemoval
from actors.session.events import Reconnected, Reconnecting
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, INSTANCE_ATTRIBUTE

AGENT: Final = "watcher"
"""The agent name of all workers."""


@define(eq=False)
class _Stay:
    """One agent of ours in a room."""

    job: RoomJob
    worker: str
    offer: OfferEvent
    joined_at: float
    room: SimulatedRoom


@define(eq=False)
class ClusterServer(OwnRoomRemoval):
    """The server: its rooms by name, and which worker has agents where."""

    now: Callable[[], float]
    rooms: SimulatedRooms
    by_name: dict[str, SimulatedRoom] = field(factory=dict[str, SimulatedRoom])
    stays: dict[str, list[_Stay]] = field(factory=dict[str, list[_Stay]])
    """By room SID."""

    @property
    def clock(self) -> ClusterServer:
        return self

    def make(self, name: str) -> SimulatedRoom:
        """A room with somebody in it."""
        room = self.by_name[name] = self.rooms.room(name)
        room.join("alice")
        return room

    def close(self, room: SimulatedRoom) -> None:
        """The end of a room."""
        del self.by_name[room.name]
        room.close()

    # ------------------------------------------------- the API, as reconciler and watching use it

    async def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        await trio.lowlevel.checkpoint()
        rooms = [self.by_name[one] for one in names if one in self.by_name] if names else None
        return [
            models.Room(sid=room.sid, name=room.name, num_participants=len(room.people))
            for room in (self.by_name.values() if rooms is None else rooms)
        ]

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        await trio.lowlevel.checkpoint()
        room = self.by_name.get(name)
        if room is None:
            return []
        people = [models.ParticipantInfo(identity=one) for one in room.people]
        agents = [
            models.ParticipantInfo(
                identity=stay.job.identity,
                kind=models.ParticipantInfo.Kind.AGENT,
                joined_at=int(stay.joined_at),
                attributes={AGENT_NAME_ATTRIBUTE: AGENT, INSTANCE_ATTRIBUTE: stay.worker},
            )
            for stay in self.stays.get(room.sid, ())
        ]
        return [*people, *agents]

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        del name
        await trio.lowlevel.checkpoint()
        return []

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        """Nobody gets a job by it: claims decide."""
        del name, metadata
        await trio.lowlevel.checkpoint()
        return agent_dispatch.AgentDispatch(id="AD_none", agent_name=agent_name)

    # ------------------------------------------------- the questions of the actors

    async def living(self) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return frozenset(room.sid for room in self.by_name.values())

    async def renew_job(self, job: RoomJob) -> RoomJob | None:
        await trio.lowlevel.checkpoint()
        room = self.by_name.get(job.room)
        return job if room is not None and room.sid == job.room_sid else None

    async def dispatch_exists(self, job: RoomJob) -> bool:
        await trio.lowlevel.checkpoint()
        return not job.dispatch_id

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        return await self.rooms.only_we_made(job, room_sid)

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        await self.rooms.delete(job, room_sid)


@final
class WorkerRooms(RoomPort):
    """The rooms, as one worker reaches them."""

    def __init__(self, server: ClusterServer, worker: str) -> None:
        self._server = server
        self._worker = worker
        self._stays: list[_Stay] = []
        self.is_cut = False
        """The worker does not reach LiveKit."""

    def cut(self) -> None:
        """The connections to all rooms are down, and none can be made."""
        self.is_cut = True
        for stay in self._stays:
            stay.offer(Reconnecting(self._server.now()))

    def heal(self) -> None:
        """The connections are back."""
        self.is_cut = False
        for stay in self._stays:
            stay.offer(Reconnected(self._server.now(), stay.room.roster()))

    def open(self, job: RoomJob, offer: OfferEvent) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: OfferEvent) -> AsyncGenerator[OpenRoom, None]:
        if self.is_cut or job.room not in self._server.by_name:
            await trio.lowlevel.checkpoint()
            raise RoomUnreachable("no route to host")
        async with self._server.rooms.open(job, offer) as room:
            server = self._server
            if job.room not in server.by_name:
                raise RoomUnreachable("the room ended meanwhile")
            stay = _Stay(job, self._worker, offer, server.now(), server.by_name[job.room])
            of_room = server.stays.setdefault(stay.room.sid, [])
            of_room.append(stay)
            self._stays.append(stay)
            try:
                yield room
            finally:
                of_room.remove(stay)
                self._stays.remove(stay)
