"""Where log lines go: a file descriptor that must never hold the worker up.

stderr may be a pipe whose reader has stopped reading (a pager, a stuck log shipper) or has ended.
A blocked write would stop the one thread that answers LiveKit's offers.  So a line is written only
as far as `poll` says that it will not block (POSIX: a pipe reported writable takes `PIPE_BUF`
bytes).  The rest waits here for the next line or for `flush`.  The waiting bytes are bounded:
beyond the bound the newest lines are dropped and counted, and a line with their number is written
once there is room again.  A reader that has ended ends the log, not the worker.

There is no thread.  Usually a line is out when `write` returns, also if the process is killed right
after.  A write costs as much as making the line.  An event loop therefore buffers the lines of each
of its rounds and writes them together before it sleeps (`bridge.app.worker_role.FlushPerTick`): a
killed process may then lose the lines of one round.
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

BUFFER_LIMIT: Final = 64 << 10
"""Bytes that are buffered at most until a round is over."""

_CHUNK: Final = select.PIPE_BUF


class Sink:
    """Lines to one file descriptor.  Safe to use from any thread."""

    def __init__(
        self, fd: int, *, limit: int = WAITING_LIMIT, lost_line: Callable[[int], str] | None = None
    ) -> None:
        """`lost_line` makes the line that says how many lines were dropped."""
        self._fd = fd
        self._limit = limit
        self._lost_line = lost_line
        # Re-entrant: a signal handler may log in the middle of a write.
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._buffering = False
        self._lost = 0
        self._reported: int | None = None
        """The number of lost lines in a report that waits to be written itself."""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def waiting(self) -> int:
        """Bytes not written yet."""
        return self._size

    @property
    def lost(self) -> int:
        """Lines dropped since the log last reported them."""
        return self._lost

    def write(self, line: str) -> None:
        """Write a line (its newline is added) or let it wait.  Never raises, never blocks."""
        self.write_bytes(line.encode("utf-8", "backslashreplace"))

    def write_bytes(self, line: bytes) -> None:
        """The same for a line that is encoded already."""
        with self._lock:
            if self._closed:
                return
            if self._buffering and not self._lost and self._size < BUFFER_LIMIT:
                self._add(line + b"\n")
                return
            self._drain(0.0)
            if self._lost and self._size < self._limit // 2:
                self._report_lost()
            if self._size + len(line) + 1 > self._limit:
                self._lost += 1
                return
            self._add(line + b"\n")
            self._drain(0.0)

    def buffer(self) -> None:
        """Let lines wait from now on, until `release` or `flush`."""
        self._buffering = True

    def release(self) -> None:
        """Write what waits as far as the reader takes it, and each further line at once."""
        with self._lock:
            self._buffering = False
            self._drain(0.0)

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all is written.  Returns whether it is."""
        with self._lock:
            self._buffering = False
            self._drain(timeout)
            if self._lost and not self._size:
                self._report_lost()
                self._drain(0.0)
            return not self._size

    def _report_lost(self) -> None:
        if self._lost_line is None or self._reported is not None:
            return
        line = self._lost_line(self._lost).encode("utf-8", "backslashreplace") + b"\n"
        self._reported, self._lost = self._lost, 0
        self._add(line)

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while self._waiting and not self._closed:
            try:
                if not self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                    return
                written = os.write(self._fd, self._next())
            except InterruptedError:
                continue
            except BlockingIOError:  # another writer filled the pipe, which is non-blocking
                return
            except OSError as error:
                self._failed(error)
                return
            self._written(written)

    def _next(self) -> bytes:
        """As many whole lines as one write takes for sure, or the beginning of a long one."""
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
            self._reported = None

    def _failed(self, error: OSError) -> None:
        """A reader that has ended does not come back; a full disk may have room again later."""
        self._closed = error.errno in (errno.EPIPE, errno.EBADF, errno.ECONNRESET)
        self._lost += len(self._waiting)
        if self._reported is not None:
            self._lost += self._reported - 1
            self._reported = None
        self._waiting.clear()
        self._size = 0
