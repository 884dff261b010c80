"""The page behind a real nginx, under a path of its own, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import trio
from structlog.testing import capture_logs

from bridge.config.public_address import PublicAddress
from tests.browser.driver import Driver
from tests.http.page_stage import open_stage
from tests.nginx import StartNginx

TOKEN = "the operator's token"
FRONT = PublicAddress(frozenset({"rooms.example.org"}), "/rooms")


async def test_the_page_is_signed_in_to_and_live_under_its_path(
    driver: Driver, tmp_path: Path, start_nginx: StartNginx
):
    with capture_logs():
        async with open_stage(tmp_path / "data", token=TOKEN, front=FRONT) as stage:
            address = await trio.to_thread.run_sync(start_nginx, stage.site.address)
            async with driver.open() as tab:
                await tab.go(f"http://{address}/rooms/")
                await tab.order("fill", "#token", TOKEN)
                await tab.order("click", "form.signin button")
                await tab.shows("No room is live.")
                assert await tab.evaluate("location.pathname") == "/rooms/"
                stage.history.now = time.time()
                stage.journals.append(stage.history.begin("lobby", "RM_1", "alice"))
                await stage.keep()
                await tab.shows("lobby", "#rooms")
                await tab.order("click", "#rooms th a")
                await tab.shows("lobby", "h1")
                assert await tab.evaluate("location.pathname") == "/rooms/sessions/RM_1"
                await tab.order("click", "form.out button")
                await tab.shows("Sign in", "h1")
                assert await tab.evaluate("location.pathname") == "/rooms/signin"
