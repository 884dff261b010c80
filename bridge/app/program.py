"""The composition root: every part of the running program, put together.

    LiveKit --/agent--> Worker --Assigned--> RoomManager --> one supervisor a room:
       |                  ^                      |             [connection, session]
       |                  `------ job ends ------'                  ^        |
       `------ WebRTC ------> LiveKitRooms (asyncio) --- events ----'        v
    Reconciler --dispatches--> LiveKit          Reporter <--snapshots-- every session

The tree of supervision, under one root: `/store`, `/rooms/RM_x/{connection,session}`,
`/manager`, `/recovery`, `/reporter`, `/worker`, `/http`, `/reconciler`.  A crash anywhere is
logged and restarted here; a rejected worker (wrong secret) is not a crash: nothing that we
restart would mend it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import structlog
import trio
import trio_asyncio
from attrs import define, evolve, field, frozen

from actors.journal.archive import Archive
from actors.rooms.connection_actor import FindAgain, Undo
from actors.rooms.recovery import ListLiving
from actors.rooms.room_port import RoomJob, RoomUnreachable
from actors.runtime import ActorSystem, ChildSpec, Service, open_system
from bridge import __version__
from bridge.app.entry_health import CountedRooms, EntryHealth
from bridge.app.room_actors import Ports, RoomActors, on_signal, start_room_actors
from bridge.app.worker_id import WorkerId, worker_id
from bridge.config.http_address import HttpAddress
from bridge.config.machine import clients_for_descriptors, descriptor_limit
from bridge.config.settings import Settings, SettingsError
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.heartbeat import Heartbeat
from bridge.livekit.rooms.instance_tracker import LookUp
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.recorder_search import ListRecorders
from bridge.livekit.rooms.room_instances import RoomInstances
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.server_api import ApiError, ServerApi
from bridge.livekit.server_clock import WORTH_A_WARNING, ServerClock
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey, room_token
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.worker.jobs import Reserve
from bridge.livekit.worker.rejection import WorkerRejected
from bridge.livekit.worker.worker import Worker, WorkerConfig
from bridge.store.retention import Retention
from bridge.store.sqlite_archive import open_store
from bridge.store.store_errors import StoreRefused

log = structlog.get_logger()

COMPARE_EVERY: Final = 1.0
"""Seconds between two looks at how far this machine's clock is off."""


@define(eq=False)
class Program:
    """The running program: the actors of the rooms, and LiveKit's worker."""

    rooms: RoomActors
    worker: Worker
    system: ActorSystem
    refused: str = ""
    """Why nothing can work: LiveKit said no before it ever said yes, or a port is taken."""
    over: trio.Event = field(factory=trio.Event)
    """The program cannot go on."""
    reconciler: Reconciler | None = None
    http: HttpAddress | None = None
    """Where the HTTP server listens."""
    entries: EntryHealth = field(factory=EntryHealth)
    """How entering rooms goes."""
    closing: str = ""
    """What `drain` waits for."""
    clock: ServerClock = field(factory=ServerClock)
    """LiveKit's clock: the times of all sessions."""
    heartbeat: Heartbeat = field(factory=Heartbeat)

    def refuse(self, why: str) -> None:
        """End it: with these settings it cannot work."""
        self.refused = why
        self.over.set()

    async def drain(self) -> None:
        """Take no more jobs, tell LiveKit, leave every room, close every session."""
        self.closing = "rooms"
        self.worker.drain()
        await self.rooms.leave_all()
        self.closing = "the store"
        await self.rooms.flush()
        self.closing = "the worker's socket"
        await self.worker.aclose()


