"""`simulate --cluster`: workers that share a simulated database, under faults drawn from seeds.

Each seed is a process of its own, with fixed hashes of texts: the same seed runs the same way on
every machine.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from rich.console import Console
from rich.table import Table

from bridge.lab.cluster import ClusterOutcome, draw_cluster, play_cluster

MOST_WORKERS: Final = 200
MOST_ROOMS: Final = 100_000
SHOWN: Final = 10
FAILED: Final = 1


def parse_size(text: str) -> tuple[int, int]:
    """``WxR``: workers and rooms.  ValueError where it is not."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.strip())
    if match is None:
        raise ValueError("give WORKERSxROOMS, for example 20x10000")
    workers, rooms = int(match[1]), int(match[2])
    if not (2 <= workers <= MOST_WORKERS and workers <= rooms <= MOST_ROOMS):
        raise ValueError(
            f"give 2 to {MOST_WORKERS} workers, and as many rooms or more, up to {MOST_ROOMS}"
        )
    return workers, rooms


def run_clusters(seeds: range, workers: int, rooms: int) -> int:
    """Simulate every seed; the exit code."""
    # The order of sets of texts would differ from run to run.
    os.environ["PYTHONHASHSEED"] = "0"
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    size = min(len(seeds), os.cpu_count() or 1)
    with ProcessPoolExecutor(size, context, max_tasks_per_child=1) as pool:
        runs = [pool.submit(play_seed, seed, workers, rooms) for seed in seeds]
        outcomes = {seed: run.result() for seed, run in zip(seeds, runs, strict=True)}
    _show(outcomes.values(), workers, rooms, time.monotonic() - began)
    failed = {seed: one for seed, one in outcomes.items() if one.violations}
    for seed, outcome in failed.items():
        for violation in outcome.violations[:SHOWN]:
            sys.stdout.write(f"seed {seed}: {violation}\n")
    return FAILED if failed else 0


def play_seed(seed: int, workers: int, rooms: int) -> ClusterOutcome:
    """One seed in this process."""
    return play_cluster(draw_cluster(seed, workers, rooms))


def _show(outcomes: Iterable[ClusterOutcome], workers: int, rooms: int, seconds: float) -> None:
    outcomes = list(outcomes)
    table = Table(title=f"{workers} workers, {rooms} rooms", title_justify="left")
    for title in ("fault", "injected", "law", "checked"):
        table.add_column(title, justify="right" if title in ("injected", "checked") else "left")
    faults, laws = ([*outcomes[0].injected], sorted(outcomes[0].checked))
    for n in range(max(len(faults), len(laws))):
        cells = list[str]()
        if n < len(faults):
            cells += [faults[n], str(sum(one.injected[faults[n]] for one in outcomes))]
        else:
            cells += ["", ""]
        if n < len(laws):
            cells += [laws[n], str(sum(one.checked[laws[n]] for one in outcomes))]
        table.add_row(*cells)
    Console(file=sys.stdout).print(table)
    failed = sum(bool(one.violations) for one in outcomes)
    simulated = sum(one.seconds for one in outcomes)
    calls = sum(one.calls for one in outcomes) / simulated / workers
    sys.stdout.write(
        f"{len(outcomes)} seed{'' if len(outcomes) == 1 else 's'}, "
        f"{simulated:.0f} simulated seconds in {seconds:.1f} s, "
        f"{failed} failed\n"
        f"longest time of a room without an owner, outside of outages of the database: "
        f"{max(one.longest_unowned for one in outcomes):.1f} s\n"
        f"{sum(one.sessions for one in outcomes)} sessions, "
        f"{sum(one.rows for one in outcomes)} rows, "
        f"{sum(one.takeovers for one in outcomes)} changes of an owner, "
        f"{calls:.1f} calls of the database a second and worker\n"
    )
