"""The demo as a whole: server, people, worker, story, comparison, last page.

The caller gives a function that starts a worker.  So the same story serves the command, the
tests and simulated rooms.

Nothing is left running, however it ends: the server and the people end with us, and the
data directory goes with the last of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio
from attrs import define, evolve, field, frozen
from rich.console import Console

from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.demo.agent_room import AgentRoom, play_agent_room
from bridge.lab.demo.announced_room import AnnouncedRoom, play_announcement
from bridge.lab.demo.chapters import DemoParts, compare_all
from bridge.lab.demo.compare_monitoring import AGENT, monitored_person
from bridge.lab.demo.compare_tracks import MeasuredMicrophone
from bridge.lab.demo.demo_worker import (
    DemoWorker,
    StartSimulated,
    StartWorker,
    Target,
)
from bridge.lab.demo.failures import failure_text
from bridge.lab.demo.last_page import closing_page, save_svg
from bridge.lab.demo.play_script import (
    Administrator,
    Cast,
    Crowd,
    open_early,
    tell_story,
)
from bridge.lab.demo.recorded_room import private_redis, recording_room
from bridge.lab.demo.script import Script, draw, limits_of_script
from bridge.lab.demo.simulated_people import SimulatedCrowd
from bridge.lab.demo.webhook_receiver import receiving_webhooks
from bridge.lab.egress.redis_server import PrivateRedis
from bridge.lab.people import open_people
from bridge.lab.server import PrivateServer, ServerUnavailableError, ensure_server
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.proxies import drop_proxies
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.output.progress import ProgressLine

ROOMS: Final = 4
SECONDS: Final = 40.0
SEED: Final = 1
PEOPLE_A_ROOM: Final = 3

FAILED: Final = 1
INTERRUPTED: Final = 130
DISPATCH_SECONDS: Final = 4.0
"""Within this a dispatch becomes a job, or was lost."""
STOP_SECONDS: Final = 15.0
"""A worker that was asked to stop has its own, shorter, deadline; this is the last one."""


@frozen
class DemoSettings:
    """The user's choices.  None: the default that fits the others."""

    rooms: int | None = None
    people: int | None = None
    """In all rooms together; at least one a room."""
    seconds: float = SECONDS
    seed: int = SEED
    svg: Path | None = None
    """File for a picture of the last page."""
    keep: bool = False
    """Serve the page after the story too, until the first signal."""
    open_browser: bool = False
    """Open the page in a browser."""

    def plan(self) -> Script:
        """The story.  Raises `PlanError` where the settings do not fit."""
        rooms, people = self.rooms, self.people
        if rooms is None:
            rooms = ROOMS if people is None else min(ROOMS, people)
        if people is None:
            people = PEOPLE_A_ROOM * rooms
        return draw(rooms, people, self.seconds, self.seed)

    @property
    def command(self) -> str:
        """The command line that tells the same story again."""
        chosen = {"rooms": self.rooms, "people": self.people}
        flags = [f"--{name} {value}" for name, value in chosen.items() if value is not None]
        flags += [f"--seconds {self.seconds:g}"] if self.seconds != SECONDS else []
        flags += [f"--seed {self.seed}"] if self.seed != SEED else []
        return " ".join(["bin/room-actors demo", *flags])


class Interrupted(Exception):
    """The first signal came while something ran that cannot be cancelled."""


