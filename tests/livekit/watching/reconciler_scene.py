"""A reconciler over time, with a server and a worker that exist only in the test."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from typing import cast

import trio
from attrs import define, field
from livekit.protocol import agent_dispatch, models

from bridge.livekit.api_errors import Unavailable
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.watch_state import OurRooms
from bridge.livekit.worker.jobs import Reserve


def agent_info(identity: str, instance: str, *, joined_at: int) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity=identity,
        kind=models.ParticipantInfo.Kind.AGENT,
        joined_at=joined_at,
        attributes={"lk.agent_name": "watcher"}
        | ({INSTANCE_ATTRIBUTE: instance} if instance else {}),
    )


@define(eq=False)
class SimulatedApi:
    """The calls of `ServerApi` that the reconciler makes, answered without a server."""

    rooms: list[str] = field(factory=list[str])
    sids: dict[str, str] = field(factory=dict[str, str])
    """By room name; a room that is not here has the SID "RM_" and its name."""
    agents: dict[str, str] = field(factory=dict[str, str])
    """Room: the instance id of the agent of our name that was there first; "" for an agent that
    belongs to no worker of ours."""
    guests: dict[str, str] = field(factory=dict[str, str])
    """Room: the identity and instance, as "agent-1@here", of an agent that came later."""
    people: set[str] = field(factory=set[str])
    """Rooms that alice is in."""
    deleted: list[str] = field(factory=list[str])
    """SIDs of rooms that we deleted."""
    made_anew: bool = False
    """A room is deleted just before a dispatch to it comes, which makes it anew."""
    made_at: dict[str, float] = field(factory=dict[str, float])
    """By room name, trio's time."""
    joined_at: dict[str, float] = field(factory=dict[str, float])
    """By room name, trio's time; 1 for an agent of a room that is not here."""
    removed: list[tuple[float, str, str]] = field(factory=list[tuple[float, str, str]])
    ended: set[str] = field(factory=set[str])
    """Rooms that are listed and end before anybody can look at them."""
    ghosts: set[str] = field(factory=set[str])
    """Rooms whose first agent is listed and not there: its node is dead."""
    probes: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    """Time and room of each probe."""
    probe_error: Exception | None = None
    error: Exception | None = None
    dispatch_error: Exception | None = None
    dispatched: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    looks: int = 0
    lists: int = 0
    _dispatches: dict[str, list[agent_dispatch.AgentDispatch]] = field(
        factory=dict[str, list[agent_dispatch.AgentDispatch]]
    )
    _ids: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def server_time(self) -> float:
        return trio.current_time()

    async def list_rooms(self, asked: Sequence[str] = ()) -> list[models.Room]:
        await trio.lowlevel.checkpoint()
        self.lists += 1
        if self.error is not None:
            raise self.error
        return [
            models.Room(
                sid=self.sids.get(name, f"RM_{name}"),
                name=name,
                creation_time_ms=int(1000 * self.made_at.get(name, 0.0)),
            )
            for name in self.rooms
            if not asked or (name in asked and name not in self.ended)
        ]

    async def delete_room(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.deleted.append(self.sids.pop(name))
        self.rooms.remove(name)

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        there: list[models.ParticipantInfo] = []
        if name in self.people:
            there.append(models.ParticipantInfo(identity="alice"))
        if name in self.agents:
            there.append(
                agent_info("agent-0", self.agents[name], joined_at=int(self.joined_at.get(name, 1)))
            )
        if name in self.guests:
            there.append(agent_info(*self.guests[name].split("@"), joined_at=2))
        return there

    async def remove_participant(self, name: str, identity: str) -> None:
        await trio.lowlevel.checkpoint()
        self.removed.append((trio.current_time(), name, identity))
        del self.guests[name]

    async def mute_track(
        self, name: str, identity: str, track_sid: str, *, muted: bool = True
    ) -> models.TrackInfo:
        """A probe: 3 s of silence for a ghost."""
        self.probes.append((trio.current_time(), name))
        await trio.lowlevel.checkpoint()
        if self.probe_error is not None:
            raise self.probe_error
        if name in self.ghosts and identity == "agent-0":
            await trio.sleep(3.0)
            raise Unavailable("RoomService/MutePublishedTrack: no response from servers (HTTP 503)")
        return models.TrackInfo()

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        await trio.lowlevel.checkpoint()
        return self._dispatches.get(name, [])

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        await trio.lowlevel.checkpoint()
        if self.dispatch_error is not None:
            raise self.dispatch_error
        if self.made_anew:
            self.sids[name] = f"RM_{name}_anew"
            self.made_at.setdefault(name, trio.current_time())
        made = agent_dispatch.AgentDispatch(
            id=f"AD_{next(self._ids)}",
            agent_name=agent_name,
            metadata=metadata,
            state=agent_dispatch.AgentDispatchState(created_at=int(trio.current_time() * 1e9)),
        )
        self._dispatches.setdefault(name, []).append(made)
        self.dispatched.append((trio.current_time(), name))
        return made

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._dispatches[name] = [x for x in self._dispatches[name] if x.id != dispatch_id]

    @property
    def clock(self) -> SimulatedApi:
        return self

    def now(self) -> float:
        return trio.current_time()

    def times(self, name: str) -> list[float]:
        return [at for at, room in self.dispatched if room == name]


@define(eq=False)
class SimulatedWorker:
    """A worker as the reconciler sees it."""

    registered: bool = True
    draining: bool = False
    free: int = 100
    rooms: frozenset[str] = frozenset()
    """SIDs."""
    identities: frozenset[str] = frozenset()
    pending_entries: int = 0
    places_for_people: int = 0
    reserve: Reserve = field(factory=Reserve)
    claims: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    on_claim: Callable[[str], object] = lambda _sid: None
    registration: trio.Event = field(factory=trio.Event)
    moved: trio.Event = field(factory=trio.Event)

    async def wait_registered(self) -> None:
        if not self.registered:
            await self.registration.wait()
        await trio.lowlevel.checkpoint()

    async def wait_pending_entries(self, most: int) -> None:
        while self.pending_entries > most:
            await self.moved.wait()
        await trio.lowlevel.checkpoint()

    def enter(self, rooms: int) -> None:
        """Enter so many of the pending rooms."""
        self.pending_entries -= rooms
        self.moved.set()
        self.moved = trio.Event()

    def reserved_from(self, room: str) -> int:
        taken = sum(self.reserve.fits(sid.removeprefix("RM_")) for sid in self.rooms)
        return 0 if self.reserve.fits(room) else max(0, self.reserve.places - taken)

    def reserved_for(self, room: str) -> bool:
        return self.reserve.fits(room)

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        self.claims.append((trio.current_time(), room))
        self.on_claim(room_sid)

    def take(self, *names: str) -> None:
        self.take_sids(*(f"RM_{name}" for name in names))

    def take_sids(self, *sids: str) -> None:
        self.rooms |= set(sids)
        self.free -= len(sids)

    def begin_to_enter(self, sid: str) -> None:
        """Do what a worker does with a claim that the server serves."""
        self.take_sids(sid)
        self.pending_entries += 1


@define(eq=False)
class ReconcilerScene:
    """A reconciler with a simulated server and worker, in virtual time."""

    nursery: trio.Nursery
    api: SimulatedApi = field(factory=SimulatedApi)
    worker: SimulatedWorker = field(factory=SimulatedWorker)
    occupied: set[str] = field(factory=set[str])
    excluded: set[str] = field(factory=set[str])
    resumable: set[str] = field(factory=set[str])
    vacant: list[str] = field(factory=list[str])
    """Names of rooms of ours that nobody is in, the newest first."""
    given_up: list[str] = field(factory=list[str])
    disconnected: set[str] = field(factory=set[str])
    """SIDs of rooms of ours whose connection is down."""

    def give_up(self, sid: str) -> None:
        """Do what the program does with an empty room whose place is needed."""
        self.given_up.append(sid)
        self.vacant.remove(sid.removeprefix("RM_"))
        self.worker.rooms -= {sid}
        self.worker.free += 1

    def start(
        self,
        *rooms: str,
        watch: Sequence[str] = ("*",),
        instance: str = "here",
        former: Collection[str] = (),
        claims_first: bool = False,
    ) -> Reconciler:
        """Start a reconciler.  `rooms` exist from the beginning, beside those of the server."""
        self.api.rooms += rooms
        reconciler = Reconciler(
            api=cast("ServerApi", self.api),
            worker=self.worker,
            agent_name="watcher",
            instance=instance,
            former_instances=frozenset(former),
            watch=watch,
            rooms=OurRooms(
                occupied=lambda: self.occupied,
                excluded=lambda name, sid: name in self.excluded and sid == f"RM_{name}",
                resumable=lambda: self.resumable,
                vacant=lambda: [(f"RM_{name}", name) for name in self.vacant],
                give_up=self.give_up,
                disconnected=lambda: self.disconnected,
            ),
            claims_first=claims_first,
            rng=random.Random(1),
        )
        self.nursery.start_soon(reconciler.run)
        return reconciler


def names(dispatched: Collection[tuple[float, str]]) -> list[str]:
    """The room names of dispatches or claims, without their times."""
    return [name for _, name in dispatched]


def many(number: int) -> list[str]:
    """The names of so many rooms."""
    return [f"room-{n}" for n in range(number)]
