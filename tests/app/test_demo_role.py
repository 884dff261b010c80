"""The demo as its command runs it: with the program that `start` runs, and its webhooks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bridge.app.demo_role import real_worker
from bridge.lab.demo.demo_run import DemoSettings, run_demo


@pytest.mark.usefixtures("livekit_server")  # named as not run where there is none
async def test_the_demo_has_a_chapter_of_webhooks_that_is_compared() -> None:
    output = io.StringIO()
    settings = DemoSettings(rooms=1, people=3, seconds=10, seed=3)
    code = await run_demo(
        settings, real_worker, webhooks=True, console=Console(file=output, width=140)
    )
    assert code == 0, output.getvalue()
    assert "came with a right signature" in output.getvalue()
    assert "1 sessions with their summary" in output.getvalue()
