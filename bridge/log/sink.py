"""Where log lines go: a file descriptor that must never hold the worker up.

stderr may be a pipe whose reader has stopped reading (a pager, a stuck log shipper)
or has gone.  A blocked write would stop the one thread that answers LiveKit's
offers; so a line is written only as far as `poll` says that it will not block
(POSIX: a pipe reported writable takes `PIPE_BUF` bytes) and the rest waits here for
the next line or for `flush`.  What waits is bounded; beyond that the newest lines
are dropped, counted, and the count is logged once there is room again.  A reader
that is gone ends the log, not the worker.

No thread of its own: in the usual case a line is out when `write` returns, also if
the process is killed right after.  A write costs as much as making the line, so an event
loop holds the lines of each of its rounds (`Rounds`) and they leave together before it
sleeps: whoever kills the process may then lose the lines of one round.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

WAITING_LIMIT: Final = 4 << 20
"""Bytes that may wait for a reader; about 40,000 lines."""

HELD_LIMIT: Final = 64 << 10
"""Bytes that are held at most until a round is over."""

_CHUNK: Final = select.PIPE_BUF


class Sink:
    """Lines to one file descriptor.  Safe to use from any thread."""

    def __init__(
        self, fd: int, *, limit: int = WAITING_LIMIT, told_lost: Callable[[int], str] | None = None
    ) -> None:
        """`told_lost` makes the line that says how many lines were dropped."""
        self._fd = fd
        self._limit = limit
        self._told_lost = told_lost
        # Re-entrant: a signal handler may log in the middle of a write.
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._gone = False
        self._held = False
        self._lost = 0
        self._telling: int | None = None
        """How many lost lines a line tells of that still waits itself."""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def waiting(self) -> int:
        """Bytes not written yet."""
        return self._size

    @property
    def lost(self) -> int:
        """Lines dropped since the last time this was said in the log."""
        return self._lost

    def write(self, line: str) -> None:
        """Write a line (its newline is added), or keep it; never raises, never waits."""
        with self._lock:
            if self._gone:
                return
            if self._held and not self._lost and self._size < HELD_LIMIT:
                self._add(line.encode("utf-8", "backslashreplace") + b"\n")
                return
            self._drain(0.0)
            if self._lost and self._size < self._limit // 2:
                self._tell_lost()
            data = line.encode("utf-8", "backslashreplace") + b"\n"
            if self._size + len(data) > self._limit:
                self._lost += 1
                return
            self._add(data)
            self._drain(0.0)

    def hold(self) -> None:
        """Keep what is written from now on until `let_go` or `flush`."""
        self._held = True

    def let_go(self) -> None:
        """Write what was held as far as the reader takes it, and every line at once again."""
        with self._lock:
            self._held = False
            self._drain(0.0)

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for all to be written; whether it was."""
        with self._lock:
            self._held = False
            self._drain(timeout)
            if self._lost and not self._size:
                self._tell_lost()
                self._drain(0.0)
            return not self._size

    def _tell_lost(self) -> None:
        if self._told_lost is None or self._telling is not None:
            return
        line = self._told_lost(self._lost).encode("utf-8", "backslashreplace") + b"\n"
        self._telling, self._lost = self._lost, 0
        self._add(line)

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while self._waiting and not self._gone:
            try:
                if not self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                    return
                written = os.write(self._fd, self._next())
            except InterruptedError:
                continue
            except BlockingIOError:  # somebody else took the room, and the pipe is non-blocking
                return
            except OSError as error:
                self._failed(error)
                return
            self._written(written)

    def _next(self) -> bytes:
        """As many whole lines as are sure to be taken at once, or the beginning of a long one."""
        size, lines = 0, list[bytes]()
        for line in self._waiting:
            size += len(line)
            if size > _CHUNK:
                break
            lines.append(line)
        return b"".join(lines) or self._waiting[0][:_CHUNK]

    def _written(self, size: int) -> None:
        self._size -= size
        while size:
            line = self._waiting.popleft()
            if len(line) > size:
                self._waiting.appendleft(line[size:])
                return
            size -= len(line)
        if not self._waiting:
            self._telling = None

    def _failed(self, error: OSError) -> None:
        """A reader that is gone stays gone; a full disk may have room again later."""
        self._gone = error.errno in (errno.EPIPE, errno.EBADF, errno.ECONNRESET)
        self._lost += len(self._waiting)
        if self._telling is not None:
            self._lost += self._telling - 1
            self._telling = None
        self._waiting.clear()
        self._size = 0
