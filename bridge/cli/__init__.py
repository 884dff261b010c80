"""The command line: settings, log, and the commands themselves.

`python -m bridge.cli` and the installed script both come in through `main`.  It
imports nothing heavy: `--help` and a wrong flag are answered before trio, the
LiveKit SDK or structlog are loaded, each command imports what it needs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 well, 1 failed, 2 wrong use, 130 interrupted."""
    # numpy comes along with the LiveKit SDK and starts a pool of threads when it is
    # imported, unless told before.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from bridge.cli.command_line import run

    return run(argv)
