"""`demo`: its flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from bridge.cli.command import Command, Flags, require_descriptors
from bridge.config import machine
from bridge.config.settings import SettingsError
from bridge.config.values import BadValue, whole_number


@frozen
class _NumberFlag:
    name: str
    least: int
    most: int
    help: str


_NUMBERS: Final = (
    _NumberFlag("rooms", 1, 50, "rooms to open, default: 4"),
    _NumberFlag("people", 1, 200, "people in all of them, default: 3 a room"),
    _NumberFlag("seconds", 1, 3600, "duration of the story, default: 40"),
    _NumberFlag("seed", 0, 2**32, "seed of the people's actions, default: 1"),
)


def _demo(flags: Flags) -> int:
    options: dict[str, Any] = {}
    for flag in _NUMBERS:
        if flag.name not in flags:
            continue
        try:
            options[flag.name] = whole_number(flag.least, flag.most)(flags[flag.name])
        except BadValue as error:
            raise SettingsError(f"--{flag.name}: {error}") from None
    options["keep"] = "keep" in flags
    options["open_browser"] = "open" in flags
    if "svg" in flags:
        options["svg"] = Path(str(flags["svg"]))
    machine.raise_descriptor_limit()
    require_descriptors()
    from bridge.app import demo_role
    from bridge.lab.demo.demo_run import DemoSettings
    from bridge.lab.demo.script import PlanError
    from bridge.log.structured_log import running_log

    with running_log(demo_role.demo_settings(None)):
        try:
            return demo_role.run(DemoSettings(**options))
        except PlanError as error:
            raise SettingsError(str(error)) from None


def _add_flags(parser: argparse.ArgumentParser) -> None:
    for flag in _NUMBERS:
        parser.add_argument(f"--{flag.name}", metavar="N", help=flag.help)
    parser.add_argument(
        "--keep", action="store_true", help="serve the page after the story too, until Ctrl-C"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--svg", metavar="FILE", help=argparse.SUPPRESS)


DEMO: Final = Command(
    "demo",
    "show the whole thing on this machine, with nothing configured",
    "Starts a private LiveKit server on loopback, fills rooms with real people (audio,\n"
    "video, data), watches them, and compares what it counted with what they did.",
    _demo,
    add_flags=_add_flags,
)
