"""The worker of a demo, as the story sees it: what it is started with, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from attrs import field, frozen

from actors.monitoring.monitors import MonitorSummary
from actors.rooms.room_port import RoomJob
from actors.rules.limits import Limit
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.config.rule_list import RuleTable
from bridge.lab.demo.compare import FinalTotals
from bridge.lab.demo.play_script import WatchingWorker


@frozen
class Target:
    """The server that the worker is started against."""

    url: str
    api_key: str
    api_secret: str = field(repr=False)
    data_dir: Path
    webhook_url: str = ""
    """Where webhooks go; empty: nowhere."""
    webhook_secret: str = field(default="", repr=False)
    limits: tuple[Limit, ...] = ()
    """What the worker has to keep."""
    rules: tuple[RuleTable, ...] = ()
    """Rules besides those of `compare_rules`."""
    page_served: Callable[[str], object] = field(default=lambda _: None, repr=False)
    """Called with the page's URL once it is served."""


class DemoWorker(WatchingWorker, Protocol):
    """A running worker.  Its start and its end are a context manager's."""

    async def stop(self) -> FinalTotals:
        """Drain, end every session as `worker_stopped`, say the Final Summary and return
        it.  `sessions` still answers afterwards."""
        ...

    async def announce(self, room: str, sound: bytes) -> str:
        """Play a sound file in a room once it is watched; why it failed, or nothing."""
        ...

    def monitored(self) -> Sequence[MonitorSummary] | None:
        """Every monitor of people so far; None where the worker takes no such jobs."""
        ...


class SimulatedWorker(DemoWorker, Protocol):
    """The same without a LiveKit server."""

    def assign(self, job: RoomJob) -> None:
        """Watch this room: what LiveKit's dispatch would have done."""
        ...


StartWorker: TypeAlias = Callable[[Target], AbstractAsyncContextManager[DemoWorker]]
"""Yields once the worker is registered and will find every room by itself."""
StartSimulated: TypeAlias = Callable[
    [SimulatedRooms, tuple[Limit, ...]], AbstractAsyncContextManager[SimulatedWorker]
]
