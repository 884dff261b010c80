"""The composition root of a worker: every part of the running program, put together.

    LiveKit --/agent--> Worker --Assigned--> RoomManager --> one supervisor a room:
       |                  ^                      |             [connection, session]
       |                  `------ job ends ------'                  ^        |
       `------ WebRTC ------> LiveKitRooms (asyncio) --- events ----'        v
    Reconciler --dispatches--> LiveKit          Reporter <--snapshots-- every session

The tree of supervision, under one root: `/store`, `/rooms/RM_x/{connection,session}`,
`/manager`, `/recovery`, `/reporter`, `/worker`, `/heartbeat`, `/clock`, `/collections`, `/http`,
`/reconciler`, `/texts` where texts are kept, `/announcements/ID` for each playback, `/outlet-NAME`
for each endpoint of webhooks, `/leases` where workers share a database, and `/monitors/AJ_x` for
each monitored person.  A crash anywhere is logged and restarted here.  A worker that LiveKit
rejects (wrong secret) has not crashed: no restart would mend that, so the program ends.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio
import trio_asyncio
from attrs import define, field

from actors.journal.archive import Archive
from actors.journal.session_reader import StoreRefused
from actors.runtime import ActorSystem, ChildSpec, Service, open_system
from bridge.app.announcement_desk import AnnouncementDesk, announcing_kinds_of
from bridge.app.clock_reports import compare_clocks, report_suspension
from bridge.app.entry_health import CountedRooms, EntryHealth
from bridge.app.full_collections import FullCollections
from bridge.app.livekit_lookups import (
    ApiRoomRemoval,
    current_job_lookup,
    dispatch_lookup,
    living_rooms_lookup,
    recorder_lookup,
    room_sid_lookup,
    with_own_tokens,
)
from bridge.app.parts_of_settings import retention_of, sdk_options, worker_config
from bridge.app.recording_role import webhook_url
from bridge.app.room_actors import (
    RoomActorPorts,
    RoomActors,
    announce,
    start_room_actors,
)
from bridge.app.rule_acting import require_sound_rules, send_text_streams
from bridge.app.signal_log import SignalLog
from bridge.app.store_archive import leases_of, open_archive
from bridge.app.store_feed import open_feed
from bridge.app.text_keeping import start_text_keeper
from bridge.app.worker_id import WorkerId, worker_id
from bridge.config.http_address import HttpAddress
from bridge.config.rule_list import rules_of
from bridge.config.settings import Settings, SettingsError
from bridge.config.store_address import store_address
from bridge.config.webhook_list import webhooks_of
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.heartbeat import Heartbeat
from bridge.livekit.livekit_egress import LiveKitEgress
from bridge.livekit.livekit_room_control import LiveKitRoomControl
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.room_instances import RoomInstances
from bridge.livekit.server_api import ServerApi
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import SENDER_GRANTS, WATCHER_GRANTS, ApiKey
from bridge.livekit.watching.agent_dispatches import AgentDispatches
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.watch_state import OurRooms
from bridge.livekit.worker.job_kinds import JOB_KINDS
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.worker import Worker
from bridge.livekit.worker.worker_rejection import WorkerRejected

if TYPE_CHECKING:
    from actors.journal.room_leases import RoomLeases
    from actors.journal.text_keeper import TextKeeper
    from actors.publishing.publishing_port import PublishingPort
    from actors.rooms.webhook_relay import WebhookRelay
    from bridge.app.followed_sessions import FollowedSessions
    from bridge.app.media_publishing import MediaPublishing
    from bridge.app.monitoring import Monitoring
    from bridge.app.outlets import RunningOutlets
    from bridge.livekit.watching.leased_watching import LeasedWatching

log = structlog.get_logger()

HAND_OVER_WITHIN: Final = 6.0
"""Seconds in which other workers may take over our rooms, before the sessions of the rest end."""
LAST_DELIVERIES: Final = 2.0
"""Seconds for the webhooks of the last events, before the program ends.  What is not delivered then
is delivered by the next run."""


@define(eq=False)
class Program:
    """The running program of a worker: the actors of the rooms, and LiveKit's worker."""

    rooms: RoomActors
    worker: Worker
    system: ActorSystem
    refused: str = ""
    """Why nothing can work: LiveKit rejected the worker, or a port is taken."""
    over: trio.Event = field(factory=trio.Event)
    """The program cannot go on."""
    reconciler: Reconciler | LeasedWatching | None = None
    """Has rooms watched."""
    http: HttpAddress | None = None
    """Where the HTTP server listens."""
    http_ready: trio.Event = field(factory=trio.Event)
    """The HTTP server listens.  Never set where there is none."""
    entries: EntryHealth = field(factory=EntryHealth)
    """Whether rooms can be entered."""
    closing: str = ""
    """What `drain` waits for."""
    clock: ServerClock = field(factory=ServerClock)
    """LiveKit's clock: the times of all sessions."""
    heartbeat: Heartbeat = field(factory=Heartbeat)
    followed: FollowedSessions | None = None
    """The live sessions of all workers, for the page; None where there is one worker only."""
    relay: WebhookRelay | None = None
    """Brings LiveKit's webhooks to the owners of rooms; None where there is one worker only."""
    outlets: RunningOutlets | None = None
    """The endpoints that get webhooks; None where none is configured."""
    media: MediaPublishing | None = None
    """The media publisher; None where no such jobs are taken."""
    monitoring: Monitoring | None = None
    """The monitors of people; None where no such jobs are taken."""
    announcements: AnnouncementDesk | None = None
    """Takes orders to say or play something."""
    texts: TextKeeper | None = None
    """Keeps texts of conversations; None where none is kept."""

    def refuse(self, reason: str) -> None:
        """End the program: it cannot work with these settings."""
        self.refused = reason
        self.over.set()

    async def drain(self, hand_over_within: float = HAND_OVER_WITHIN) -> None:
        """Take no more jobs, tell LiveKit, leave every room, close every session.

        Where workers share a database, others take over our rooms first, for so many seconds.
        """
        self.closing = "rooms"
        self.worker.drain()
        if self.rooms.keeper is not None:
            self.closing = "other workers"
            await self.rooms.keeper.hand_over(hand_over_within)
            self.closing = "rooms"
        for part in (self.monitoring, self.media):
            if part is not None:
                part.drain()
        if self.announcements is not None:
            self.announcements.close()
        await self.rooms.leave_all()
        self.closing = "the store"
        await self.rooms.flush()
        if self.texts is not None:
            await self.texts.aclose()
        if self.outlets is not None:
            self.closing = "webhooks"
            await self.outlets.deliver_the_rest(LAST_DELIVERIES)
        self.closing = "the worker's socket"
        for part in (self.monitoring, self.media):
            if part is not None:
                await part.aclose()
        await self.worker.aclose()

    def log_final_summary(self) -> None:
        """Log the final summary.  Right after a hurried end too, when no actor runs any more."""
        self.rooms.end_open_sessions()
        if self.monitoring is not None:
            self.monitoring.log_summary()
        log.info("final_summary", **self.rooms.summary().as_dict())


