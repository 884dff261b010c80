"""Progress of something slow, for a person at a terminal and for a log.

On a terminal one line is overwritten.  Elsewhere (a log, CI) a plain line is written every
`PLAIN_EVERY` seconds.  Standard library only: the launcher uses it before anything is installed.
"""

from __future__ import annotations

import time
from typing import TextIO

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""

WIDTH = 79


class ProgressLine:
    """Call it with the current step, as often as you like.  A context manager."""

    def __init__(self, stream: TextIO, prefix: str = "room-actors: ") -> None:
        self._stream = stream
        self._prefix = prefix
        self._overwrites = stream.isatty()
        self._began = time.monotonic()
        self._next_plain = 0.0
        self._open = False

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if self._overwrites:
            line = f"{self._prefix}{text} ({now - self._began:.0f} s)"
            self._write(f"\r{line[:WIDTH]:<{WIDTH}}")
            self._open = True
        elif now >= self._next_plain:
            self._write(f"{self._prefix}{text}\n")
            self._next_plain = now + PLAIN_EVERY

    def say(self, text: str) -> None:
        """Write a line that stays.  It is never left out."""
        self.close()
        self._write(f"{self._prefix}{text}\n")
        self._next_plain = time.monotonic() + PLAIN_EVERY

    def close(self, last: str = "") -> None:
        """End the line.  `last` is written with the time since the begin."""
        if self._open:
            self._write("\r" + " " * WIDTH + "\r")
            self._open = False
        if last:
            self._write(f"{self._prefix}{last} after {time.monotonic() - self._began:.0f} s\n")

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
