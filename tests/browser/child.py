"""The browser's process: one order a line on stdin, one answer a line on stdout, in JSON.

A process of its own, because Playwright needs asyncio as it is, and trio-asyncio, which the
program under test runs on, changes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from playwright.sync_api import Browser, Error, Page, sync_playwright

FLAGS: Final = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@define(eq=False)
class Tab:
    """One page, with cookies of its own."""

    page: Page
    errors: list[str] = field(factory=list[str])
    asked: list[str] = field(factory=list[str])

    def hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)


def opened(browser: Browser, *, scheme: Any, width: int, height: int, hang: float) -> Tab:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(hang * 1000)
    tab = Tab(context.new_page())
    tab.page.on("console", lambda message: tab.hear(message.type, message.text))
    tab.page.on("pageerror", lambda error: tab.hear("error", str(error)))
    tab.page.on("dialog", lambda dialog: tab.hear("error", f"a dialog: {dialog.message}"))
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    return tab


def wait(tab: Tab, where: str, text: str, state: Any, within: float) -> None:
    found = tab.page.locator(where)
    found = found.filter(has_text=text) if text else found
    found.first.wait_for(state=state, timeout=within * 1000)


ORDERS: Final[Mapping[str, Callable[..., object]]] = {
    "go": lambda tab, url: tab.page.goto(url) and None,
    "wait": wait,
    "evaluate": lambda tab, script: tab.page.evaluate(script),
    "text": lambda tab, where: tab.page.locator(where).first.inner_text(),
    "press": lambda tab, key: tab.page.keyboard.press(key),
    "type": lambda tab, text: tab.page.keyboard.type(text),
    "fill": lambda tab, where, text: tab.page.fill(where, text),
    "click": lambda tab, where: tab.page.click(where),
    "errors": lambda tab: tab.errors,
    "asked": lambda tab: tab.asked,
    "picture": lambda tab, path: tab.page.screenshot(path=path) and None,
    "close": lambda tab: tab.page.context.close(),
}


def main() -> None:
    """Serve until stdin ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=sys.argv[1], args=list(FLAGS))
        tabs: list[Tab] = []
        for line in sys.stdin:
            order, tab, arguments = json.loads(line)
            try:
                if order == "open":
                    tabs.append(opened(browser, **arguments))
                    answer = {"value": len(tabs) - 1}
                else:
                    answer = {"value": ORDERS[order](tabs[tab], *arguments)}
            except Error as error:
                answer = {"error": error.message}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main()