@asynccontextmanager
async def open_program(settings: Settings) -> AsyncGenerator[Program, None]:
    """Run everything for the length of a block.  Without `drain` its end is a hurried one.

    Raises `SettingsError` where another worker has the data directory.
    """
    endpoint = Endpoint.parse(settings.url)
    require_sound_rules(settings)
    own_id, store = worker_id(settings), store_address(settings)
    clock = ServerClock()
    api_key = ApiKey(settings.api_key, settings.api_secret, clock.now)
    signals = SignalLog()
    try:
        async with (
            AsyncExitStack() as closing,
            open_archive(store, instance=own_id.name, retention=retention_of(settings)) as archive,
            trio_asyncio.open_loop(),
            ServerApi(endpoint, api_key, clock=clock) as api,
            LiveKitRooms(
                settings.log_payloads,
                options=sdk_options(settings),
                look_up=room_sid_lookup(api),
                list_recorders=recorder_lookup(api),
                clock=clock,
            ) as port,
            open_system(on_signal=signals) as system,
        ):
            program = await _start_everything(
                settings,
                own_id,
                system,
                port,
                api,
                archive,
                leases_of(store_address(settings), archive),
            )
            signals.table = program.rooms.table
            if program.outlets is not None:
                closing.push_async_callback(program.outlets.aclose)
            yield program
    except StoreRefused as refused:
        raise SettingsError(str(refused)) from None


