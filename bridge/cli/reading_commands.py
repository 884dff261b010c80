"""`rooms`, `sessions` and `report`: their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME

_SETTINGS: Final = (BY_NAME["data-dir"],)


def _read(show: str) -> Callable[[Flags], int]:
    """Runs a function of `bridge.cli.reading`, which is imported then."""

    def run(flags: Flags) -> int:
        from bridge.cli import reading
        from bridge.cli.store_access import StoreUnavailable

        try:
            getattr(reading, show)(flags)
        except StoreUnavailable as error:
            complain(str(error))
            return FAILED
        return 0

    return run


def _add_format_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", action="store_true", help="print CSV, for a spreadsheet")


def _add_filter_flags(parser: argparse.ArgumentParser) -> None:
    from actors.journal.session_filters import FILTERS

    for row in FILTERS:
        about = row.about[0].lower() + row.about[1:].rstrip(".")
        help_text = about.replace("%", "%%").replace("`", "'")
        parser.add_argument(f"--{row.name}", metavar=row.metavar, help=help_text)


def _add_rooms_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch", action="store_true", help="repeat it until Ctrl-C; with --json a line each time"
    )
    parser.add_argument(
        "--every", metavar="TIME", help="time between two repeats, default: 1s; implies --watch"
    )
    _add_filter_flags(parser)
    _add_format_flags(parser)


def _add_sessions_flags(parser: argparse.ArgumentParser) -> None:
    _add_filter_flags(parser)
    parser.add_argument("--limit", metavar="N", help="most sessions to show, default: all")
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="continue there: the 'next' of an earlier list"
    )
    _add_format_flags(parser)


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "session",
        nargs="?",
        metavar="SESSION",
        help="its id, or a room's name for its newest session; default: the newest of all",
    )
    _add_format_flags(parser)


ROOMS: Final = Command(
    "rooms",
    "show what is live",
    "Shows the rooms that are watched now, from what the data directory has.\n"
    "Where no worker runs, it shows the rooms that the last worker watched at its end.",
    _read("rooms"),
    _SETTINGS,
    add_flags=_add_rooms_flags,
)
SESSIONS: Final = Command(
    "sessions",
    "show the stored sessions, the newest first",
    "Shows the sessions that the data directory has, the newest first.",
    _read("sessions"),
    _SETTINGS,
    add_flags=_add_sessions_flags,
)
REPORT: Final = Command(
    "report",
    "show one session whole",
    "Shows one session with its people, tracks and timeline; --csv has its people.",
    _read("report"),
    _SETTINGS,
    "[SESSION]",
    _add_report_flags,
)
