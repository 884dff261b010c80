"""The role of `start`: watch rooms until a signal, then leave every room in order.

`bridge.app.shutdown` has the ladder of an end.  An orderly end drains within `--stop-timeout`; the
log names what is not done by then, and it is cancelled.  The final summary is the last line but
one of the log, however the run ends.  SIGUSR1 shows every actor, and the C heap, at any time.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

import structlog
import trio
import trio_asyncio  # noqa: F401 (before anything that takes functions out of asyncio)
from attrs import define, field

from actors.runtime import first_of, render_running
from bridge.app.flush_per_tick import FlushPerTick
from bridge.app.interpreter import tune_interpreter
from bridge.app.program import Program, open_program
from bridge.app.shutdown import Shutdown
from bridge.config.machine import descriptor_limit
from bridge.config.settings import Settings, SettingsError
from bridge.livekit.rooms.native_memory import heap_bytes
from bridge.log.sink import Sink
from bridge.output.text import harmless

log = structlog.get_logger()

FAILED: Final = 1
HAND_OVER_SHARE: Final = 0.6
"""Of `--stop-timeout`, for other workers to take over our rooms."""


def run(settings: Settings, sink: Sink) -> int:
    """Be the worker; returns the exit code.

    `sink` is where the log goes.  Raises `SettingsError` where LiveKit refuses the worker.
    """
    # A signal handler of Python, not trio's: it also answers where the loop itself is stuck.
    signal.signal(signal.SIGUSR1, show_actors)
    tune_interpreter()
    return trio.run(_main, settings, sink, instruments=[FlushPerTick(sink)])


def show_actors(_: int, __: FrameType | None) -> None:
    """SIGUSR1: every actor, its state, queue and counters, and what it awaits, on stderr.

    The last line is the state of the C heap: memory that is in use, or freed and kept.
    """
    for line in render_running().splitlines():
        os.write(2, f"{harmless(line, 2_000)}\n".encode())
    heap = heap_bytes()
    if heap is not None:
        os.write(2, f"{heap}\n".encode())


@define(eq=False)
class _WorkerRun:
    """One run of the worker, and why it ended."""

    settings: Settings
    sink: Sink
    program: Program | None = None
    refused: str = ""
    """Why nothing can work with these settings."""
    shutdown: Shutdown = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.shutdown = Shutdown(self.sink, self.log_end)

    def log_end(self) -> None:
        if self.program is not None:
            self.program.log_final_summary()
        log.info("agent_stopped")

    async def watch(self) -> None:
        try:
            await self._watch()
        except SettingsError as error:
            self.refused = str(error)

    async def _watch(self) -> None:
        settings, shutdown = self.settings, self.shutdown
        async with open_program(settings) as program:
            self.program = program
            await first_of(shutdown.requested.wait, program.over.wait)
            self.refused = program.refused
            if self.refused:
                return
            with trio.move_on_after(settings.stop_timeout) as draining:
                await program.drain(HAND_OVER_SHARE * settings.stop_timeout)
            if draining.cancelled_caught:
                log.warning(
                    "stop_timeout",
                    after=settings.stop_timeout,
                    waiting_for=program.closing,
                    rooms=sorted(program.rooms.table.names),
                )
                shutdown.hurry(FAILED)


async def _main(settings: Settings, sink: Sink) -> int:
    log.info("agent_started")
    log.info("max_rooms", rooms=settings.max_rooms, open_files=descriptor_limit())
    worker_run = _WorkerRun(settings, sink)
    code = await worker_run.shutdown.run(worker_run.watch)
    if worker_run.refused:
        raise SettingsError(worker_run.refused)
    worker_run.log_end()
    return code
