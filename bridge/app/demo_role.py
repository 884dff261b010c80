"""The role of `demo`: the story of `bridge.lab.demo`, watched by the program that `start` runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog
import trio
import trio_asyncio  # noqa: F401 (before anything that takes functions out of asyncio)
from attrs import define, evolve

from actors.monitoring.monitors import MonitorSummary
from actors.publishing.content_checks import AnnouncementRefused
from actors.publishing.publishing_port import SoundData
from actors.rooms.room_port import RoomJob
from actors.rules.limits import Limit
from actors.session import SessionView
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.app.program import Program, open_program
from bridge.app.room_actors import RoomActors
from bridge.app.session_source import open_sessions
from bridge.app.simulated_app import NoReports, open_simulated_app
from bridge.config import rule_list
from bridge.config.limit_list import LIMITS
from bridge.config.rule_list import RuleTable
from bridge.config.settings import Settings, load
from bridge.config.store_address import StoreAddress
from bridge.lab.demo.compare import FinalTotals
from bridge.lab.demo.compare_monitoring import TYPES
from bridge.lab.demo.compare_rules import RULES
from bridge.lab.demo.compare_tracks import MEASURE
from bridge.lab.demo.demo_run import DemoSettings, run_demo
from bridge.lab.demo.demo_worker import Target

log = structlog.get_logger()

STORY: Final[Mapping[str, object]] = {
    "status-every": "10s",
    "report-every": "20s",
    "http": "127.0.0.1:0",
    "job-types": TYPES,
    "measure-tracks": MEASURE,
}
"""Intervals shorter than `start`'s, so that a story of 40 s shows both; the page on a free port."""
LAST_WEBHOOKS: Final = 20.0
"""Seconds for webhooks, on a machine that runs the people too."""
NOBODY: Final[Mapping[str, object]] = {
    "api-key": "none",
    "api-secret": "none-" * 8,
    "http": "off",
}
"""For simulated rooms, which need no key and have no page."""


def run(demo: DemoSettings) -> int:
    """Tell the story; returns the exit code."""
    with_all = partial(
        run_demo, webhooks=True, rules=True, tracks=True, announcements=True, voice_agent=True
    )
    return trio.run(partial(with_all, demo, real_worker, _simulated_worker))


@define(eq=False)
class _Watching:
    """A running worker as the story sees it."""

    rooms: RoomActors
    data_dir: Path
    program: Program | None = None
    """None where the rooms are simulated."""

    async def sessions(self) -> list[SessionView]:
        await self.rooms.flush()
        return await trio.to_thread.run_sync(_stored_sessions, self.data_dir)

    def assign(self, job: RoomJob) -> None:
        self.rooms.assign(job)

    def monitored(self) -> Sequence[MonitorSummary] | None:
        monitoring = None if self.program is None else self.program.monitoring
        return None if monitoring is None else monitoring.monitors.summaries()

    async def announce(self, room: str, sound: bytes) -> str:
        desk = None if self.program is None else self.program.announcements
        if desk is None:
            return "this worker announces nothing"
        announcements = await desk.announcements()
        while True:
            try:
                record = announcements.announce(room, SoundData(sound), "demo")
            except AnnouncementRefused as refused:
                if refused.why != "not_found":
                    return str(refused)
                await trio.sleep(0.2)  # The room is not watched yet.
            else:
                await record.over.wait()
                return record.error

    async def stop(self) -> FinalTotals:
        await (self.rooms.leave_all() if self.program is None else self.program.drain())
        if self.program is not None and self.program.outlets is not None:
            await self.program.outlets.deliver_the_rest(LAST_WEBHOOKS)
        if self.program is not None and self.program.monitoring is not None:
            self.program.monitoring.log_summary()
        totals = self.rooms.summary()
        log.info("final_summary", **totals.as_dict())
        log.info("agent_stopped")
        return FinalTotals(
            totals.rooms, totals.participants, totals.tracks, totals.messages, totals.duration
        )


def _stored_sessions(data_dir: Path) -> list[SessionView]:
    with open_sessions(StoreAddress(data_dir)) as reader:
        rows = reader.sessions(limit=1_000).sessions
        return [session for row in rows if (session := reader.session(row.id)) is not None]


def demo_settings(
    target: Target | None, limits: tuple[Limit, ...] = (), rules: tuple[RuleTable, ...] = ()
) -> Settings:
    """The settings of a demo's worker.  Nothing of the user's environment is used."""
    flags = dict(STORY)
    if target is None:
        flags |= NOBODY
    else:
        flags |= {
            "url": target.url,
            "api-key": target.api_key,
            "api-secret": target.api_secret,
            "data-dir": str(target.data_dir),
        }
        if target.webhook_url:
            flags |= {"webhook-url": target.webhook_url, "webhook-secret": target.webhook_secret}
    return evolve(load(flags, {}), lists={LIMITS.name: limits, rule_list.RULES.name: rules})


@asynccontextmanager
async def real_worker(target: Target) -> AsyncGenerator[_Watching, None]:
    """The worker that `start` runs, with the settings of a demo."""
    log.info("agent_started")
    async with open_program(
        demo_settings(target, target.limits, (*RULES, *target.rules))
    ) as program:
        workers = {} if program.monitoring is None else program.monitoring.workers
        for worker in (program.worker, *workers.values()):
            await worker.wait_registered()
        await program.http_ready.wait()
        target.page_served(f"http://{program.http}/")
        yield _Watching(program.rooms, target.data_dir, program)


@asynccontextmanager
async def _simulated_worker(
    rooms: SimulatedRooms, limits: tuple[Limit, ...]
) -> AsyncGenerator[_Watching, None]:
    log.info("agent_started")
    with TemporaryDirectory(prefix="room-actors-simulated-") as name:
        data_dir, settings = Path(name), demo_settings(None, limits, RULES)
        async with open_simulated_app(settings, rooms, data_dir, NoReports()) as running:
            yield _Watching(running.actors, data_dir)
