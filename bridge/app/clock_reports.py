"""Reports about time: a clock that is off, and a process that did not run."""

from __future__ import annotations

from typing import Final

import structlog
import trio

from bridge.app.room_actors import RoomActors
from bridge.livekit.server_clock import WORTH_A_WARNING, ServerClock

log = structlog.get_logger()

COMPARE_EVERY: Final = 1.0
"""Seconds between two comparisons of this machine's clock with LiveKit's."""


def report_suspension(clock: ServerClock, rooms: RoomActors, seconds: float) -> None:
    """This process did not run for so long: every room has a gap."""
    until = clock.now()
    log.warning("worker_suspended", seconds=round(seconds, 1), rooms=len(rooms.table.records))
    rooms.report_suspension(until - seconds, until)


async def compare_clocks(clock: ServerClock, rooms: RoomActors) -> None:
    """Log when this machine's clock is off, and by how much; sessions have it too."""
    reported = 0.0
    while True:
        offset = clock.offset
        if offset is not None and abs(offset - reported) > WORTH_A_WARNING and _is_exact(clock):
            if clock.is_off:
                reported = offset
                log.warning("clock_off", offset=round(offset, 3))
            else:
                reported = 0.0
                log.info("clock_right", offset=round(offset, 3))
            rooms.report_clock_offset(clock.now(), offset)
        await trio.sleep(COMPARE_EVERY)


def _is_exact(clock: ServerClock) -> bool:
    return clock.uncertainty is not None and clock.uncertainty <= WORTH_A_WARNING / 2
