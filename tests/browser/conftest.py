"""A real browser: Debian's chromium, driven by Playwright in a thread of its own.

Without chromium the tests that need it are named as not run, in red, at the end, or fail
where ROOM_ACTORS_BROWSER is `required`; Playwright never fetches a browser of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.browser.driver import Driver
from tests.closing import FIGURES, NO_CHROMIUM, not_run

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "driver" in getattr(item, "fixturenames", ()) and chromium_path() is None:
        if os.environ.get("ROOM_ACTORS_BROWSER") == "required":
            pytest.fail("there is no chromium, and ROOM_ACTORS_BROWSER=required", pytrace=False)
        not_run(item, NO_CHROMIUM, "there is no chromium on this machine")


@pytest.fixture
def delays(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    """Seconds from what somebody does to its sight on the page; they are told at the end."""
    delays: dict[str, float] = {}
    yield delays
    told = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in delays.items())
    request.node.user_properties.append((FIGURES, f"on the page after it was done: {told}"))


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    """One browser for all tests; each opens pages of its own."""
    path = chromium_path()
    assert path is not None
    with Driver(path) as driver:
        yield driver
