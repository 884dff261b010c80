"""Reading what processes cost, and saying it: medians with their extremes, as table and JSON.

Everything is read from `/proc` (Linux), memory from `smaps_rollup` there.  Resident memory
(RSS) counts a page in every process that has it; the proportional one (PSS) splits a
page among those, so only PSS may be added up over forked processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from attrs import frozen

KIB: Final = 1024
MIB: Final = 1024 * 1024


@frozen
class Spread:
    """Several measures of one thing."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1], len(found))

    def text(self, digits: int) -> str:
        shown = f"{self.median:.{digits}f}"
        if self.count == 1:
            return shown
        return f"{shown} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@frozen
class Memory:
    """Bytes of one process, or of several added up."""

    rss: int
    pss: int
    anonymous: int
    """Not backed by a file: heap, stacks.  Of the resident pages, shared ones counted whole."""
    processes: int = 1

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.rss + other.rss,
            self.pss + other.pss,
            self.anonymous + other.anonymous,
            self.processes + other.processes,
        )


def memory_of(pid: int) -> Memory:
    """One process alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(kib["Rss"] * KIB, kib["Pss"] * KIB, kib["Anonymous"] * KIB)


def tree(pid: int) -> list[int]:
    """A process and everything it started, as far as it lives."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for parent in found:  # Grows on the way.
        found.extend(children.get(parent, ()))
    return found


def _stat(pid: int) -> list[str]:
    """`/proc/PID/stat` from its third field on: state, parent, ... (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def memory_of_tree(pid: int) -> Memory:
    total = Memory(0, 0, 0, 0)
    for one in tree(pid):
        with contextlib.suppress(OSError):
            total += memory_of(one)
    return total


def cpu_seconds(pids: Iterable[int]) -> float:
    """Seconds of a core that these processes and all they started have used, the living ones."""
    ticks = 0
    for pid in (one for root in pids for one in tree(root)):
        with contextlib.suppress(OSError):
            user, system = _stat(pid)[11:13]
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def load() -> float:
    """How many programs wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def machine() -> dict[str, Any]:
    """What the figures depend on; not whose machine it is."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / KIB**3, 1),
        "python": platform.python_version(),
    }


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result as JSON, where that was asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")
