"""The HTTP side of the running program: what it shows, and what LiveKit's webhooks lead to.

Only imported where `--http` is not off, because starlette comes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.session import RoomTold
from bridge.cli.settings import Settings
from bridge.http.app import app
from bridge.http.exchange import App
from bridge.http.health import Checks, health
from bridge.http.inbox import Inbox
from bridge.http.translate import WebhookSaid
from bridge.livekit.decisions import watches
from bridge.livekit.tokens import ApiKey

if TYPE_CHECKING:
    from bridge.cli.program import Program


def application(settings: Settings, program: Program) -> App:
    """Everything that is served at `--http`."""
    assert settings.http is not None
    inbox = Inbox(
        ApiKey(settings.api_key, settings.api_secret),
        settings.agent_name,
        lambda said: _take(settings, program, said),
    )
    rows = (*health(_checks(program)), *inbox.rows)
    return app(rows, loopback=settings.http.loopback, token=settings.http_token)


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
