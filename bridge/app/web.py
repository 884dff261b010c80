"""The HTTP side of a program: which routes are served at `--http`, over which ports.

Only imported where `--http` is not off, because starlette comes with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio
from attrs import frozen

from actors.journal.session_reader import WorkerRow
from actors.session.time_text import rfc3339
from bridge import __version__
from bridge.app.session_source import open_conversations, open_sessions
from bridge.app.store_feed import open_feed
from bridge.app.web_ports import WatchedOutlet, WebPorts, WorkerSnapshot
from bridge.config.http_address import HttpAddress
from bridge.config.machine import clients_for_descriptors, descriptor_limit
from bridge.config.public_address import PublicAddress
from bridge.config.settings import Settings
from bridge.config.store_address import store_address
from bridge.http.api.alert_routes import AlertRoutes, AlertSource
from bridge.http.api.announcement_routes import AnnouncementRoutes
from bridge.http.api.attendance_routes import AttendanceRoutes
from bridge.http.api.audio_routes import AudioRoutes
from bridge.http.api.conversation_routes import ConversationRoutes, TextReaders
from bridge.http.api.endpoints import Api, StoreReaders
from bridge.http.api.event_stream import EventSource
from bridge.http.api.outbox_routes import OutboxRoutes, OutboxUnreadable
from bridge.http.api.span_routes import SpanRoutes
from bridge.http.api.worker_types import (
    DeliveryView,
    EndpointView,
    OutboxAnswer,
    WaitingRooms,
    WorkerStore,
    WorkerView,
)
from bridge.http.health import health
from bridge.http.metric_sources import Requests, RuntimeCounters, Sources
from bridge.http.metrics import Metrics
from bridge.http.pages.agent_pages import AgentPages
from bridge.http.pages.page_routes import Facts, Pages, Section, System, WorkerFacts, explain
from bridge.http.pages.people_pages import PeoplePages
from bridge.http.pages.rendering import moment
from bridge.http.server.exchange import App
from bridge.http.server.listener import ListenError, serve
from bridge.http.server.routes import app
from bridge.http.server.time_slices import in_slices
from bridge.http.upload_endpoint import UploadEndpoint
from bridge.http.webhook_endpoint import WebhookEndpoint
from bridge.livekit.tokens import ApiKey

MOST_NAMED: Final = 100
"""Rooms without a place, and workers, that are named."""
SERVE: Final = "serve"
"""In the place of a worker's id, where the program is none."""


@frozen
class WebSide:
    """The routes at `--http`, and the tasks that run beside the server for them."""

    app: App
    beside: Callable[[], Awaitable[None]]
    bounded: Callable[[str], bool]
    """Whether connections from this address are bounded by number."""


async def serve_web(
    settings: Settings, ports: WebPorts, listening: Callable[[HttpAddress], object]
) -> str:
    """Serve everything until cancelled.  Returns only where the address cannot be had: why.

    `listening` is called with the address where the server really listens.
    """
    assert settings.http is not None
    problem = ""
    site = application(settings, ports)
    most = clients_for_descriptors(descriptor_limit(), settings.max_rooms)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.beside)
            listening(
                await nursery.start(
                    partial(serve, settings.http, site.app, bounded=site.bounded, most=most)
                )
            )
    except* ListenError as group:
        problem = str(group.exceptions[0])
    return problem


