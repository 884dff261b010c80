"""The log, written once a round of the loop."""

from __future__ import annotations

from typing import final

import trio

from bridge.log.sink import Sink


@final
class FlushPerTick(trio.abc.Instrument):
    """Writes the lines of the log once a round of trio's loop, before it sleeps."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 (trio's signature)
        self._sink.release()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self._sink.buffer()
