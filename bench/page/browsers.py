"""Browsers on the page: most are clients that do what `page.js` does, a few are chromium.

A client loads the page and its files, holds the event stream, and asks for what changed
when an event comes, as often as the page's script does; it reads each answer as JSON and
looks for what `Traffic.probe` wrote.  Chromium runs the script itself; what is looked at
there is the document, when it has changed.  Both compare with the same clock.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any, Final, final

import httpx2
import trio
from attrs import define, field
from trio_websocket import WebSocketConnection, connect_websocket_url

from bench.errors import BenchError

AT_MOST_EVERY: Final = 0.2
"""Seconds between two questions, as in `page.js`."""
REST: Final = 2
REST_MOST: Final = 0.5
AT_LEAST_EVERY: Final = 5.0
PATIENCE: Final = 10.0
FILES: Final = re.compile(r'(?:href|src)="(/static/[^"#]+)')
PLACE: Final = re.compile(r'data-place="([^"]+)"')
PROBE: Final = re.compile(r"p(\d{10}\.\d{3})<")
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
)


@define(eq=False)
class Browser:
    """One client."""

    address: str
    seen: dict[float, float] = field(factory=dict[float, float])
    """Unix times of events, and the seconds after which each arrived here."""
    asked: int = 0
    failed: int = 0
    """Questions without an answer: the page would say "not connected"."""
    received: int = 0
    """Bytes, of both streams."""
    ready: trio.Event = field(factory=trio.Event)
    _news: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        """Never ends."""
        limits = httpx2.Limits(max_connections=6)
        async with httpx2.AsyncClient(
            base_url=f"http://{self.address}", timeout=PATIENCE, limits=limits
        ) as http:
            page = (await http.get("/")).raise_for_status().text
            for path in sorted(set(FILES.findall(page))):
                (await http.get(path)).raise_for_status()
            found = PLACE.search(page)
            if found is None:
                raise BenchError("the page does not say where it is")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, http)
                nursery.start_soon(self._update, http, found[1])

    async def _listen(self, http: httpx2.AsyncClient) -> None:
        while True:
            try:
                async with http.stream("GET", "/api/v1/events", timeout=30) as stream:
                    async for piece in stream.aiter_raw():
                        self.received += len(piece)
                        if b"data:" in piece:
                            self._news.set()
            except httpx2.HTTPError:
                self.failed += 1
            await trio.sleep(2.0)  # as the stream's `retry` says

    async def _update(self, http: httpx2.AsyncClient, place: str) -> None:
        while True:
            asked, self._news = trio.current_time(), trio.Event()
            try:
                answer = await http.get("/now", params={"since": place})
                place = self._take(answer.raise_for_status().content)
            except httpx2.HTTPError:
                self.failed += 1
            self.asked += 1
            now = trio.current_time()
            earliest = max(asked + AT_MOST_EVERY, now + min(REST * (now - asked), REST_MOST))
            with trio.move_on_at(now + AT_LEAST_EVERY):
                await self._news.wait()
            await trio.sleep_until(earliest)

    def _take(self, content: bytes) -> str:
        """Take an answer; gives the place for the next question."""
        news = json.loads(content)
        now = time()
        self.received += len(content)
        for row in news["rows"].values():
            for stamp in PROBE.findall(row):
                self.seen.setdefault(float(stamp), now - float(stamp))
        self.ready.set()
        return news["place"]


# ---------------------------------------------------------------- chromium

WATCH: Final = """
window.benchSeen = {};
new MutationObserver((changes) => {
  const now = Date.now() / 1000;
  for (const change of changes) for (const node of change.addedNodes)
    for (const [, stamp] of (node.textContent ?? "").matchAll(/p(\\d{10}\\.\\d{3})/g))
      window.benchSeen[stamp] ??= now - Number(stamp);
}).observe(document, {childList: true, subtree: true});
"""
TAKE: Final = "JSON.stringify([document.hidden, window.benchSeen])"


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@final
class Chromium:
    """A real browser, spoken to over its DevTools protocol."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._number = 0

    async def order(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The result.  Raises `BenchError`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._socket.send_message(
            json.dumps(message if session is None else {**message, "sessionId": session})
        )
        with trio.fail_after(30):
            while True:
                answer = json.loads(await self._socket.get_message())
                if answer.get("id") == self._number:
                    break
        if "error" in answer:
            raise BenchError(f"chromium: {method}: {answer['error']}")
        return answer["result"]

    async def open(self, url: str) -> str:
        """A window of its own; gives its session."""
        target = await self.order("Target.createTarget", url="about:blank", newWindow=True)
        attached = await self.order(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        session = attached["sessionId"]
        await self.order("Page.enable", session)
        await self.order("Page.addScriptToEvaluateOnNewDocument", session, source=WATCH)
        await self.order("Page.navigate", session, url=url)
        return session

    async def seen(self, session: str) -> dict[float, float]:
        """The same as `Browser.seen`."""
        found = await self.order("Runtime.evaluate", session, expression=TAKE)
        hidden, seen = json.loads(found["result"]["value"])
        if hidden:
            raise BenchError("chromium thinks that nobody looks at the page")
        return {float(stamp): seconds for stamp, seconds in seen.items()}


@asynccontextmanager
async def open_chromium(path: str, folder: Path) -> AsyncGenerator[Chromium, None]:
    """Run it for the length of a block."""
    process = await trio.lowlevel.open_process(
        [path, *FLAGS, f"--user-data-dir={folder}"], stderr=-1
    )
    try:
        assert process.stderr is not None
        answer = b""
        with trio.fail_after(30):
            while (found := re.search(rb"listening on (ws://\S+)\s", answer)) is None:
                piece = await process.stderr.receive_some()
                if not piece:
                    raise BenchError(f"chromium ended: {answer[-200:]!r}")
                answer += piece
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_on, process.stderr)
            socket = await connect_websocket_url(
                nursery, found[1].decode(), max_message_size=1 << 24
            )
            yield Chromium(socket)
            await Chromium(socket).order("Browser.close")
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            with trio.move_on_after(5):
                await process.wait()
            process.kill()
            await process.wait()


async def _read_on(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass
