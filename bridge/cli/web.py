"""The HTTP side of the running program: what it shows, and what LiveKit's webhooks lead to.

Only imported where `--http` is not off, because starlette comes with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from actors.session import RoomTold
from actors.session.view import rfc3339
from bridge import __version__
from bridge.cli.settings import Settings
from bridge.http.api import Api, Archives
from bridge.http.app import app
from bridge.http.events import Feed
from bridge.http.exchange import App
from bridge.http.health import Checks, health
from bridge.http.inbox import Inbox
from bridge.http.translate import WebhookSaid
from bridge.livekit.decisions import watches
from bridge.livekit.tokens import ApiKey

if TYPE_CHECKING:
    from bridge.cli.program import Program


@frozen
class Site:
    """What is served at `--http`, and what has to run beside the server for it."""

    app: App
    beside: Callable[[], Awaitable[None]]


def application(settings: Settings, program: Program) -> Site:
    """Everything that is served at `--http`."""
    assert settings.http is not None
    inbox = Inbox(
        ApiKey(settings.api_key, settings.api_secret),
        settings.agent_name,
        lambda said: _take(settings, program, said),
    )
    backlog = program.rooms.backlog
    archives = Archives(settings.data_dir)
    api = Api(
        archives,
        workers=lambda: [_worker(program)],
        actors=lambda: _actors(program),
        version=__version__,
        secured=settings.http_token is not None,
    )
    feed = Feed(archives, lambda: backlog.kept)
    rows = (*health(_checks(program)), *inbox.rows, *api.rows, *feed.rows)
    served = app(rows, loopback=settings.http.loopback, token=settings.http_token)
    return Site(served, feed.run)


def _worker(program: Program) -> dict[str, Any]:
    """This worker, as `/api/v1/workers` has it."""
    worker, backlog = program.worker, program.rooms.backlog
    rooms, most = len(program.rooms.book.held), worker.config.max_rooms
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
        "store": {
            "trouble": backlog.health.trouble or None,
            "written_at": rfc3339(backlog.health.written_at),
            "lines_waiting": backlog.waiting,
            "lines_written": backlog.health.written,
            "lines_lost": backlog.health.lost,
        },
    }


def _actors(program: Program) -> dict[str, Any]:
    """The tree of supervision, as `/api/v1/actors` has it."""
    system = program.system
    return {
        "tree": system.tree(),
        "dead_letters": system.dead_letters.total(),
        "recent_dead_letters": list(system.recent_dead_letters),
    }


def _checks(program: Program) -> Checks:
    health = program.rooms.backlog.health

    def livekit() -> str | None:
        return None if program.worker.registered else "not registered at LiveKit"

    def store() -> str | None:
        if health.trouble:
            return "the store cannot be written; the log says why"
        return None if health.written_at is not None else "the store was not written yet"

    return {"livekit": livekit, "store": store}


def _take(settings: Settings, program: Program, said: WebhookSaid) -> None:
    """Only of rooms that we watch, or have watched, is anything kept."""
    rooms = program.rooms
    if rooms.book.knows(said.room_sid) or watches(settings.watch, said.room):
        rooms.said(said.room, said.room_sid, said.event)
        if isinstance(said.event, RoomTold) and program.reconciler is not None:
            program.reconciler.look_now(said.room_sid)
