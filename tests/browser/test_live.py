"""A real room with real people, watched by the real program, seen in a real browser."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from bridge.app.program import Program, open_program
from bridge.config.settings import load
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.lab.server.ports import LOOPBACK, free_port
from tests.browser.driver import Driver, Tab
from tests.http.page_stage import HOSTILE

ROOM = "seen-in-a-browser"
METADATA = 62_000
"""Characters: a little less than the 64,000 bytes that LiveKit takes."""
"""Seconds until the page shows what happened.  It is less than one, but for who publishes
nothing (LiveKit announces them each 3 s) and on a busy machine."""


@pytest.fixture
async def program(livekit_server: PrivateServer, tmp_path: Path) -> AsyncGenerator[Program, None]:
    settings = load(
        {
            "url": livekit_server.url,
            "api-key": livekit_server.api_key,
            "api-secret": livekit_server.api_secret,
            "agent-name": "seen-in-a-browser",
            "watch": ROOM,
            "http": f"{LOOPBACK}:{free_port(socket.SOCK_STREAM)}",
            "data-dir": str(tmp_path / "data"),
        },
        {},
    )
    with capture_logs():
        async with open_program(settings) as program:
            await program.worker.wait_registered()
            await listening(program)
            yield program
            await program.drain()


async def test_the_page_shows_each_thing_as_it_happens(
    driver: Driver, program: Program, people: People, delays: dict[str, float]
):
    async def soon(what: str, do: Callable[[], Awaitable[object]], selector: str) -> None:
        """It is on the page soon after it was done."""
        began = trio.current_time()
        await do()
        await tab.shows("", selector)
        delays[what] = trio.current_time() - began

    alice = await people.join(ROOM, "alice")
    async with driver.open() as tab:
        await tab.go(f"http://{program.http}/")
        await tab.shows("", f"#rooms th:has-text('{ROOM}')")
        await tab.shows("", face("alice"))
        await tab.shows("live", "#link")

        async def join_with_a_microphone() -> None:
            """LiveKit announces people who publish nothing only every 3 s."""
            await (await people.join(ROOM, "bob")).publish("microphone")

        await soon("join", join_with_a_microphone, face("bob"))
        [_, bob] = people.present
        [microphone] = bob.tracks
        await tab.shows("", f"{face('bob')} use[href='#i-microphone']")
        await soon("mute", lambda: bob.mute(microphone), f"{face('bob')} .icon.off")
        await soon("unmute", lambda: bob.unmute(microphone), f"{face('bob')} .icon:not(.off)")
        await soon("talk", lambda: bob.speak(True), f"{face('bob')}.talking")
        await soon("silence", lambda: bob.speak(False), f"{face('bob')}:not(.talking)")
        await soon("camera", lambda: bob.publish("camera"), f"{face('bob')} use[href='#i-camera']")

        session = await tab.evaluate("document.querySelector('#rooms th a').href")
        async with driver.open() as other:
            await other.go(session)
            await other.shows("live", "#link")
            await alice.leave()
            await gone(tab, "alice")
            await other.shows("client initiated", "#live-people")
            assert await other.faults() == []
            assert await other.errors() == []

        metadata = (HOSTILE * 999)[:METADATA]
        await people.join(ROOM, HOSTILE[:200], name=HOSTILE, metadata=metadata)
        await tab.shows(r"<script>alert(1)</script>", "#rooms tbody")
        async with driver.open() as other:
            await other.go(session)
            await other.shows(f"({len(metadata.encode())} bytes)", "#events")
        await soon("leave", bob.leave, f"#rooms:not(:has({face('bob')}))")
        assert await tab.errors() == []


async def listening(program: Program) -> None:
    """Until its HTTP server does."""
    with trio.fail_after(60):
        while program.http is None:  # noqa: ASYNC110 (there is no event for it)
            await trio.sleep(0.01)


def face(identity: str) -> str:
    return f".face[title='{identity}']"


async def gone(tab: Tab, identity: str) -> None:
    await tab.lacks("", face(identity))
