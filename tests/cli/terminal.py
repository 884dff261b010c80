"""A command in a terminal of its own: what it shows there, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cli.conftest import clean_environment

LIMIT: Final = 60.0
"""Seconds that nothing may take: only bounds a hang."""
_FRAME: Final = re.compile(rb"\x1b\[\?2026h(.*?)\x1b\[\?2026l", re.DOTALL)
_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Made by `in_a_terminal`."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.received = b""
        self._master = master
        self._slave = slave
        """Kept open: what was set on the terminal can be seen when the program is gone."""
        self._read_until = 0

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        os.close(self._slave)
        os.close(self._master)
        self._slave = self._master = -1

    def frame(self, holds: Callable[[str], bool]) -> str:
        """The first frame from now on of which it holds, without its colours."""
        while True:
            for found in _FRAME.finditer(self.received, self._read_until):
                self._read_until = found.end()
                shown = _CODES.sub("", found[1].decode()).replace("\r\n", "\n")
                if holds(shown):
                    return shown
            if not self._receive():
                raise AssertionError(f"it ended before that was shown:\n{self.received!r}")

    def until(self, words: str) -> None:
        """Words that come from now on, wherever they are."""
        seen = len(self.text)
        while words not in self.text[seen:]:
            assert self._receive(), f"it ended before that was shown:\n{self.received!r}"

    def end(self) -> int:
        """Its exit code, once it is gone; all that it wrote was received."""
        until = time.monotonic() + LIMIT
        while self.process.poll() is None:
            self._receive(0.05)
            assert time.monotonic() < until, f"it does not end:\n{self.received[-2_000:]!r}"
        while self._receive(0.0):
            pass
        return self.process.returncode

    @property
    def text(self) -> str:
        """Everything received, without colours."""
        return _CODES.sub("", self.received.decode())

    def _receive(self, seconds: float = LIMIT) -> bool:
        if self._master < 0:
            self.process.wait(LIMIT)
            return False
        until = time.monotonic() + seconds
        while not select.select([self._master], [], [], 0.05)[0]:
            if self.process.poll() is not None or time.monotonic() > until:
                return False
        self.received += os.read(self._master, 1 << 16)
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)


@contextmanager
def in_a_terminal(
    folder: Path,
    *args: str,
    columns: int = 80,
    rows: int = 24,
    env: Mapping[str, str] | None = None,
) -> Generator[Terminal, None, None]:
    """`room-actors` with these arguments, in this folder, with its data in `folder/data`."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    given = {"XDG_DATA_HOME": str(folder / "data"), "TERM": "xterm-256color", **(env or {})}
    environment = clean_environment(given)
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", *args],
        cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    terminal = Terminal(process, master, slave)
    try:
        yield terminal
    finally:
        terminal.close()
