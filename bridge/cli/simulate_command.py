"""`simulate`: its flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from bridge.cli.command import Command, Flags
from bridge.config.settings import SettingsError


def _simulate(flags: Flags) -> int:
    from bridge.cli import simulate

    if "replay" in flags:
        try:
            return simulate.replay(Path(str(flags["replay"])))
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"--replay: {error}") from None
    cluster = flags.get("cluster")
    try:
        seeds = simulate.parse_seeds(str(flags.get("seeds", "1..1000" if cluster is None else "1")))
    except ValueError as error:
        raise SettingsError(f"--seeds: {error}") from None
    if cluster is None:
        return simulate.run_seeds(seeds)
    from bridge.cli import simulate_cluster

    try:
        workers, rooms = simulate_cluster.parse_size(str(cluster))
    except ValueError as error:
        raise SettingsError(f"--cluster: {error}") from None
    return simulate_cluster.run_clusters(seeds, workers, rooms)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds", metavar="A..B", help="scenarios to play, default: 1..1000, with --cluster: 1"
    )
    parser.add_argument(
        "--cluster",
        metavar="WxR",
        nargs="?",
        const="20x10000",
        help="W workers that share a database and R rooms, default: 20x10000",
    )
    parser.add_argument(
        "--replay", metavar="FILE", help="play a plan that was saved when it failed"
    )


SIMULATE: Final = Command(
    "simulate",
    "run the actors under thousands of seeded faults, with no server",
    "Runs the actors of production in simulated rooms, in virtual time, under faults that\n"
    "are drawn from a seed, and compares what they report with what really happened.",
    _simulate,
    add_flags=_add_flags,
)
