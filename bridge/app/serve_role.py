"""The role of `serve`: page, API and events over a database, without watching a room.

As many of them as one likes may run.  It writes nothing, and it takes no webhooks of LiveKit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from actors.journal.backlog import Backlog
from actors.rooms.run_counters import RunCounters
from actors.runtime import ActorSystem, ChildSpec, Service, first_of, open_system
from bridge.app.flush_per_tick import FlushPerTick
from bridge.app.followed_sessions import FollowedSessions
from bridge.app.session_source import open_sessions
from bridge.app.shutdown import Shutdown
from bridge.app.signal_log import SignalLog
from bridge.app.web import SERVE, serve_web
from bridge.app.web_ports import OutboxPort, WebPorts
from bridge.config.http_address import HttpAddress
from bridge.config.settings import Settings, SettingsError, UncheckedSettings
from bridge.config.store_address import store_address
from bridge.log.sink import Sink
from bridge.outlets.database_outbox import DatabaseOutbox
from bridge.outlets.outbox_view import MOST_LISTED

log = structlog.get_logger()

_UNUSED: Final = ("api-key", "api-secret")
"""Settings that a worker must have, and that this role has no use for."""


def serve_settings(read: UncheckedSettings) -> Settings:
    """The settings of this role.  Raises `SettingsError`."""
    problems = {name: text for name, text in read.problems.items() if name not in _UNUSED}
    values = {**read.values, **dict.fromkeys(_UNUSED, "")}
    settings = evolve(read, problems=problems, values=values).settings()
    if settings.database_url is None:
        raise SettingsError(
            "serve shows the sessions in a database: set --database-url URL or "
            "ROOM_ACTORS_DATABASE_URL; the page of a single worker is at its own --http"
        )
    if settings.http is None:
        raise SettingsError("--http is off: serve needs an address, as --http 127.0.0.1:8088")
    return settings


@define(eq=False)
class ServeProgram:
    """The running program."""

    followed: FollowedSessions
    http: HttpAddress | None = None
    """Where the HTTP server listens."""
    http_ready: trio.Event = field(factory=trio.Event)
    refused: str = ""
    """Why nothing can work: the port is taken."""
    over: trio.Event = field(factory=trio.Event)
    """The program cannot go on."""


@asynccontextmanager
async def open_serve_program(settings: Settings) -> AsyncGenerator[ServeProgram, None]:
    """Serve for the length of a block."""
    assert settings.database_url is not None
    program = ServeProgram(FollowedSessions(partial(open_sessions, store_address(settings))))
    outbox = DatabaseOutbox(settings.database_url, SERVE)

    def listening(address: HttpAddress) -> None:
        program.http = address
        program.http_ready.set()
        log.info("http_listening", address=str(address))

    async def run_http() -> None:
        ports = _web_ports(program.followed, outbox, system)
        program.refused = await serve_web(settings, ports, listening)
        program.over.set()
        await trio.sleep_forever()

    async with open_system(on_signal=SignalLog()) as system:
        for name, function in (("followed-sessions", program.followed.run), ("http", run_http)):
            system.supervisor.start_child(
                ChildSpec(name, partial(Service, function), significant=True)
            )
        try:
            yield program
        finally:
            with trio.CancelScope(shield=True):
                await outbox.aclose()


def _web_ports(followed: FollowedSessions, outbox: DatabaseOutbox, system: ActorSystem) -> WebPorts:
    return WebPorts(
        worker=None,
        checks={"store": lambda: followed.trouble and "the store cannot be read; the log says why"},
        open_sessions=lambda: followed.states,
        watched_sessions=tuple,
        take_webhook=None,
        backlog=Backlog(),
        counters=RunCounters(),
        system=system,
        workers=lambda: followed.workers,
        outbox=OutboxPort(outbox.facts, partial(outbox.listed, MOST_LISTED)),
    )


@define(eq=False)
class _ServeRun:
    settings: Settings
    refused: str = ""

    async def serve(self, shutdown: Shutdown) -> None:
        async with open_serve_program(self.settings) as program:
            await first_of(shutdown.requested.wait, program.over.wait)
            self.refused = program.refused


async def _main(settings: Settings, sink: Sink) -> int:
    run = _ServeRun(settings)
    shutdown = Shutdown(sink, lambda: None)
    code = await shutdown.run(partial(run.serve, shutdown))
    if run.refused:
        raise SettingsError(run.refused)
    return code


def run(settings: Settings, sink: Sink) -> int:
    """Serve until a signal; returns the exit code.  Raises `SettingsError`."""
    return trio.run(_main, settings, sink, instruments=[FlushPerTick(sink)])