@asynccontextmanager
async def open_program(settings: Settings) -> AsyncGenerator[Program, None]:
    """Run everything for the length of a block.  Without `drain` its end is a hurried one.

    Raises `SettingsError` where another worker has the data directory.
    """
    endpoint = Endpoint.parse(settings.url)
    who = worker_id(settings)
    clock = ServerClock()
    api_key = ApiKey(settings.api_key, settings.api_secret, clock.now)
    try:
        async with (
            open_store(
                settings.data_dir, instance=who.name, retention=_retention(settings)
            ) as archive,
            trio_asyncio.open_loop(),
            ServerApi(endpoint, api_key, clock=clock) as api,
            LiveKitRooms(
                settings.log_payloads,
                options=_sdk_options(settings),
                look_up=_sid_of(api),
                list_recorders=_recorders_of(api),
                clock=clock,
            ) as port,
            open_system(on_signal=on_signal) as system,
        ):
            yield await _start_everything(settings, who, system, port, api, archive)
    except StoreRefused as refused:
        raise SettingsError(str(refused)) from None


def _retention(settings: Settings) -> Retention:
    return Retention(settings.keep, settings.keep_events, settings.keep_size)


async def _start_everything(
    settings: Settings,
    who: WorkerId,
    system: ActorSystem,
    port: LiveKitRooms,
    api: ServerApi,
    archive: Archive,
) -> Program:
    instance, rng = who.name, random.Random()
    config = WorkerConfig(
        endpoint=api.endpoint,
        api_key=api.api_key,
        agent_name=settings.agent_name,
        max_rooms=settings.max_rooms,
        version=__version__,
        instance=instance,
        visible=settings.visible,
        reserve=Reserve(settings.reserve, settings.watch[0] if settings.watch else ""),
    )
    lives = RoomInstances(api)
    worker = Worker(
        config,
        on_assignment=lambda job: rooms.assign(_with_our_tokens(job, config)),
        on_termination=lambda job_id: rooms.terminate(job_id),  # noqa: PLW0108
        clock=api.clock,
        ask_time=api.ask_time,
        stragglers=lambda: port.abandoned,
        rng=rng,
    )
    entries, find_again = EntryHealth(), _finder(lives, config)
    outside = Ports(
        port=CountedRooms(port, entries, find_again),
        find_again=find_again,
        undo=_Undoing(lives),
        list_living=_living(api),
        reports=worker,
        archive=archive,
        worker=instance,
        clock=api.clock.now,
        trusted_clock=api.clock.agreed,
    )
    rooms = await start_room_actors(settings, system, outside)
    heartbeat = Heartbeat(lambda seconds: _suspended(program, seconds))
    program = Program(rooms, worker, system, entries=entries, clock=api.clock, heartbeat=heartbeat)
    heartbeat.start()

    async def run_worker() -> None:
        try:
            await worker.run()
        except WorkerRejected as rejected:
            program.refuse(str(rejected))
        await trio.sleep_forever()

    services: dict[str, Callable[[], Awaitable[None]]] = {
        "worker": run_worker,
        "heartbeat": heartbeat.run,
        "clock": lambda: _compare_clocks(program),
    }
    if settings.http is not None:
        services["http"] = _http_server(settings.http, settings, program)
    table = rooms.table
    program.reconciler = Reconciler(
        api=api,
        worker=worker,
        agent_name=settings.agent_name,
        instance=instance,
        former=who.former,
        watch=settings.watch if settings.agent_name else (),
        held=lambda: table.watched_names,
        excluded=lambda _name, sid: sid in table.declined or table.is_over(sid),
        wanted=lambda: table.interrupted_sids,
        claims_when_alone=True,
        vacant=lambda: table.vacant_rooms,
        give_up=rooms.give_up,
        rng=rng,
    )
    services["reconciler"] = program.reconciler.run
    for name, function in services.items():
        # Significant: a part that cannot be kept alive ends the program, loudly.
        system.supervisor.start_child(ChildSpec(name, partial(Service, function), significant=True))
    return program


def _suspended(program: Program, seconds: float) -> None:
    """This process did not run for so long: every room has a gap."""
    until = program.clock.now()
    log.warning(
        "worker_suspended", seconds=round(seconds, 1), rooms=len(program.rooms.table.records)
    )
    program.rooms.suspended(until - seconds, until)


