"""`top`: its flags."""

from __future__ import annotations

import argparse
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.cli.reading_commands import add_api_flags
from bridge.config.settings import BY_NAME


def _top(flags: Flags) -> int:
    from bridge.cli.store_access import StoreUnavailable
    from bridge.cli.top import top

    try:
        top(flags)
    except StoreUnavailable as error:
        complain(str(error))
        return FAILED
    return 0


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one plain table and exit")
    add_api_flags(parser)


TOP: Final = Command(
    "top",
    "show what is live, drawn anew every second",
    "Shows the rooms that are watched now, the worker's health and the speakers, until q.\n"
    "Keys sort (r p t m a w), scroll (arrows, pages) and filter (/). Without a terminal it\n"
    "prints one plain table.",
    _top,
    (BY_NAME["data-dir"], BY_NAME["database-url"], BY_NAME["http"]),
    add_flags=_add_flags,
)
