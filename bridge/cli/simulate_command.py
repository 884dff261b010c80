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
    try:
        seeds = simulate.parse_seeds(str(flags.get("seeds", "1..1000")))
    except ValueError as error:
        raise SettingsError(f"--seeds: {error}") from None
    return simulate.run_seeds(seeds)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="A..B", help="scenarios to play, default: 1..1000")
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
