"""`start`: run until a signal, then leave every room in order; a second Ctrl-C ends at once.

The ladder of an end: the first SIGINT, SIGTERM or SIGHUP drains within `--stop-timeout`;
what is not through by then is named and cancelled.  A second SIGINT cancels right away.
SIGTERM comes from programs, which send it twice without meaning more by it (to a process
and to its group): one that follows within `REPEAT` seconds changes nothing, a later one
cancels too.  SIGHUP means the terminal is gone; it is left alone where it was ignored
before us (nohup).
After a cancellation the program has `HURRY` seconds for its goodbyes and is then gone
whatever hangs.  However it ends, the Final Summary is the last thing but one it says.
SIGUSR1 shows every actor at any time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from types import FrameType
from typing import Final, final

import structlog
import trio
import trio_asyncio  # noqa: F401 (before anything that takes functions out of asyncio)
from attrs import define, field

from actors.runtime import first_of, render_running
from bridge.app.interpreter import tune_interpreter
from bridge.app.program import Program, open_program
from bridge.config.machine import descriptor_limit
from bridge.config.settings import Settings, SettingsError
from bridge.log.sink import Sink
from bridge.log.structured_log import FLUSH_SECONDS
from bridge.output.text import harmless

log = structlog.get_logger()

REPEAT: Final = 1.0
"""Seconds in which another SIGTERM or SIGHUP is the same request."""
HURRY: Final = 1.0
"""Seconds for goodbyes after a cancellation."""
FAILED: Final = 1
INTERRUPTED: Final = 130


@final
class FlushEachTick(trio.abc.Instrument):
    """The lines of the log leave once a round of the loop, before it sleeps."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 (trio's signature)
        self._sink.let_go()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self._sink.hold()


def run(settings: Settings, sink: Sink) -> int:
    """Be the worker; returns the exit code.

    `sink` is where the log goes.  Raises `SettingsError` where LiveKit refuses the worker.
    """
    # Straight to the tree, past trio: it also answers where the loop itself is stuck.
    signal.signal(signal.SIGUSR1, _show_actors)
    tune_interpreter()
    return trio.run(_main, settings, sink, instruments=[FlushEachTick(sink)])


def _show_actors(_: int, __: FrameType | None) -> None:
    """SIGUSR1: every actor, its state, queue and counters, and what it awaits, on stderr."""
    for line in render_running().splitlines():
        os.write(2, f"{harmless(line, 2_000)}\n".encode())


@define(eq=False)
class End:
    """How the run is asked to end."""

    sink: Sink
    asked: trio.Event = field(factory=trio.Event)
    """By a first signal."""
    hurried: trio.Event = field(factory=trio.Event)
    """By a later one, or because the stop timeout has passed."""
    _first_at: float = float("inf")
    """When the first signal came, on trio's clock."""
    _interrupts: int = 0
    work: trio.CancelScope = field(factory=trio.CancelScope)
    """Around everything that a hurried end cancels."""
    code: int = 0
    refused: str = ""
    """Why nothing can work with these settings."""
    program: Program | None = None

    def hurry(self, code: int) -> None:
        self.code = code
        self.hurried.set()

    async def listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            now = trio.current_time()
            self._first_at = min(self._first_at, now)
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1 or now - self._first_at > REPEAT:
                log.info("signal_received", signal=signal.Signals(number).name)
                self.hurry(INTERRUPTED)
            elif not self.asked.is_set():
                log.info("signal_received", signal=signal.Signals(number).name)
                self.asked.set()

    async def see_that_it_ends(self) -> None:
        await self.hurried.wait()
        self.work.cancel()
        await trio.sleep(HURRY)
        log.warning("end_forced", after=HURRY)
        self.say_goodbye()
        self.sink.flush(FLUSH_SECONDS)
        os._exit(self.code)

    def say_goodbye(self) -> None:
        if self.program is not None:
            self.program.rooms.close_books()
            log.info("final_summary", **self.program.rooms.summary().as_dict())
        log.info("agent_stopped")


async def _main(settings: Settings, sink: Sink) -> int:
    log.info("agent_started")
    log.info("max_rooms", rooms=settings.max_rooms, open_files=descriptor_limit())
    end = End(sink)
    with trio.open_signal_receiver(*_end_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.listen, signals)
            nursery.start_soon(end.see_that_it_ends)
            with end.work:
                await _watch_until_asked(settings, end)
            nursery.cancel_scope.cancel()
    if end.refused:
        raise SettingsError(end.refused)
    end.say_goodbye()
    return end.code


def _end_signals() -> tuple[signal.Signals, ...]:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,))


async def _watch_until_asked(settings: Settings, end: End) -> None:
    try:
        await _watch(settings, end)
    except SettingsError as error:
        end.refused = str(error)


async def _watch(settings: Settings, end: End) -> None:
    async with open_program(settings) as program:
        end.program = program
        await first_of(end.asked.wait, program.over.wait)
        end.refused = program.refused
        if end.refused:
            return
        with trio.move_on_after(settings.stop_timeout) as draining:
            await program.drain()
        if draining.cancelled_caught:
            rooms = sorted(program.rooms.table.names)
            log.warning(
                "stop_timeout",
                after=settings.stop_timeout,
                waiting_for=program.closing,
                rooms=rooms,
            )
            end.hurry(FAILED)
