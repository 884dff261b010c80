"""A browser for trio programs: `child` does the work, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import trio
from attrs import frozen

ROOT: Final = Path(__file__).parents[2]
AXE: Final = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
HANG: Final = 60.0
"""Seconds; only bounds a test that would hang."""

Scheme: TypeAlias = Literal["light", "dark"]


@final
class Driver:
    """Chromium for the length of a block."""

    def __init__(self, chromium: str) -> None:
        self._lock = trio.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.child", chromium],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its stdin, and waits
            pass

    async def order(self, order: str, tab: int | None, arguments: Any) -> Any:
        """The browser's answer.  Raises `AssertionError` where the order cannot be carried out."""
        line = json.dumps([order, tab, arguments])
        async with self._lock:
            answer = await self._ask(line)
        assert "error" not in answer, f"{order} {arguments}: {answer['error']}"
        return answer["value"]

    async def _ask(self, line: str) -> dict[str, Any]:
        # The thread cannot be called off, and each order has a bound of its own.
        return json.loads(await trio.to_thread.run_sync(self._say, line))

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() or '{"error": "the browser is gone"}'

    @asynccontextmanager
    async def open(
        self, *, scheme: Scheme = "light", width: int = 1280, height: int = 800
    ) -> AsyncGenerator[Tab, None]:
        """A page with cookies of its own, as for somebody who was never here."""
        how = {"scheme": scheme, "width": width, "height": height, "hang": HANG}
        tab = Tab(self, await self.order("open", None, how))
        try:
            yield tab
        finally:
            with trio.CancelScope(shield=True):
                await tab.order("close")


@frozen(eq=False)
class Tab:
    """One page of the browser."""

    driver: Driver
    number: int

    async def order(self, order: str, *arguments: object) -> Any:
        """See `child.ORDERS`."""
        return await self.driver.order(order, self.number, arguments)

    async def go(self, url: str) -> None:
        await self.order("go", url)

    async def shows(self, text: str, where: str = "body", *, within: float = HANG) -> None:
        """Wait until an element is seen that contains this; fails after `within` seconds."""
        await self.order("wait", where, text, "visible", within)

    async def lacks(self, text: str, where: str = "body", *, within: float = HANG) -> None:
        """Wait until there is no such element."""
        await self.order("wait", where, text, "detached", within)

    async def evaluate(self, script: str) -> Any:
        return await self.order("evaluate", script)

    async def text(self, where: str = "body") -> str:
        return await self.order("text", where)

    async def errors(self) -> list[str]:
        """Errors and warnings of its console."""
        return await self.order("errors")

    async def faults(self, tag: str | None = None) -> list[str]:
        """The violations of axe-core's rules, or of those with a tag: impact, rule and place."""
        await self.evaluate(AXE)
        # With the places where all is well, an answer is longer than the page.
        options = {"resultTypes": ["violations"], **({"runOnly": [tag]} if tag else {})}
        violations = await self.evaluate(
            f"axe.run(document, {json.dumps(options)}).then(found => found.violations)"
        )
        return [
            f"{one['impact']} {one['id']}: {node['target']} {node.get('failureSummary', '')}"
            for one in violations
            for node in one["nodes"]
        ]