async def run_demo(
    settings: DemoSettings,
    start_worker: StartWorker,
    start_simulated: StartSimulated | None = None,
    *,
    webhooks: bool = False,
    rules: bool = False,
    tracks: bool = False,
    announcements: bool = False,
    voice_agent: bool = False,
    console: Console | None = None,
) -> int:
    """Tell the story, compare, and show the last page on stdout; the exit code.

    0 if every number is right, 1 if one is not or the story could not be played.  Takes
    SIGINT and SIGTERM itself: the first ends the story and everything that runs, the
    second the process (130).  `webhooks`: a worker in real rooms sends them to a receiver
    of the demo.  `rules`: the worker has the rules of `compare_rules`; where a Redis is installed
    it records a room besides.  `tracks`: it measures tracks as `compare_tracks` wants it.
    `announcements`: it plays a sound to somebody who listens.
    `voice_agent`: a stub of an agent talks with a caller.
    Raises `PlanError` for settings that do not fit.
    """
    plan = settings.plan()
    with TemporaryDirectory(prefix="room-actors-demo-", ignore_cleanup_errors=True) as name:
        demo = _Demo(
            settings,
            plan,
            Path(name),
            start_worker,
            start_simulated,
            console or Console(),
            webhooks,
            rules,
            tracks,
            announcements,
            voice_agent,
        )
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(demo.listen, signals)
                code = await demo.run()
                nursery.cancel_scope.cancel()
    return code


