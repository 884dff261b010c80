"""The command line: the commands, and nothing else.

    command_line     from the arguments to one command, and from its end to an exit code
    commands         the list of commands
    ..._command(s)   each command's flags, and how it is run
    check, probes, media_probe       `check`
    reading, reading_tables, report_text, store_access    `rooms`, `sessions`, `report`
    top, live_rooms, top_frame, screen                    `top`
    simulate         `simulate`

`python -m bridge.cli` and the installed script both call `main`.  It imports nothing heavy:
`--help` and a wrong flag are answered before trio, the LiveKit SDK or structlog are loaded.  A
command imports what it needs when it runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 well, 1 failed, 2 wrong use, 130 interrupted."""
    # The LiveKit SDK imports numpy, which starts a pool of threads at its import unless this
    # variable says otherwise.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from bridge.cli.command_line import run

    return run(argv)
