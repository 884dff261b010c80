"""Memory of ended rooms, given back from the C library to the system.

A room is 0.8 MiB in thousands of pieces that lie among those of other rooms.  The C library
(glibc) keeps freed memory for later, except the last piece of each of its arenas.  After 180
rooms that came and went it kept 40 MiB.  It gives back 35 of them on request, which takes up to
4 ms of a core, in a thread of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import trio
from attrs import frozen

AFTER: Final = 2.0
"""Seconds from the end of a room.  Rooms tend to end together."""


def trim() -> None:
    """Give freed memory back.  Nothing happens with a C library that has no such call."""
    give_back: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later: bytes and counts over all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


@frozen
class HeapBytes:
    """The C library's memory, in bytes."""

    in_use: int
    """Allocated in its arenas."""
    free: int
    """Freed, and kept for later allocations."""
    mapped: int
    """Large pieces, each with a mapping of its own."""

    def __str__(self) -> str:
        in_use, free, mapped = (n / (1 << 20) for n in (self.in_use, self.free, self.mapped))
        return f"C heap: {in_use:.1f} MiB in use, {free:.1f} free, {mapped:.1f} mapped directly"


def heap_bytes() -> HeapBytes | None:
    """The state of the heap, None with a C library that has no such call.  Takes 0.1 ms."""
    function: Any = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is None:
        return None
    function.restype = _MallInfo2
    info = function()
    return HeapBytes(in_use=info.uordblks, free=info.fordblks, mapped=info.hblkhd)


class Trimmer:
    """Gives memory back once for all rooms that end within `AFTER` seconds.

    Made and called on the trio thread.
    """

    def __init__(self, trim: Callable[[], None] = trim) -> None:
        self._trim = trim
        self._planned = False

    def soon(self) -> None:
        """A room has ended."""
        if not self._planned:
            self._planned = True
            trio.lowlevel.spawn_system_task(self._later)

    async def _later(self) -> None:
        await trio.sleep(AFTER)
        self._planned = False
        await trio.to_thread.run_sync(self._trim)
