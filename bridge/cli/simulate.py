"""`simulate`: the production actors under thousands of seeds, in simulated rooms.

Seeds go in small lots to one process a core.  The plan of a seed that breaks a law is cut down to
the steps that matter and saved; it can be replayed.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.simulation import (
    ACTING_FAULTS,
    EGRESS_FAULTS,
    FAULTS,
    MONITORING_FAULTS,
    RECEIVER_FAULTS,
    Outcome,
    Plan,
    draw,
    play,
    shrunk,
)
from bridge.config.setting_files import read_text

LOT: Final = 20
"""Seeds that a process takes at once."""
LONGEST_PLAN: Final = 64 << 20
"""Bytes of a saved plan."""
FAILURES_SHOWN: Final = 5
FAILED: Final = 1


@define
class SimulationTally:
    """The results of some seeds, added up."""

    seeds: int = 0
    injected: Counter[str] = field(factory=Counter[str])
    checked: Counter[str] = field(factory=Counter[str])
    failed: dict[int, tuple[str, ...]] = field(factory=dict[int, tuple[str, ...]])
    """Seed to the laws that were broken."""
    cpu: float = 0.0
    """Seconds of CPU."""
    traces: dict[int, str] = field(factory=dict[int, str])
    """Seed to the hash of everything that was observed."""

    def add(self, seed: int, outcome: Outcome) -> None:
        self.seeds += 1
        self.injected += outcome.injected
        self.checked += outcome.checked
        self.traces[seed] = outcome.trace
        if outcome.violations:
            self.failed[seed] = outcome.violations

    def merge(self, other: SimulationTally) -> None:
        self.seeds += other.seeds
        self.injected += other.injected
        self.checked += other.checked
        self.failed |= other.failed
        self.cpu += other.cpu
        self.traces |= other.traces

    @property
    def trace(self) -> str:
        """One hash for all seeds."""
        parts = "".join(self.traces[seed] for seed in sorted(self.traces))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    @property
    def never_injected(self) -> list[str]:
        """Faults of the list that were never injected."""
        return [
            fault
            for fault in (
                *FAULTS,
                *RECEIVER_FAULTS,
                *MONITORING_FAULTS,
                *ACTING_FAULTS,
                *EGRESS_FAULTS,
            )
            if not self.injected[fault]
        ]


def parse_seeds(text: str) -> range:
    """``A..B``, both included, or one seed.  ValueError where it is neither."""
    match = re.fullmatch(r"(\d{1,12})(?:\.\.(\d{1,12}))?", text.strip())
    if match is None:
        raise ValueError("give A..B, for example 1..1000")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise ValueError(f"{last} comes before {first}; give the lower seed first")
    return range(first, last + 1)


_parent: int | None = None
"""Process id of the command that started this worker process."""


def _start_worker_process(parent: int) -> None:
    global _parent  # noqa: PLW0603 (once, before any work)
    _parent = parent
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes: the parent ends this one.


def play_lot(seeds: range) -> SimulationTally:
    """Run some seeds in this process."""
    tally, began = SimulationTally(), time.process_time()
    # A scenario is collected at its end, while it is still in the processor's caches, and the
    # program itself is never looked at.
    gc.disable()
    gc.freeze()
    try:
        for seed in seeds:
            if _parent is not None and os.getppid() != _parent:
                os._exit(FAILED)  # The command has ended.
            tally.add(seed, play(draw(seed)))
            gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    tally.cpu = time.process_time() - began
    return tally


def run_seeds(seeds: range, *, jobs: int | None = None) -> int:
    """Simulate every seed; the exit code."""
    jobs = jobs or os.cpu_count() or 1
    began, tally = time.monotonic(), SimulationTally()
    with _progress() as progress:
        bar = progress.add_task("simulating", total=len(seeds), failed=0)
        for part in _parts(seeds, jobs):
            tally.merge(part)
            progress.update(bar, completed=tally.seeds, failed=len(tally.failed))
    _summary(tally, time.monotonic() - began, jobs)
    _show_failures(tally)
    if tally.never_injected:
        sys.stdout.write(
            f"Never injected: {', '.join(tally.never_injected)}. Exit code 1: nothing is shown"
            " about these; take more seeds\n"
        )
    return FAILED if tally.failed or tally.never_injected else 0


def _parts(seeds: range, jobs: int) -> Iterator[SimulationTally]:
    lots = [seeds[start : start + LOT] for start in range(0, len(seeds), LOT)]
    if jobs == 1 or len(lots) == 1:
        yield from map(play_lot, lots)
        return
    context = multiprocessing.get_context("spawn")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with ProcessPoolExecutor(jobs, context, _start_worker_process, (os.getpid(),)) as pool:
        futures: list[Future[SimulationTally]] = [pool.submit(play_lot, lot) for lot in lots]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def replay(path: Path) -> int:
    """Play a saved plan; the exit code.  ValueError where it cannot be read."""
    plan = Plan.from_json(read_text(path, LONGEST_PLAN))
    outcome = play(plan)
    steps = len(plan.steps)
    if not outcome.violations:
        sys.stdout.write(f"seed {plan.seed}, {steps} steps: every law holds\n")
        return 0
    for violation in outcome.violations:
        sys.stdout.write(f"seed {plan.seed}, {steps} steps: {violation}\n")
    return FAILED


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _summary(tally: SimulationTally, seconds: float, jobs: int) -> None:
    table = Table(title="Simulation", title_justify="left")
    for title in ("fault", "injected", "law", "checked"):
        table.add_column(title, justify="right" if title in ("injected", "checked") else "left")
    faults = [(name, tally.injected[name]) for name in FAULTS]
    laws = sorted(tally.checked.items())
    for n in range(max(len(faults), len(laws))):
        fault, law = faults[n : n + 1], laws[n : n + 1]
        cells = [*(fault[0] if fault else ("", "")), *(law[0] if law else ("", ""))]
        table.add_row(*map(str, cells))
    console = Console(file=sys.stdout)
    console.print(table)
    rate = tally.seeds / tally.cpu if tally.cpu else 0.0
    sys.stdout.write(
        f"{tally.seeds} seed{'' if tally.seeds == 1 else 's'} in {seconds:.1f} s on {jobs} cores"
        f" ({rate:.1f} a second of CPU), {len(tally.failed)} failed, trace {tally.trace}\n"
    )


def _show_failures(tally: SimulationTally) -> None:
    for seed in sorted(tally.failed)[:FAILURES_SHOWN]:
        for violation in tally.failed[seed][:FAILURES_SHOWN]:
            sys.stdout.write(f"seed {seed}: {violation}\n")
    if tally.failed:
        seed = min(tally.failed)
        plan = shrunk(draw(seed))
        path = Path(f"simulate-{seed}.json")
        path.write_text(plan.to_json())
        sys.stdout.write(
            f"seed {seed} fails with {len(plan.steps)} steps already; again with:\n"
            f"  bin/room-actors simulate --replay {path}\n{plan.to_json()}"
        )
