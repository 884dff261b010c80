"""The resources of this machine: open files, a directory to write to, a port to listen on."""

from __future__ import annotations

import errno
import io
import mmap
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

DESCRIPTORS_A_ROOM: Final = 12
"""Measured with ICE gathered once and two peer connections: 6.2 at the worst moment of
entering 80 rooms at once, on a machine with two addresses; with more it is more."""
DESCRIPTORS_FOR_US: Final = 64
"""Everything that is not a room: 25 before the first one, those of reads of the store, and
`CLIENTS_AT_LEAST` HTTP clients."""
CLIENTS_AT_LEAST: Final = 24
"""HTTP clients for which there is always a place."""
LEAST_DESCRIPTORS: Final = DESCRIPTORS_FOR_US + DESCRIPTORS_A_ROOM
"""For one room.  With fewer the SDK's native library ends the process."""
_NO_LIMIT: Final = 1 << 20


def descriptor_limit() -> int:
    """The number of files that may be open.  Call it after `raise_descriptor_limit`."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _NO_LIMIT if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as the system allows; returns the limit.

    Where the system allows nothing beyond the soft limit, that limit stays and rooms are fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where there is no hard limit the kernel may still refuse more than its own bound.
    wanted = (_NO_LIMIT, 65536, 10240) if hard == resource.RLIM_INFINITY else (hard,)
    for limit in wanted:
        if soft != resource.RLIM_INFINITY and soft < limit:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            except (OSError, ValueError):
                continue
        break
    return descriptor_limit()


def rooms_for_descriptors(limit: int) -> int:
    """Rooms that fit under an open-file limit; at least one."""
    return max(1, (limit - DESCRIPTORS_FOR_US) // DESCRIPTORS_A_ROOM)


def descriptors_for_rooms(rooms: int) -> int:
    """The open-file limit that so many rooms need."""
    return DESCRIPTORS_FOR_US + rooms * DESCRIPTORS_A_ROOM


def clients_for_descriptors(limit: int, rooms: int) -> int:
    """HTTP clients that fit under an open-file limit beside so many rooms."""
    return CLIENTS_AT_LEAST + max(0, limit - descriptors_for_rooms(rooms))


class NoSharedMemory(OSError):
    """The directory can be written to, but its file system cannot map a file into memory."""


def make_writable(directory: Path) -> None:
    """Create `directory` and its parents where missing, write to it and map a file of it once.

    Raises `OSError`, and `NoSharedMemory` where only the map fails: SQLite's write-ahead log
    is shared between processes that way.  A new directory is readable for its owner alone, because
    it has what people wrote and did.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"room-actors")
        file.flush()
        try:
            mmap.mmap(file.fileno(), 0).close()
        except OSError as error:
            raise NoSharedMemory(error.errno, error.strerror) from None


def port_problem(host: str, port: int) -> str | None:
    """Why no program can listen at this address now; None where it is free."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        return f"host is not known: {error.strerror}"
    family, kind, protocol, _, address = info[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "port is taken by another program"
            return error.strerror or str(error)
    return None


class _Output(io.FileIO):
    """Standard output, which remembers why it could not be written to."""

    def __init__(self) -> None:
        super().__init__(1, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        if self.error is not None:  # The interpreter would try, and complain, once more.
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def open_standard_streams() -> None:
    """Make stdin, stdout and stderr usable where our parent closed them.

    Otherwise the next file or socket we open becomes "stderr" and gets the log.  Writing to
    a closed stdout still fails: its descriptor is open for reading only.  Characters that the
    encoding of a terminal lacks are shown as escapes.
    """
    while True:
        free = os.open(os.devnull, os.O_RDONLY)
        if free == 2:
            os.close(free)
            free = os.open(os.devnull, os.O_WRONLY)
        if free > 2:
            os.close(free)
            break
    # Python has none of the streams whose descriptors were closed when it began.
    streams: Any = sys
    if streams.stdin is None:
        streams.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if streams.stderr is None:
        streams.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if streams.stdout is sys.__stdout__:  # None as well; not where a test has its own
        encoding = getattr(streams.stdout, "encoding", "utf-8")
        streams.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output()), encoding, "backslashreplace", line_buffering=os.isatty(1)
        )


def output_error() -> OSError | None:
    """Why our output cannot be written; None where all of it was written."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", None)
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return raw.error if isinstance(raw, _Output) else None


def discard(stream: TextIO) -> None:
    """Drop what could not be written to the stream, and all that follows."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    stream.flush()


def require_descriptors() -> None:
    """Raises `TooFewDescriptors`.  Call it after `raise_descriptor_limit`."""
    limit = descriptor_limit()
    if limit < LEAST_DESCRIPTORS:
        raise TooFewDescriptors(
            f"the open-file limit is {limit}, and one room needs {LEAST_DESCRIPTORS}: "
            f"raise it (ulimit -n {descriptors_for_rooms(100)} is enough for 100 rooms)"
        )


class TooFewDescriptors(Exception):
    """Not even one room could be watched.  The text says which limit is needed."""
