"""The process between us and a private server, so that the server never outlives us.

Run as a script (``python -I -S guard.py LOG COMMAND...``) by `bridge.server.private`.
We hold the only write end of its standard input.  However we end, `kill -9`
included, the system closes that end, and the guard ends the server.  Asking the
kernel for a death signal in the server itself would not do: that one fires when
the *thread* which started it ends, and our callers start servers from worker
threads.  The guard has one thread that starts the server and lives as long as it
does, so here the death signal is right, and covers a guard that is killed.

Input, one byte each: ``t`` ends the server in order, ``k`` at once (SIGKILL); the
end of the input is ``t`` with `GRACE` seconds before ``k``.
Output, one line: ``pid N`` once the server runs, or ``error TEXT`` if it cannot.
The guard exits when the server has.

Only the standard library, and little of it: this is in the way of every start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

GRACE: Final = 3.0
"""Seconds between asking the server to end and killing it, where nobody waits for it."""

BETWEEN_SIGNALS: Final = 0.05
"""Seconds from the first SIGTERM to the second; signals sent at once would become one."""

PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """In the child, before exec: be killed when the guard's main thread ends (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def obey(server: subprocess.Popen[bytes]) -> None:
    """Carry out what is asked on standard input until it ends."""
    while command := os.read(0, 1):
        if command == b"k":
            server.kill()
        else:
            end_in_order(server)
    end_in_order(server)
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()


def end_in_order(server: subprocess.Popen[bytes]) -> None:
    """Two SIGTERMs: the first makes livekit-server wait for its rooms to empty, the second end."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(BETWEEN_SIGNALS)
    server.terminate()


def main(log: str, command: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        with Path(log).open("ab") as output:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no second thread yet
            )
    except OSError as error:
        print(f"error {error}", flush=True)  # noqa: T201
        return 1
    print(f"pid {server.pid}", flush=True)  # noqa: T201
    threading.Thread(target=obey, args=(server,), daemon=True).start()
    server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
