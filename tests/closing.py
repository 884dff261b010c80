"""The end of a run lists more than pytest's own summary: tests not run, and figures.

A test may run in another process than the one that writes the summary (pytest-xdist), and
that one does not even load the conftest.py of a folder.  So what is to be told travels as
user properties of the test's report, and this plugin writes them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NoReturn

import pytest

NOT_RUN: Final = "not run"
FIGURES: Final = "figures"
NO_SERVER: Final = "no livekit-server"
NO_CHROMIUM: Final = "no chromium"
NO_NGINX: Final = "no nginx"
NO_REDIS: Final = "no redis"
NO_POSTGRES: Final = "no postgresql"
NO_AGENTS: Final = "no livekit-agents"
ADVICE: Final = {
    NO_SERVER: "bin/test builds the server they need.",
    NO_CHROMIUM: "Install Debian's package chromium to run them.",
    NO_NGINX: "Install Debian's package nginx-light to run them.",
    NO_POSTGRES: "Install postgresql to run them; bin/test brings one for most machines.",
    NO_AGENTS: "bin/test installs livekit-agents where the package index can be reached.",
    NO_REDIS: "Install redis-server to run them; bin/test brings one for most machines.",
}


def not_run(item: pytest.Item, kind: str, why: str) -> NoReturn:
    """Skip `item`, and name it in red at the end of the run.  `kind` is a key of `ADVICE`."""
    item.user_properties.append((NOT_RUN, kind))
    pytest.skip(f"not run, because {why}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = defaultdict[str, list[str]](list)
    for report in terminalreporter.getreports(""):
        for what, text in report.user_properties:
            if what == FIGURES and report.when == "teardown":
                terminalreporter.write_line(str(text))
    for report in terminalreporter.getreports("skipped"):
        for what, kind in report.user_properties:
            if what == NOT_RUN:
                missing[str(kind)].append(report.nodeid)
    for kind, nodeids in missing.items():
        terminalreporter.section(f"NOT RUN: {kind}", sep="=", red=True, bold=True)
        for nodeid in nodeids:
            terminalreporter.write_line(f"NOT RUN {nodeid}", red=True)
        terminalreporter.write_line(f"{len(nodeids)} tests were not run. {ADVICE[kind]}", red=True)