async def _compare_clocks(program: Program) -> None:
    """Say when this machine's clock is off, and by how much; sessions have it too."""
    clock, said = program.clock, 0.0
    while True:
        offset = clock.offset
        if offset is not None and abs(offset - said) > WORTH_A_WARNING and not _unsure(clock):
            if clock.is_off:
                said = offset
                log.warning("clock_off", offset=round(offset, 3))
            else:
                said = 0.0
                log.info("clock_right", offset=round(offset, 3))
            program.rooms.clock_offset(clock.now(), offset)
        await trio.sleep(COMPARE_EVERY)


def _unsure(clock: ServerClock) -> bool:
    return clock.uncertainty is None or clock.uncertainty > WORTH_A_WARNING / 2


def _http_server(
    address: HttpAddress, settings: Settings, program: Program
) -> Callable[[], Awaitable[None]]:
    from bridge.app.web import application
    from bridge.http.server.listener import ListenError, serve

    site = application(settings, program)
    most = clients_for_descriptors(descriptor_limit(), settings.max_rooms)

    async def run() -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.beside)
                program.http = await nursery.start(
                    partial(serve, address, site.app, bounded=site.bounded, most=most)
                )
                log.info("http_listening", address=str(program.http))
        except* ListenError as group:
            program.refuse(str(group.exceptions[0]))
            await trio.sleep_forever()

    return run


def _sdk_options(settings: Settings) -> SdkOptions:
    return SdkOptions(
        demux=settings.sdk_demux,
        native_logs=settings.sdk_native_logs,
        gather_once=settings.sdk_gather_once,
        dual_peer_connection=settings.sdk_dual_connection,
        pause_microphones=settings.sdk_pause_microphones,
    )


@contextmanager
def _asking() -> Generator[None, None, None]:
    """The server's API is asked: what it cannot answer is told in the words of a room's port."""
    try:
        yield
    except ApiError as error:
        raise RoomUnreachable(str(error)) from None


def _sid_of(api: ServerApi) -> LookUp:
    """The SID of the room that lives under a name now, empty where there is none."""

    async def sid_of(name: str) -> str:
        with _asking():
            rooms = await api.list_rooms([name])
        return next((room.sid for room in rooms), "")

    return sid_of


def _recorders_of(api: ServerApi) -> ListRecorders:
    """Who has the `recorder` grant, by LiveKit's list."""

    async def recorders_of(name: str) -> frozenset[str]:
        with _asking():
            people = await api.list_participants(name)
        return frozenset(one.sid for one in people if one.permission.recorder)

    return recorders_of


def _living(api: ServerApi) -> ListLiving:
    """Which rooms live, by LiveKit's list."""

    async def list_living() -> frozenset[str]:
        with _asking():
            return await api.alive()

    return list_living


@frozen
class _Undoing(Undo):
    lives: RoomInstances

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        with _asking():
            return await self.lives.only_we_made(job.room, room_sid, job.identity)

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        await self.lives.delete(job.room, room_sid)


def _finder(lives: RoomInstances, config: WorkerConfig) -> FindAgain:
    """How a room is found before it is entered, and found again: by LiveKit's list."""

    async def find_again(job: RoomJob) -> RoomJob | None:
        with _asking():
            sid = await lives.sid_of(job.room)
        if not sid or (job.room_sid and sid != job.room_sid):
            return None
        return _with_our_tokens(job, config)

    return find_again


def _with_our_tokens(job: RoomJob, config: WorkerConfig) -> RoomJob:
    """The job with tokens of our own: one that makes no room, and one for servers that do not
    take it.  The token of an assignment would make a room that is deleted meanwhile anew."""
    token, spare_token = (
        room_token(
            config.api_key,
            room=job.room,
            identity=job.identity,
            agent_name=config.agent_name,
            visible=config.visible,
            attributes={INSTANCE_ATTRIBUTE: config.instance},
            may_make=may_make,
        )
        for may_make in (False, True)
    )
    return evolve(job, token=token, spare_token=spare_token)