def application(settings: Settings, ports: WebPorts) -> WebSide:
    """Everything that is served at `--http`."""
    assert settings.http is not None
    webhooks = WebhookEndpoint(
        ApiKey(settings.api_key, settings.api_secret),
        settings.agent_name,
        ports.take_webhook or (lambda _: None),
        ports.clock.now,
    )
    uploads = UploadEndpoint(
        ApiKey(settings.api_key, settings.api_secret),
        None if ports.uploads is None else ports.uploads.desk,
        open_sink=None if ports.uploads is None else ports.uploads.open_sink,
        clock=ports.clock.now,
    )
    audio = None if ports.uploads is None else ports.uploads.audio
    spans = None if ports.uploads is None else ports.uploads.spans
    backlog = ports.backlog
    readers = StoreReaders(
        lambda: open_sessions(store_address(settings)), unreadable=backlog.report_unreadable
    )
    api = Api(
        readers,
        workers=lambda: _worker_views(ports),
        actors=lambda: _actor_tree(ports),
        version=__version__,
    )
    texts = TextReaders(lambda: open_conversations(store_address(settings)))
    shown = ports.shown_sessions or ports.open_sessions
    alerts = AlertSource(shown, ports.alert_rules)
    outbox = OutboxRoutes(partial(_outbox, ports))
    events = EventSource(ports.feed or open_feed(store_address(settings), backlog))
    sources = _sources(ports, webhooks, events)
    front = PublicAddress(
        frozenset(settings.http_host), settings.http_root, settings.trusted_proxies
    )
    pages = Pages(
        readers.read,
        shown,
        _system(ports),
        alerts,
        root=front.root,
        clock=ports.clock.now,
        open_texts=texts.open_texts,
        find_audio=None if audio is None else audio.find,
    )
    routes = (
        *health(ports.checks, SERVE if ports.worker is None else ports.worker().name),
        *(() if ports.take_webhook is None else (*webhooks.rows, *uploads.rows)),
        *ConversationRoutes(readers, texts).rows,
        *AudioRoutes(readers, None if audio is None else audio.find).rows,
        *SpanRoutes(readers, None if spans is None else spans.read).rows,
        *api.rows,
        *AlertRoutes(readers, alerts).rows,
        *AttendanceRoutes(readers).rows,
        *outbox.rows,
        *AnnouncementRoutes(ports.announcements).rows,
        *events.rows,
        *Metrics(sources).rows,
        *pages.rows,
        *PeoplePages(readers.read).rows,
        *AgentPages(readers.read, ports.clock.now).rows,
    )
    token = settings.http_token
    served = app(routes, loopback=settings.http.loopback, token=token, explain=explain, front=front)
    return WebSide(
        sources.requests.around(served),
        events.run,
        bounded=lambda address: bool(token) and not front.trusts(address),
    )


def _sources(ports: WebPorts, webhooks: WebhookEndpoint, events: EventSource) -> Sources:
    """The sources of `/metrics`."""
    runtime = RuntimeCounters()
    ports.system.listen(runtime.take)
    return Sources(
        sessions=ports.watched_sessions,
        run=ports.counters,
        runtime=runtime,
        system=ports.system,
        backlog=ports.backlog,
        worker=ports.worker,
        workers=ports.workers,
        webhooks=webhooks.counts,
        webhooks_dropped=lambda: webhooks.dropped_by_server,
        events=events,
        requests=Requests(),
        uploads=dict if ports.uploads is None else ports.uploads.desk.outcomes,
        uploaded_runs_dropped=int if ports.uploads is None else ports.uploads.runs_dropped,
        outlets=ports.outlets,
        open_sessions=ports.open_sessions,
        alert_rules=ports.alert_rules or (),
        server_clock=ports.clock,
        heartbeat=ports.heartbeat,
    )


def _worker_views(ports: WebPorts) -> list[WorkerView]:
    """`/api/v1/workers`."""
    rows = {one.instance: one for one in ports.workers()}
    if ports.worker is None:
        return [_other_worker(one) for one in rows.values()]
    own = ports.worker()
    mine = rows.pop(own.name, None)
    return [_own_worker(ports, own, mine), *map(_other_worker, rows.values())]


def _other_worker(row: WorkerRow) -> WorkerView:
    return WorkerView(
        id=row.instance,
        name=row.name or None,
        state=row.state,
        answers=False,
        url=row.url or None,
        started_at=rfc3339(row.started_at),
        last_seen=rfc3339(row.alive_at),
        livekit_id=None,
        agent_name=None,
        version=row.version,
        registered=None,
        draining=row.draining,
        rooms=row.rooms,
        max_rooms=row.max_rooms,
        load=row.load,
        waiting=None,
        store=None,
    )


def _own_worker(ports: WebPorts, worker: WorkerSnapshot, row: WorkerRow | None) -> WorkerView:
    """The worker that answers; `row` is what the database has of it."""
    backlog = ports.backlog
    return WorkerView(
        id=worker.name,
        name=None if row is None else row.name or None,
        url=None if row is None else row.url or None,
        started_at=None if row is None else rfc3339(row.started_at),
        last_seen=None if row is None else rfc3339(row.alive_at),
        livekit_id=worker.livekit_id or None,
        agent_name=worker.agent_name,
        version=worker.version,
        registered=worker.registered,
        draining=worker.draining,
        rooms=worker.watched_rooms,
        max_rooms=worker.max_rooms,
        load=min(1.0, worker.watched_rooms / worker.max_rooms),
        waiting=WaitingRooms(
            rooms=len(worker.rooms_without_place),
            names=tuple(worker.rooms_without_place[:MOST_NAMED]),
        ),
        store=WorkerStore(
            trouble=backlog.health.trouble or None,
            written_at=rfc3339(backlog.health.written_at),
            lines_waiting=backlog.waiting,
            lines_written=backlog.health.written,
            lines_lost=backlog.health.lost,
        ),
    )


