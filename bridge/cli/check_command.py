"""`check`: its flags."""

from __future__ import annotations

import argparse
from typing import Final

from bridge.cli.command import Command, Flags
from bridge.config.settings import TABLE


def _check(flags: Flags) -> int:
    from bridge.cli.check import run_check

    options = dict(flags)
    as_json = bool(options.pop("json", False))
    media = not options.pop("no-media", False)
    every = bool(options.pop("all", False))
    return run_check(options, as_json=as_json, media=media, every=every)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--all", action="store_true", help="also show settings with their default")
    parser.add_argument(
        "--no-media",
        action="store_true",
        help="make no room: the media path is not tried, and no webhook reports the check",
    )


CHECK: Final = Command(
    "check",
    "test every setting and every component, and say what to do",
    "Tests the settings and each component that they lead to, one by one, and says what is\n"
    "wrong and what to do. Exit code 0 only if all hold.\n"
    "The media path can only be tried in a room: a room is made for a moment, and LiveKit\n"
    "sends webhooks about it (no agent is sent there). --no-media makes no room.",
    _check,
    TABLE,
    add_flags=_add_flags,
)
