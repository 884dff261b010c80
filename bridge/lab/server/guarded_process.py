"""A command that ends with us, even after `kill -9`; the other side of `process_guard`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bridge.lab.server import process_guard
from bridge.lab.server.server_errors import ServerStartError

IN_ORDER: Final = b"t"
AT_ONCE: Final = b"k"


class Guarded:
    """A running command.  The caller must call `end`, also if it ended by itself."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        """Start `command`; its output is added to `log`.

        `folder`, if given, is where it runs; if it still runs when we end, the folder
        is removed after us.  Raises `ServerStartError` where it cannot be run.
        """
        # A session of its own: Ctrl-C at the terminal is for us, who end the command.
        self._guard = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                process_guard.__file__,
                str(log),
                str(folder or ""),
                *command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=dict(environment),
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._orders = self._guard.stdin
        try:
            with self._guard.stdout as answer:
                word, _, rest = answer.readline().decode().strip().partition(" ")
            if word != "pid":
                raise ServerStartError(f"{command[0]} cannot be run ({rest or 'no answer'})")
        except BaseException:
            self.end(AT_ONCE)
            raise
        self.pid = int(rest)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the number of the signal that ended it."""
        code = self._guard.poll()
        # The system gives the guard's exit code modulo 256.
        return code - 256 if code is not None and code > 127 else code

    def wait(self, seconds: float) -> bool:
        """Wait at most this long for the end; True if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(seconds)
            return True
        return False

    def end(self, how: bytes, grace: float = 5.0) -> None:
        """End the command and wait until it has ended; with SIGKILL after `grace` seconds.

        All processes that it started end with it.  Does nothing if it has ended.
        """
        self._order(how)
        if not self.wait(grace):
            self._order(AT_ONCE)
            self._guard.wait()
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._orders.write(order)
            self._orders.flush()