async def _start_everything(
    settings: Settings,
    own_id: WorkerId,
    system: ActorSystem,
    port: LiveKitRooms,
    api: ServerApi,
    archive: Archive,
    leases: RoomLeases | None,
) -> Program:
    rng = random.Random()
    config = worker_config(settings, own_id, api)
    grants = SENDER_GRANTS if send_text_streams(settings) else WATCHER_GRANTS
    instances = RoomInstances(api)
    book = JobBook(config.max_rooms, lambda: port.abandoned, config.reserve)
    worker = Worker(
        config,
        on_assignment=lambda job: rooms.assign(with_own_tokens(job, config, grants)),
        on_termination=lambda job_id: rooms.terminate(job_id),  # noqa: PLW0108
        clock=api.clock,
        ask_time=api.ask_time,
        book=book,
        rng=rng,
    )
    entries, renew_job = EntryHealth(), current_job_lookup(instances, config, grants)
    desk = _announcement_desk(settings, system, api, lambda: rooms)
    ports = RoomActorPorts(
        port=CountedRooms(port, entries, renew_job),
        renew_job=renew_job,
        dispatch_exists=dispatch_lookup(api),
        own_room_removal=ApiRoomRemoval(instances),
        list_living=living_rooms_lookup(api),
        reports=worker,
        archive=archive,
        control=LiveKitRoomControl(api),
        egress=LiveKitEgress(api, webhook_url=lambda: webhook_url(settings, program.http)),
        more_kinds=announcing_kinds_of(rules_of(settings), desk),
        worker=own_id.name,
        clock=api.clock.now,
        trusted_clock=api.clock.agreed,
    )
    if leases is not None:
        from bridge.app.leased_rooms import status_of

        ports.leases, ports.lease_status = leases, status_of(settings, book, lambda: program)
    rooms = await start_room_actors(settings, system, ports)
    if rooms.keeper is not None:
        from bridge.app.leased_rooms import answer_offer

        worker.on_offer = partial(answer_offer, rooms.keeper)
    heartbeat = Heartbeat(partial(report_suspension, api.clock, rooms))
    program = Program(rooms, worker, system, entries=entries, clock=api.clock, heartbeat=heartbeat)
    program.announcements = desk
    program.texts = start_text_keeper(
        settings, system, trusted_clock=api.clock.agreed, announce=announce
    )
    port.texts = program.texts
    heartbeat.start()
    _start_outlets(settings, program, config.api_key)
    if {"participant", "publisher"}.intersection(settings.job_types):
        from bridge.app.monitoring import start_monitoring

        program.monitoring = await start_monitoring(settings, system, rooms, worker, book, api)
    table = rooms.table
    if "media" in settings.job_types:
        from bridge.app.media_publishing import start_media_publishing

        program.media = await start_media_publishing(system, desk, table, worker, book)
    reconciler = Reconciler(
        api=api,
        worker=worker,
        agent_name=settings.agent_name,
        instance=own_id.name,
        watch=settings.watch if settings.agent_name else (),
        rooms=OurRooms(
            occupied=lambda: table.watched_names,
            excluded=lambda _name, sid: sid in table.declined or table.is_over(sid),
            resumable=lambda: table.interrupted_sids,
            vacant=lambda: table.vacant_rooms,
            disconnected=lambda: table.disconnected_sids,
            give_up=rooms.give_up,
        ),
        former_instances=own_id.former,
        claims_first=True,
        rng=rng,
    )
    program.reconciler = reconciler
    if leases is not None:
        from bridge.app.leased_rooms import watch_by_leases

        program.reconciler = watch_by_leases(settings, reconciler, leases, program)
    dispatches = AgentDispatches(
        api, rooms.watched_sessions, rooms.report_dispatch, clock=api.clock.now,
        own_names={settings.agent_name, *(kind.agent_name or "" for kind in JOB_KINDS.values())},
    )  # fmt: skip
    watchers = {"agent-dispatches": dispatches.run, "reconciler": program.reconciler.run}
    for name, function in _services(settings, program, watchers).items():
        # Significant: a part that cannot be kept alive ends the program, loudly.
        system.supervisor.start_child(ChildSpec(name, partial(Service, function), significant=True))
    return program


def _announcement_desk(
    settings: Settings, system: ActorSystem, api: ServerApi, rooms: Callable[[], RoomActors]
) -> AnnouncementDesk:
    loop = trio_asyncio.current_loop.get()
    assert loop is not None

    def make_port() -> PublishingPort:
        from bridge.livekit.publishing.livekit_publishing import LiveKitPublishing

        return LiveKitPublishing(api.endpoint, api.api_key, loop)

    return AnnouncementDesk(
        settings,
        system,
        make_port,
        watched=lambda: (state for state in rooms().watched_sessions() if not state.ended),
        clock=api.clock.now,
        announce=announce,
    )


def _start_outlets(settings: Settings, program: Program, api_key: ApiKey) -> None:
    """The outbox of each endpoint.  Without one nothing is imported, and no file is made."""
    webhooks = webhooks_of(settings)
    if not webhooks:
        return
    from bridge.app.outlets import start_outlets

    feed = open_feed(store_address(settings), program.rooms.backlog)
    program.outlets = start_outlets(
        webhooks,
        program.system,
        store_address(settings),
        feed,
        api_key,
        instance=program.worker.config.instance,
        clock=program.clock.now,
        announce=announce,
    )


def _services(
    settings: Settings, program: Program, watchers: Mapping[str, Callable[[], Awaitable[None]]]
) -> dict[str, Callable[[], Awaitable[None]]]:
    """The services beside the actors, by their names in the tree of supervision."""

    async def run_worker(worker: Worker) -> None:
        try:
            await worker.run()
        except WorkerRejected as rejected:
            program.refuse(str(rejected))
        await trio.sleep_forever()

    services: dict[str, Callable[[], Awaitable[None]]] = {
        "worker": partial(run_worker, program.worker),
        "heartbeat": program.heartbeat.run,
        "clock": partial(compare_clocks, program.clock, program.rooms),
        "collections": FullCollections().run,
    }
    if settings.http is not None:
        from bridge.app.worker_web import http_services

        services |= http_services(settings, program)
    for part in (program.monitoring, program.media):
        if part is not None:
            services |= part.services(run_worker)
    return services | dict(watchers)
