"""The process between us and a command, so that the command never outlives us.

Run as a script by `bridge.lab.server.guarded_process`:

    python -I -S guard.py LOG FOLDER COMMAND...

We hold the only write end of its standard input.  When we end, also by `kill -9`,
the system closes that end, and the guard ends the command.  A death signal of the
kernel for the command itself would not work: it is sent when the *thread* that
started the command ends, and our callers start servers from worker threads.  The
guard has one thread, which starts the command and runs as long as it does.  So the
death signal works here, and covers a guard that is killed.

Input, one byte each: ``t`` ends the command in order, ``k`` at once.  The end of the
input is ``t``, and ``k`` if that does not help.
Output, one line: ``pid N`` once the command runs, or ``error TEXT`` if it cannot.
LOG gets the command's output.  FOLDER is its working directory ("": ours).  If the
command ends because we ended, the guard removes that folder.
The guard exits when the command has, with its exit code.

Only a small part of the standard library is used, because each start waits for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

AGAIN: Final = 0.1
"""Seconds between SIGTERMs.  At the first livekit-server waits for its rooms to empty, at
the second it ends; one that comes within 50 ms of its start, or of the one before, is lost."""

TIMES: Final = 30
"""Number of SIGTERMs before SIGKILL, when no parent is left to wait for the end."""

DEAF_TO: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Only our owner's end, or his order, ends the guard."""

PR_SET_PDEATHSIG: Final = 1


def become_guarded() -> None:
    """In the child, before exec: be killed when the guard's main thread ends (Linux).

    It also resets the signals that we ignore, because a child inherits that.
    """
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def send(command: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the command and whatever it started: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(command.pid, number)


def obey(command: subprocess.Popen[bytes], alone: threading.Event) -> None:
    """Carry out the orders on standard input until it ends.  Then end the command."""
    ending = False
    while True:
        if select.select([0], [], [], AGAIN if ending else None)[0]:
            order = os.read(0, 1)
            if not order:
                break
            ending = True
            send(command, signal.SIGKILL if order == b"k" else signal.SIGTERM)
        else:
            send(command, signal.SIGTERM)
    alone.set()
    for _ in range(TIMES):
        send(command, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(AGAIN)
    send(command, signal.SIGKILL)


def main(log: str, folder: str, arguments: list[str]) -> int:
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    try:
        with Path(log).open("ab") as output:
            command = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder or None,
                start_new_session=True,
                preexec_fn=become_guarded,  # noqa: PLW1509 - no second thread yet
            )
    except OSError as error:
        print(f"error {error}", flush=True)  # noqa: T201
        return 1
    print(f"pid {command.pid}", flush=True)  # noqa: T201
    alone = threading.Event()
    threading.Thread(target=obey, args=(command, alone), daemon=True).start()
    code = command.wait()
    send(command, signal.SIGKILL)  # processes that it left behind
    if folder and alone.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
