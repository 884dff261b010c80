"""The demo as a whole: it plays, compares, shows, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio
from attrs import evolve
from rich.console import Console

from actors.rules.limits import Limit
from bridge.lab.demo import demo_run
from bridge.lab.demo.compare import FinalTotals
from bridge.lab.demo.demo_run import DemoSettings, run_demo
from bridge.lab.demo.demo_worker import Target
from bridge.lab.demo.script import PlanError
from bridge.lab.people import PeopleError
from bridge.lab.server import ServerUnavailableError
from tests.lab.demo.watcher import SmallWorker, start_simulated, start_worker

SHORT = DemoSettings(rooms=2, people=8, seconds=10, seed=3)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=140)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def is_below(process: psutil.Process, others: set[psutil.Process]) -> bool:
    try:
        return not others.isdisjoint(process.parents())
    except psutil.NoSuchProcess:
        return False


async def all_end(before: set[psutil.Process]) -> None:
    """Wait until all children but these have ended.  Some only notice that their parent has.

    A process of another test, as a browser, may have new children meanwhile.
    """
    started = {one for one in children() - before if not is_below(one, before)}
    _, alive = await trio.to_thread.run_sync(psutil.wait_procs, started, 60)
    assert not alive


@pytest.mark.usefixtures("livekit_server", "late_events")  # named as not run where there is none
async def test_the_story_of_real_people_is_seen_right_and_nothing_is_left(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = children()
    svg = tmp_path / "page.svg"
    code = await run_demo(evolve(SHORT, svg=svg), start_worker, console=console)
    assert code == 0, shown(console)
    assert "numbers compared are what the people really did" in shown(console)
    assert "--rooms 2 --people 8 --seconds 10 --seed 3" in shown(console)
    assert "\x1b]0;" not in shown(console)
    assert svg.read_text().startswith("<svg")
    assert listed(tmp_path) == [svg.name]
    await all_end(before)


@pytest.mark.usefixtures("livekit_server")
async def test_an_interrupted_demo_ends_everything_and_says_so(
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = children()
    stopped: list[FinalTotals] = []

    @asynccontextmanager
    async def interrupt_once_watching(target: Target) -> AsyncIterator[SmallWorker]:
        async with start_worker(target) as worker, trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt, worker)
            yield _Recorded(worker, stopped)  # type: ignore[misc]

    code = await run_demo(SHORT, interrupt_once_watching, console=console)
    assert code == 1
    assert stopped  # the worker was asked to stop and said its summary
    assert "interrupted" in capsys.readouterr().err
    assert listed(tmp_path) == []
    await all_end(before)


async def _interrupt(worker: SmallWorker) -> None:
    await worker.watching.wait()
    os.kill(os.getpid(), signal.SIGINT)


class _Recorded:
    def __init__(self, worker: SmallWorker, stopped: list[FinalTotals]) -> None:
        self._worker = worker
        self._stopped = stopped

    async def sessions(self):
        return await self._worker.sessions()

    async def announce(self, room: str, sound: bytes):
        return await self._worker.announce(room, sound)

    def monitored(self):
        return self._worker.monitored()

    async def stop(self) -> FinalTotals:
        self._stopped.append(await self._worker.stop())
        return self._stopped[-1]


def no_server(_progress: object) -> Path:
    raise ServerUnavailableError("no Go on this machine")


async def test_without_a_server_the_same_story_is_told_in_simulated_rooms(
    console: Console, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
):
    monkeypatch.setattr(demo_run, "ensure_server", no_server)
    monkeypatch.setattr(demo_run.time, "time", lambda: 1.8e9 + trio.current_time())
    code = await run_demo(SHORT, start_worker, start_simulated, console=console)
    assert code == 0, shown(console)
    assert "no Go on this machine" in shown(console)
    assert "simulated rooms" in shown(console)
    assert "numbers compared are what the people really did" in shown(console)


async def test_without_a_server_and_without_simulated_rooms_the_demo_fails_with_a_reason(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(demo_run, "ensure_server", no_server)
    assert await run_demo(SHORT, start_worker, console=console) == 1
    assert "no Go on this machine" in shown(console)


async def test_a_worker_that_counts_wrong_is_found_out(
    console: Console, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
):
    monkeypatch.setattr(demo_run, "ensure_server", no_server)
    monkeypatch.setattr(demo_run.time, "time", lambda: 1.8e9 + trio.current_time())

    @asynccontextmanager
    async def start_wrong(
        rooms: demo_run.SimulatedRooms, limits: tuple[Limit, ...]
    ) -> AsyncIterator[SmallWorker]:
        async with start_simulated(rooms, limits) as worker:
            stop = worker.stop

            async def lie() -> FinalTotals:
                totals = await stop()
                assert totals.data_messages is not None
                return evolve(totals, data_messages=totals.data_messages + 1)

            monkeypatch.setattr(worker, "stop", lie)
            yield worker

    assert await run_demo(SHORT, start_worker, start_wrong, console=console) == 1
    assert "1 of" in shown(console)
    assert "data_messages" in shown(console)


async def test_a_story_that_breaks_off_is_told_in_one_line(
    console: Console, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async def failing(*_: object) -> None:
        raise PeopleError("'alice' join: nobody\x1b[2J is there")

    monkeypatch.setattr(demo_run, "ensure_server", no_server)
    monkeypatch.setattr(demo_run, "tell_story", failing)
    assert await run_demo(SHORT, start_worker, start_simulated, console=console) == 1
    printed = capsys.readouterr().err
    assert "The demo could not go on: 'alice' join: nobody\\x1b[2J is there" in printed
    assert "Traceback" not in printed


async def test_settings_that_do_not_fit_are_refused_before_anything_starts(console: Console):
    with pytest.raises(PlanError, match="--people"):
        await run_demo(DemoSettings(rooms=3, people=2), start_worker, console=console)


@pytest.mark.parametrize(
    "settings,rooms,people",
    [
        (DemoSettings(), 4, 12),
        (DemoSettings(rooms=6), 6, 18),
        (DemoSettings(people=2), 2, 2),
        (DemoSettings(people=40), 4, 40),
    ],
)
def test_what_is_not_chosen_fits_what_is(settings: DemoSettings, rooms: int, people: int):
    plan = settings.plan()
    assert len(plan.rooms) == rooms
    beside = ("assistant-", "gatecrasher")  # an agent, and one whom a limit sends away
    humans = [w for r in plan.rooms for w in r.people if not w.startswith(beside)]
    assert len(humans) == people
