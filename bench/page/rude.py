"""Clients that nobody wants: those that do not read, those that are gone, those that say half."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import trio

from bench.errors import BenchError

STREAM: Final = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF: Final = b"GET / HTTP/1.1\r\nHost: loc"
NARROW: Final = 4_096
"""Bytes that the system keeps for who does not read."""
RESET: Final = struct.pack("ii", 1, 0)
"""For `SO_LINGER`: a close that the other side hears of as a reset."""


@contextmanager
def sockets(address: str, count: int) -> Generator[list[socket.socket], None, None]:
    """Connections, for the length of a block.  Only to loopback."""
    host, _, port = address.rpartition(":")
    if host != "127.0.0.1":
        raise BenchError("only for a server on this machine")
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            opened.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            one.settimeout(10)
            one.connect((host, int(port)))
        yield opened
    finally:
        for one in opened:
            one.close()


def ask_for_events(connections: list[socket.socket]) -> None:
    for one in connections:
        one.sendall(STREAM)


def vanish(connections: list[socket.socket]) -> None:
    """Each is reset."""
    for one in connections:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.close()


def say_half(connections: list[socket.socket]) -> None:
    """To every second one nothing at all.  Those that were ended already are passed over."""
    for one in connections[::2]:
        try:
            one.sendall(HALF)
        except OSError:
            continue


async def until_all_ended(connections: list[socket.socket], most: float) -> float | None:
    """Seconds until the server has ended each; None where it has not after `most`."""
    began = trio.current_time()
    for one in connections:
        one.setblocking(False)
    with trio.move_on_after(most):
        for one in connections:
            while not _is_over(one):  # noqa: ASYNC110 (they are plain sockets)
                await trio.sleep(0.1)
        return trio.current_time() - began
    return None


def _is_over(one: socket.socket) -> bool:
    try:
        while one.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