async def _actor_tree(ports: WebPorts) -> dict[str, Any]:
    """The tree of supervision, as `/api/v1/actors` has it."""
    system = ports.system
    return {
        "tree": await in_slices(system.tree_in_steps()),
        "dead_letters": system.dead_letters.total(),
        "recent_dead_letters": list(system.recent_dead_letters),
    }


def _system(ports: WebPorts) -> System:
    """The content of the system page."""
    system, checks = ports.system, ports.checks

    def sections() -> tuple[Section, ...]:
        if ports.worker is None:
            return (Section("Store", "can be read", checks["store"](), ()),)
        return (
            Section("Worker", "registered", checks["livekit"](), _worker_facts(ports.worker())),
            Section("Rooms", "can be entered", checks["rooms"](), ()),
            Section("Store", "writes", checks["store"](), _store_facts(ports)),
            *map(_webhook_section, ports.outlets()),
        )

    def workers() -> tuple[WorkerFacts, ...]:
        return tuple(map(_facts_of_worker, ports.workers()[:MOST_NAMED]))

    return System(
        lambda: in_slices(system.tree_in_steps()), sections, lambda: system.dead_letters, workers
    )


def _facts_of_worker(row: WorkerRow) -> WorkerFacts:
    return WorkerFacts(
        name=f"{row.name} ({row.instance})" if row.name else row.instance,
        state="draining" if row.running and row.draining else row.state,
        rooms=f"{row.rooms} of {row.max_rooms}" if row.max_rooms else str(row.rooms),
        load=f"{row.load:.0%}",
        version=row.version or "-",
        url=row.url,
        last_sign=moment(rfc3339(row.alive_at)),
    )


def _webhook_section(outlet: WatchedOutlet) -> Section:
    """One endpoint: well while nothing waits."""
    counts = outlet.counts
    problem = counts.disabled or (counts.last_error if counts.waiting else None)
    facts: Facts = (
        ("Goes to", outlet.shown_url),
        ("Delivered", counts.delivered),
        ("Failed attempts", counts.failed),
        *((("Delivered by", f"worker {outlet.worker}"),) if outlet.worker else ()),
        ("Waiting", counts.waiting),
        ("Given up", counts.dead),
        ("Last delivery", moment(rfc3339(counts.last_delivered_at))),
    )
    return Section(f"Webhook {outlet.name}", "delivers", problem, facts)


async def _outbox(ports: WebPorts) -> OutboxAnswer:
    """`/api/v1/outbox`."""
    if ports.outbox is None:
        return OutboxAnswer(webhooks=(), deliveries=())
    from actors.outlets.outbox_port import OutboxTrouble
    from bridge.outlets.outbox_view import delivery_row

    try:
        outlets = await ports.outbox.facts()
        parked = await ports.outbox.parked()
    except OutboxTrouble:
        raise OutboxUnreadable from None
    endpoints = tuple(
        EndpointView(
            name=one.name,
            url=one.url,
            worker=one.worker or None,
            delivered=one.delivered,
            failed=one.failed,
            waiting=one.waiting,
            dead=one.dead,
            dropped=one.dropped,
            disabled=one.disabled,
            last_error=one.last_error or None,
            last_delivered_at=rfc3339(one.last_delivered_at),
        )
        for one in outlets
    )
    rows = (delivery_row(name, one) for name, one in parked)
    return OutboxAnswer(webhooks=endpoints, deliveries=tuple(DeliveryView(**row) for row in rows))


def _worker_facts(worker: WorkerSnapshot) -> Facts:
    return (
        ("LiveKit", worker.livekit_url),
        ("Agent name", worker.agent_name or "(none)"),
        ("Worker", f"{worker.name}, {worker.livekit_id or 'no id at LiveKit'}"),
        ("Version", worker.version),
        ("Rooms", f"{worker.watched_rooms} of at most {worker.max_rooms}"),
        ("Jobs not entered yet", worker.entering),
        ("Rooms without a place", len(worker.rooms_without_place)),
        (
            "Takes jobs",
            "no, it drains" if worker.draining else "yes" if worker.takes_jobs else "no",
        ),
    )


def _store_facts(ports: WebPorts) -> Facts:
    backlog = ports.backlog
    store = backlog.health
    return (
        ("Written last", moment(rfc3339(store.written_at))),
        ("Lines written", store.written),
        ("Lines waiting", backlog.waiting),
        ("Lines lost", store.lost),
        *((("Trouble", store.trouble),) if store.trouble else ()),
    )