@define(eq=False)
class _Demo:
    """One run."""

    settings: DemoSettings
    plan: Script
    data_dir: Path
    start_worker: StartWorker
    start_simulated: StartSimulated | None
    console: Console
    webhooks: bool
    rules: bool
    tracks: bool
    announcements: bool
    voice_agent: bool
    work: trio.CancelScope = field(factory=trio.CancelScope)
    interrupted: bool = False
    page: str | None = None
    """The URL of the worker's page; None where there is none."""
    verdict: int | None = None
    """The exit code, once the story was played and compared."""

    async def listen(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            if self.interrupted:
                # The server and the people end with us, by their own guards.
                shutil.rmtree(self.data_dir, ignore_errors=True)
                os._exit(INTERRUPTED)
            self.interrupted = True
            self.work.cancel()

    async def run(self) -> int:
        code, failure = FAILED, None
        try:
            with self.work:
                code = await self._run()
        except Interrupted:
            pass  # reported below
        except Exception as error:
            failure = failure_text(error)
            if failure is None:
                raise
        if self.verdict is not None:
            code = self.verdict
        elif self.interrupted:
            failure = "The demo was interrupted; nothing is left running."
        if failure is not None:
            Console(stderr=True).print(failure, markup=False, highlight=False)
        return code

    async def _run(self) -> int:
        try:
            binary = await self._find_server()
        except ServerUnavailableError as error:
            self.console.print(f"There is no LiveKit server: {error}", markup=False)
            if self.start_simulated is None:
                return FAILED
            self.console.print("So the same actors watch simulated rooms instead.")
            return await self._simulated(self.start_simulated)
        return await self._real(binary)

    async def _find_server(self) -> Path:
        """The server's binary; with progress where it has to be built."""
        with ProgressLine(sys.stderr) as line:

            def progress(text: str) -> None:
                if self.interrupted:
                    raise Interrupted
                line(text)

            return await trio.to_thread.run_sync(ensure_server, progress)

    async def _real(self, binary: Path) -> int:
        drop_proxies()  # The people, and the worker, would go through one to loopback.
        async with (
            private_redis(self.data_dir / "redis") if self.rules else nullcontext() as redis,
            _private_server(binary, self.data_dir / "livekit", redis) as server,
            open_people(server.url, server.api_key, server.api_secret) as people,
            ServerApi(Endpoint.parse(server.url), ApiKey(server.api_key, server.api_secret)) as api,
            receiving_webhooks() as receiver,
            recording_room(self.plan, people, redis) as recorded,
        ):
            target = Target(
                server.url,
                server.api_key,
                server.api_secret,
                self.data_dir / "worker",
                limits=limits_of_script(self.plan),
                page_served=self._page_served,
            )
            if self.webhooks:
                target = evolve(target, webhook_url=receiver.url, webhook_secret=receiver.secret)
            if recorded is not None:
                target = evolve(target, rules=(recorded.rule,))
            self._say_what("a private LiveKit server on loopback, real people over WebRTC")
            measured = None
            if self.tracks:
                measured = await MeasuredMicrophone.make(self.plan, self.data_dir / "loss")
            crowd = people if measured is None else measured.crowd(people)
            early = await open_early(self.plan, crowd, api)
            async with self.start_worker(target) as worker:
                await self._open_page()
                await self._dispatch_monitor(api, worker)
                sent = receiver if self.webhooks else None
                announced = AnnouncedRoom(people) if self.announcements else None
                agent = AgentRoom(people) if self.voice_agent else None
                parts = DemoParts(sent, self.rules, recorded, measured, announced, agent)
                return await self._tell(crowd, api, worker, early, parts)

    async def _dispatch_monitor(self, api: ServerApi, worker: DemoWorker) -> None:
        """Have one person monitored.  For some milliseconds after its registration LiveKit does
        not know the worker, and a dispatch is lost."""
        room, _, metadata = monitored_person(self.plan)
        while worker.monitored() == ():
            await api.create_dispatch(room, AGENT, metadata)
            with trio.move_on_after(DISPATCH_SECONDS):
                while worker.monitored() == ():  # noqa: ASYNC110 (nothing to wait on)
                    await trio.sleep(0.1)

    async def _simulated(self, start_simulated: StartSimulated) -> int:
        rooms = SimulatedRooms(time.time)
        crowd = SimulatedCrowd(rooms)
        self._say_what("simulated rooms")
        early = await open_early(self.plan, crowd, crowd)
        async with start_simulated(rooms, limits_of_script(self.plan)) as worker:
            crowd.dispatch_to(worker.assign)
            return await self._tell(crowd, crowd, worker, early, DemoParts(rules=self.rules))

    async def _tell(
        self,
        crowd: Crowd,
        api: Administrator,
        worker: DemoWorker,
        early: Mapping[str, Cast],
        parts: DemoParts,
    ) -> int:
        """The story, the worker's end, and the verdict.  An interrupted story still lets the
        worker say its summary."""
        try:
            stories, failure = (), None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_announcement, parts.announced, worker)
                nursery.start_soon(play_agent_room, parts.agent, worker)
                try:
                    stories = await tell_story(self.plan, crowd, api, worker, early)
                except Exception as error:  # noqa: BLE001  (raised below, and not in a group)
                    failure = error
                    nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
            if parts.recorded is not None:
                await parts.recorded.ended(worker)
                stories = parts.recorded.with_recordings(stories)
        except BaseException:
            with trio.move_on_after(STOP_SECONDS, shield=True):
                await worker.stop()
            raise
        totals = await worker.stop()
        sessions = await worker.sessions()
        compared = compare_all(self.plan, stories, sessions, totals, worker.monitored(), parts)
        page = closing_page(stories, sessions, totals, compared)
        self.console.print(page)
        if self.settings.svg is not None:
            save_svg(page, self.settings.svg, self.settings.command)
        self.verdict = FAILED if compared.comparison.differences else 0
        if self.settings.keep:
            await self._keep_page()
        return self.verdict

    def _page_served(self, url: str) -> None:
        self.page = url
        self._say(f"The page of the worker: {url}")

    async def _open_page(self) -> None:
        if self.page is None or not self.settings.open_browser:
            return
        opened = await trio.to_thread.run_sync(webbrowser.open, self.page, abandon_on_cancel=True)
        if not opened:
            self._say("No browser was found to open it.")

    async def _keep_page(self) -> None:
        """Until the first signal.  The exit code is that of the story."""
        if self.page is None:
            self._say("Simulated rooms have no page, so there is none to keep.")
            return
        self._say(f"The page stays at {self.page} until Ctrl-C.")
        await trio.sleep_forever()

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _say_what(self, where: str) -> None:
        people = len({who for room in self.plan.rooms for who in room.people})
        self._say(
            f"A story of {self.plan.seconds:g} s with {people} people and bots in "
            f"{len(self.plan.rooms)} rooms: {where}.\nTell it again: {self.settings.command}"
        )


@asynccontextmanager
async def _private_server(
    binary: Path, data_dir: Path, redis: PrivateRedis | None
) -> AsyncGenerator[PrivateServer, None]:
    config = {} if redis is None else {"redis": {"address": redis.address}}
    server = await trio.to_thread.run_sync(PrivateServer.start, binary, data_dir, config)
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.__exit__, None, None, None)
