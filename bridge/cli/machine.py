"""What this machine gives us: open files, a directory to write to, a port to listen on."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tempfile
from pathlib import Path
from typing import Final

DESCRIPTORS_A_ROOM: Final = 12
"""Measured with ICE gathered once and two peer connections: 6.2 at the worst moment of
entering 80 rooms at once, on a machine with two addresses; with more it is more."""
DESCRIPTORS_FOR_US: Final = 64
"""Everything that is not a room: 25 before the first one, and HTTP clients."""
_NO_LIMIT: Final = 1 << 20


def descriptor_limit() -> int:
    """How many files we may have open.  Meant for after `raise_descriptor_limit`."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _NO_LIMIT if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int:
    """Take all open files the system grants; returns how many that are.

    Where it grants none beyond the soft limit, that one stays and rooms are fewer.
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


def make_writable(directory: Path) -> None:
    """Create `directory` and its parents where missing and write to it once.

    Raises `OSError`.  A new directory is for its owner alone: what people said and
    did is nobody else's business.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"room-actors")
        file.flush()


def port_problem(host: str, port: int) -> str | None:
    """Why nobody could listen at this address now; None where it is free."""
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


def keep_standard_streams_open() -> None:
    """Give descriptors 0 to 2 something harmless where our parent closed them.

    Otherwise the next file or socket we open becomes "stderr" and gets the log.
    """
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
