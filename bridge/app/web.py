"""The HTTP side of the running program: what it shows, and what LiveKit's webhooks lead to.

Only imported where `--http` is not off, because starlette comes with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from actors.session import SessionState, WebhookJoined, WebhookRoomStarted
from actors.session.view import rfc3339
from bridge import __version__
from bridge.config.public_address import PublicAddress
from bridge.config.settings import Settings
from bridge.http.api.endpoints import Api, Archives
from bridge.http.api.event_stream import EventSource
from bridge.http.health import Checks, health
from bridge.http.metrics import Metrics, Requests, RuntimeCounters, Sources
from bridge.http.pages.page_routes import Facts, Pages, Section, System, explain
from bridge.http.pages.rendering import moment, utc
from bridge.http.server.exchange import App
from bridge.http.server.routes import app
from bridge.http.server.time_slices import in_slices
from bridge.http.webhook_endpoint import WebhookEndpoint
from bridge.livekit.tokens import ApiKey
from bridge.livekit.watching.decisions import watches
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook

if TYPE_CHECKING:
    from bridge.app.program import Program

MOST_NAMED: Final = 100
"""Rooms without a place that are named."""


@frozen
class WebSide:
    """What is served at `--http`, and what has to run beside the server for it."""

    app: App
    beside: Callable[[], Awaitable[None]]
    bounded: Callable[[str], bool]
    """Whether connections from this address are bounded by number."""


def application(settings: Settings, program: Program) -> WebSide:
    """Everything that is served at `--http`."""
    assert settings.http is not None
    inbox = WebhookEndpoint(
        ApiKey(settings.api_key, settings.api_secret),
        settings.agent_name,
        lambda said: _take(settings, program, said),
        program.clock.now,
    )
    backlog = program.rooms.backlog
    archives = Archives(settings.data_dir, unreadable=backlog.report_unreadable)
    api = Api(
        archives,
        workers=lambda: [_worker(program)],
        actors=lambda: _actors(program),
        version=__version__,
    )
    feed = EventSource(archives, lambda: backlog.batch_written)
    sources = _measured(program, inbox, feed)
    front = PublicAddress(
        frozenset(settings.http_host), settings.http_root, settings.trusted_proxies
    )
    pages = Pages(
        archives.read,
        lambda: _live(program),
        _system(program),
        root=front.root,
        clock=program.clock.now,
    )
    rows = (
        *health(_checks(program), program.worker.config.instance),
        *inbox.rows,
        *api.rows,
        *feed.rows,
        *Metrics(sources).rows,
        *pages.rows,
    )
    token = settings.http_token
    served = app(rows, loopback=settings.http.loopback, token=token, explain=explain, front=front)
    return WebSide(
        sources.requests.around(served),
        feed.run,
        bounded=lambda address: bool(token) and not front.trusts(address),
    )


def _measured(program: Program, inbox: WebhookEndpoint, feed: EventSource) -> Sources:
    """What `/metrics` reads."""
    rooms, vitals = program.rooms, RuntimeCounters()
    program.system.listen(vitals.take)
    return Sources(
        journals=lambda: [held.journal for held in rooms.table.records.values()],
        tally=rooms.tally,
        vitals=vitals,
        system=program.system,
        backlog=rooms.backlog,
        worker=program.worker,
        webhooks=inbox.counts,
        webhooks_dropped=lambda: inbox.dropped_by_server,
        feed=feed,
        requests=Requests(),
        server_clock=program.clock,
        heartbeat=program.heartbeat,
    )


def _worker(program: Program) -> dict[str, Any]:
    """This worker, as `/api/v1/workers` has it."""
    worker, backlog = program.worker, program.rooms.backlog
    rooms, most = len(program.rooms.table.records), worker.config.max_rooms
    return {
        "id": worker.config.instance,
        "livekit_id": worker.worker_id or None,
        "agent_name": worker.config.agent_name,
        "version": worker.config.version,
        "registered": worker.registered,
        "draining": worker.draining,
        "rooms": rooms,
        "max_rooms": most,
        "load": min(1.0, rooms / most),
        "waiting": _waiting(program),
        "store": {
            "trouble": backlog.health.trouble or None,
            "written_at": rfc3339(backlog.health.written_at),
            "lines_waiting": backlog.waiting,
            "lines_written": backlog.health.written,
            "lines_lost": backlog.health.lost,
        },
    }


def _waiting(program: Program) -> dict[str, Any]:
    """Rooms that are known and not entered, because there is no place."""
    reconciler = program.reconciler
    names = () if reconciler is None else reconciler.without_place
    return {"rooms": len(names), "names": list(names[:MOST_NAMED])}


async def _actors(program: Program) -> dict[str, Any]:
    """The tree of supervision, as `/api/v1/actors` has it."""
    system = program.system
    return {
        "tree": await in_slices(system.tree_in_steps()),
        "dead_letters": system.dead_letters.total(),
        "recent_dead_letters": list(system.recent_dead_letters),
    }


def _live(program: Program) -> Iterator[SessionState]:
    """Every session that has not ended."""
    return (one.state for one in program.rooms.table.journals if not one.ended)


def _system(program: Program) -> System:
    """What the page says of the program."""
    system, checks = program.system, _checks(program)

    def parts() -> tuple[Section, ...]:
        return (
            Section("Worker", "registered", checks["livekit"](), _worker_facts(program)),
            Section("Rooms", "can be entered", checks["rooms"](), ()),
            Section("Store", "writes", checks["store"](), _store_facts(program)),
        )

    return System(lambda: in_slices(system.tree_in_steps()), parts, lambda: system.dead_letters)


def _worker_facts(program: Program) -> Facts:
    worker = program.worker
    config = worker.config
    return (
        ("LiveKit", config.endpoint.http_url),
        ("Agent name", config.agent_name or "(none)"),
        ("Worker", f"{config.instance}, {worker.worker_id or 'no id at LiveKit'}"),
        ("Version", config.version),
        ("Rooms", f"{len(program.rooms.table.records)} of at most {config.max_rooms}"),
        ("Jobs not entered yet", worker.under_way),
        ("Rooms without a place", _waiting(program)["rooms"]),
        ("Takes jobs", "no, it drains" if worker.draining else "yes" if worker.free else "no"),
    )


def _store_facts(program: Program) -> Facts:
    backlog = program.rooms.backlog
    store = backlog.health
    return (
        ("Written last", moment(utc(store.written_at))),
        ("Lines written", store.written),
        ("Lines waiting", backlog.waiting),
        ("Lines lost", store.lost),
        *((("Trouble", store.trouble),) if store.trouble else ()),
    )


def _checks(program: Program) -> Checks:
    health = program.rooms.backlog.health

    def livekit() -> str | None:
        return None if program.worker.registered else "not registered at LiveKit"

    def store() -> str | None:
        if health.trouble:
            return "the store cannot be written; the log says why"
        if health.unreadable:
            return "the store cannot be read; the log says why"
        return None if health.written_at is not None else "the store was not written yet"

    return {"livekit": livekit, "rooms": lambda: program.entries.trouble, "store": store}


def _take(settings: Settings, program: Program, said: TranslatedWebhook) -> None:
    """Only of rooms that we watch, or have watched, is anything kept."""
    rooms = program.rooms
    if rooms.table.knows(said.room_sid) or watches(settings.watch, said.room):
        rooms.said(said.room, said.room_sid, said.event)
        if (
            isinstance(said.event, WebhookRoomStarted | WebhookJoined)
            and program.reconciler is not None
        ):
            program.reconciler.look_now(said.room_sid)
