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
import time
from collections import defaultdict
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
        """The spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1], len(found))

    def text(self, digits: int) -> str:
        """The range only where it can be told from the median, so rounded."""
        low, shown, high = (f"{one:.{digits}f}" for one in (self.low, self.median, self.high))
        return shown if low == shown == high else f"{shown} ({low} to {high})"


@frozen
class Memory:
    """Bytes of one process, or of several added up."""

    rss: int
    pss: int
    anonymous: int
    """Not backed by a file: heap, stacks.  Of the resident pages, shared ones counted whole."""
    pss_anonymous: int
    """The same, shared pages split among those who share them."""
    processes: int = 1

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.rss + other.rss,
            self.pss + other.pss,
            self.anonymous + other.anonymous,
            self.pss_anonymous + other.pss_anonymous,
            self.processes + other.processes,
        )


def memory_of(pid: int) -> Memory:
    """One process alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(*(kib[name] * KIB for name in ("Rss", "Pss", "Anonymous", "Pss_Anon")))


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
    total = Memory(0, 0, 0, 0, 0)
    for one in tree(pid):
        with contextlib.suppress(OSError):
            total += memory_of(one)
    return total


def cpu_seconds(pids: Iterable[int]) -> float:
    """Seconds of a core that these processes and all they started have used, also those that
    have ended: what they used is told by who waited for them."""
    ticks = 0
    for pid in (one for root in pids for one in tree(root)):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@frozen
class Cpu:
    """The CPU time of processes until one moment; two moments make a `Used`."""

    at: float
    """Seconds of the system's monotonic clock."""
    ticks: float
    """Seconds of a core, by the system's count of 1/100 s, whoever ended meanwhile included."""
    threads: Mapping[int, tuple[str, float]]
    """By thread: its name and its seconds of a core, to the nanosecond."""
    machine: tuple[float, float]
    """Seconds of all cores together: busy, and in all."""

    @classmethod
    def of_tree(cls, pid: int) -> Self:
        threads: dict[int, tuple[str, float]] = {}
        for folder in (one for each in tree(pid) for one in Path(f"/proc/{each}/task").glob("*")):
            with contextlib.suppress(OSError):  # ended meanwhile
                nanoseconds = int((folder / "schedstat").read_text().split()[0])
                name = (folder / "comm").read_text().rstrip("\n")
                threads[int(folder.name)] = (name, nanoseconds / 1e9)
        return cls(time.monotonic(), cpu_seconds([pid]), threads, _machine_seconds())

    def until(self, later: Cpu) -> Used:
        by_name: defaultdict[str, float] = defaultdict(float)
        for thread, (name, seconds) in later.threads.items():
            by_name[name] += seconds - self.threads.get(thread, ("", 0.0))[1]
        ended = self.threads.keys() - later.threads.keys()
        total = later.ticks - self.ticks if ended else sum(by_name.values())
        busy, cores = (b - a for a, b in zip(self.machine, later.machine, strict=True))
        return Used(later.at - self.at, total, by_name, busy / cores if cores else 0.0)


@frozen
class Used:
    """Seconds of a core that processes used in a stretch of time."""

    seconds: float
    """The duration."""
    total: float
    by_name: Mapping[str, float]
    """By the name of threads; without those that ended meanwhile."""
    machine: float
    """The share of all cores that anybody used."""

    def of(self, *prefixes: str) -> float:
        """By threads whose name begins so."""
        return sum(used for name, used in self.by_name.items() if name.startswith(prefixes))


def _machine_seconds() -> tuple[float, float]:
    """`cpu` of `/proc/stat`: user, nice, system, idle, iowait, ... (proc(5))."""
    first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    ticks = [int(one) / os.sysconf("SC_CLK_TCK") for one in first]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def descriptors(pid: int) -> int:
    """Open files of a process and everything it started."""
    return sum(_entries(f"/proc/{one}/fd") for one in tree(pid))


def threads(pid: int) -> int:
    return sum(_entries(f"/proc/{one}/task") for one in tree(pid))


def _entries(folder: str) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(folder).iterdir())
    return 0


def load() -> float:
    """The number of programs that wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def machine() -> dict[str, Any]:
    """The properties of the machine on which the figures depend; not whose machine it is."""
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


def conclude(
    path: Path | None,
    before: float,
    result: Mapping[str, Any],
    missed: Sequence[str],
    *versions: str,
) -> int:
    """Say under which load it was measured, write it as JSON where that was asked for, and
    name the goals that were missed; the exit code.

    `before` is the load at the beginning, `versions` of what was measured.
    """
    print(
        ", ".join((f"Load {before:.1f} before and {load():.1f} after", str(machine()), *versions))
    )
    save(path, {"machine": machine(), "load": [before, load()], **result})
    return verdict(missed)


def save(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result as JSON, where that was asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")


def verdict(missed: Sequence[str]) -> int:
    """Print each goal that was missed; the exit code."""
    for one in missed:
        print(f"NOT MET: {one}")
    return 1 if missed else 0
