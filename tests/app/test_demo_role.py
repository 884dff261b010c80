"""The demo as its command runs it: with the program that `start` runs, its page and webhooks."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
from rich.console import Console

from bridge.app.demo_role import real_worker
from bridge.lab.demo import demo_run
from bridge.lab.demo.demo_run import DemoSettings, run_demo
from bridge.lab.demo.demo_worker import DemoWorker, Target
from bridge.lab.egress.redis_server import find_redis


class Output(io.StringIO):
    """The output of the demo."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = trio.Event()
        """The page is kept."""

    def write(self, text: str, /) -> int:
        if "until Ctrl-C" in text:
            self.kept.set()
        return super().write(text)


@pytest.mark.usefixtures("livekit_server", "late_events")  # named as not run where there is none
async def test_the_demo_checks_webhooks_and_keeps_its_page_until_a_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = Output()
    opened: list[str] = []
    monkeypatch.setattr(demo_run.webbrowser, "open", lambda url: opened.append(url) or True)

    @asynccontextmanager
    async def looked_at(target: Target) -> AsyncIterator[DemoWorker]:
        async with real_worker(target) as worker, trio.open_nursery() as nursery:
            nursery.start_soon(look)
            yield worker

    async def look() -> None:
        lines = output.getvalue().splitlines()
        (line,) = [line for line in lines if line.startswith("The page of the worker: ")]
        url = line.removeprefix("The page of the worker: ")
        async with httpx2.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200  # the story is being told
            await output.kept.wait()
            sessions = (await client.get(f"{url}api/v1/sessions")).json()["sessions"]
        assert [row["status"] for row in sessions] == ["ended", "ended"]
        os.kill(os.getpid(), signal.SIGINT)

    settings = DemoSettings(rooms=1, people=3, seconds=10, seed=3, keep=True, open_browser=True)
    console = Console(file=output, width=140)
    code = await run_demo(
        settings, looked_at, webhooks=True, rules=True, voice_agent=True, console=console
    )
    assert code == 0, output.getvalue()  # that of the story
    assert "came with a right signature" in output.getvalue()
    assert "1 sessions with their summary" in output.getvalue()
    assert "Rules: each join was greeted" in output.getvalue()
    on_one_line = " ".join(output.getvalue().split())
    assert "Voice agent (a stub of ours" in on_one_line
    assert "2 tool calls (1 failed), 1 interrupted" in on_one_line
    recording = "needs a Redis" if find_redis() is None else "Recording: a rule recorded"
    assert recording in output.getvalue()
    (url,) = opened
    assert f"The page stays at {url} until Ctrl-C." in output.getvalue()
