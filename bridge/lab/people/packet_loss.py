"""Losses on the way from a person to the server: packets that the person's process does not send.

`packet_loss.c` stands before the system's calls in a process of people (LD_PRELOAD).  It drops or
delays RTP packets and counts them, so the truth of a measure is known packet by packet.  It needs a
C compiler (`cc`); where there is none, `PacketLoss.make` gives None.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Final, final

import trio
from attrs import frozen

SOURCE: Final = Path(__file__).with_name("packet_loss.c")
_FIELDS: Final = struct.Struct("=QQQQ")
_MILLION: Final = 1_000_000


@frozen
class PacketCounts:
    """RTP packets of a process."""

    sent: int
    """That left the process."""
    dropped: int

    def __sub__(self, before: PacketCounts) -> PacketCounts:
        return PacketCounts(self.sent - before.sent, self.dropped - before.dropped)

    @property
    def loss(self) -> float:
        """Share of 1; 0 of nothing."""
        whole = self.sent + self.dropped
        return self.dropped / whole if whole else 0.0


@final
class PacketLoss:
    """The losses of one process, which gets `environment`.  They can be changed at any time."""

    def __init__(self, library: Path, shared: Path) -> None:
        shared.write_bytes(bytes(_FIELDS.size))
        self.environment: Final[Mapping[str, str]] = {
            "LD_PRELOAD": str(library),
            "PACKET_LOSS_FILE": str(shared),
        }
        with shared.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _FIELDS.size)

    @classmethod
    async def make(cls, directory: Path) -> PacketLoss | None:
        """Compile the library into `directory`, which is made.  None where this machine cannot."""
        compiler = shutil.which("cc")
        if compiler is None or os.name != "posix":
            return None
        await trio.Path(directory).mkdir(exist_ok=True)
        library = directory / "packet_loss.so"
        made = await trio.run_process(
            [compiler, "-O1", "-shared", "-fPIC", "-pthread", "-o", library, SOURCE, "-ldl"],
            check=False,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        if made.returncode != 0:
            return None
        return cls(library, directory / "packet_loss")

    def set(self, loss: float, delay: float = 0.0) -> None:
        """From now on a share `loss` of the packets is dropped, and each other one is delayed by up
        to `delay` seconds."""
        struct.pack_into("=QQ", self._page, 0, round(loss * _MILLION), round(delay * _MILLION))

    @property
    def counts(self) -> PacketCounts:
        """Since the process began."""
        return PacketCounts(*_FIELDS.unpack_from(self._page)[2:])
