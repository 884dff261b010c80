"""The HTTP side of a worker: what it shows of its program, and what it passes on to it.

Imported only where `--http` is on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from actors.session import WebhookJoined, WebhookRoomStarted
from bridge.app.followed_sessions import joined
from bridge.app.session_source import open_sessions
from bridge.app.web import serve_web
from bridge.app.web_ports import OutboxPort, ReadinessChecks, WebPorts, WorkerSnapshot
from bridge.config.http_address import HttpAddress
from bridge.config.limit_list import limits_of
from bridge.config.rule_list import alert_rules, rules_of
from bridge.config.settings import Settings
from bridge.config.store_address import store_address
from bridge.livekit.watching.room_candidates import watches
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook

if TYPE_CHECKING:
    from bridge.app.program import Program
    from bridge.app.upload_role import AgentUploads

log = structlog.get_logger()


def http_services(settings: Settings, program: Program) -> dict[str, Callable[[], Awaitable[None]]]:
    """The services of the HTTP side, by name.

    `http` serves until it has a problem; then the program is refused.
    """
    services: dict[str, Callable[[], Awaitable[None]]] = {}
    if settings.database_url is not None:
        from bridge.app.followed_sessions import FollowedSessions

        program.followed = FollowedSessions(partial(open_sessions, store_address(settings)))
        services["followed-sessions"] = program.followed.run
    if program.relay is not None:
        services["webhooks"] = program.relay.run

    def listening(address: HttpAddress) -> None:
        program.http = address
        program.http_ready.set()
        log.info("http_listening", address=str(address))

    async def run() -> None:
        problem = await serve_web(settings, _web_ports(settings, program), listening)
        program.refuse(problem)
        await trio.sleep_forever()

    return {**services, "http": run}


def _web_ports(settings: Settings, program: Program) -> WebPorts:
    rooms, followed = program.rooms, program.followed
    return WebPorts(
        worker=lambda: _worker_snapshot(program),
        checks=_checks(program),
        open_sessions=rooms.open_sessions,
        watched_sessions=rooms.watched_sessions,
        take_webhook=lambda webhook: _take_webhook(settings, program, webhook),
        backlog=rooms.backlog,
        counters=rooms.counters,
        system=program.system,
        clock=program.clock,
        heartbeat=program.heartbeat,
        alert_rules=(*alert_rules(rules_of(settings)), *(one.name for one in limits_of(settings))),
        shown_sessions=None if followed is None else partial(joined, rooms.open_sessions, followed),
        workers=tuple if followed is None else lambda: followed.workers,
        feed=None if program.outlets is None else program.outlets.feed,
        outlets=lambda: () if program.outlets is None else program.outlets.outlets,
        outbox=_outbox(program),
        announcements=None
        if program.announcements is None
        else program.announcements.announcements,
        uploads=_uploads(settings, program),
    )


def _outbox(program: Program) -> OutboxPort | None:
    outlets = program.outlets
    return None if outlets is None else OutboxPort(outlets.facts, outlets.parked)


def _uploads(settings: Settings, program: Program) -> AgentUploads | None:
    if not settings.agent_uploads:
        return None
    from bridge.app.upload_role import AgentUploads

    rooms, clock = program.rooms, program.clock.now
    return AgentUploads(settings, program.system, rooms, program.texts, clock)


def _worker_snapshot(program: Program) -> WorkerSnapshot:
    worker, reconciler = program.worker, program.reconciler
    config = worker.config
    return WorkerSnapshot(
        name=config.instance,
        livekit_id=worker.worker_id,
        livekit_url=config.endpoint.http_url,
        agent_name=config.agent_name,
        version=config.version,
        registered=worker.registered,
        draining=worker.draining,
        max_rooms=config.max_rooms,
        watched_rooms=len(program.rooms.table.records),
        entering=worker.pending_entries,
        takes_jobs=bool(worker.free),
        rooms_without_place=() if reconciler is None else reconciler.rooms_without_place,
    )


def _checks(program: Program) -> ReadinessChecks:
    return {
        "livekit": lambda: None if program.worker.registered else "not registered at LiveKit",
        "rooms": lambda: program.entries.trouble,
        "store": program.rooms.store_problem,
    }


def _take_webhook(settings: Settings, program: Program, webhook: TranslatedWebhook) -> None:
    """Pass a webhook on, if it is about a room that we watch or have watched.

    Where several workers share a database, any of them may watch the room.
    """
    rooms, reconciler, relay = program.rooms, program.reconciler, program.relay
    ours = rooms.table.knows(webhook.room_sid) or watches(settings.watch, webhook.room)
    if relay is not None:
        relay.offer(webhook.id, webhook.room, webhook.room_sid, webhook.event)
    elif ours:
        rooms.take_webhook(webhook.room, webhook.room_sid, webhook.event)
    may_need_us = isinstance(webhook.event, WebhookRoomStarted | WebhookJoined)
    if ours and may_need_us and reconciler is not None:
        reconciler.inspect_now(webhook.room_sid)
