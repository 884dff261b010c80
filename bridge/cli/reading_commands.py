"""`rooms`, `sessions` and `report`: their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME

if TYPE_CHECKING:
    from actors.journal.session_filters import Parameter

_SETTINGS: Final = (BY_NAME["data-dir"], BY_NAME["database-url"])


def _read(show: str, module: str = "reading") -> Callable[[Flags], int]:
    """Runs a function of a module of this package, which is imported then."""

    def run(flags: Flags) -> int:
        from bridge.cli.store_access import StoreUnavailable

        try:
            getattr(import_module(f"bridge.cli.{module}"), show)(flags)
        except StoreUnavailable as error:
            complain(str(error))
            return FAILED
        return 0

    return run


def add_api_flags(parser: argparse.ArgumentParser) -> None:
    """The flags by which a command reads from another machine."""
    parser.add_argument(
        "--api", metavar="URL", help="read from a worker's --http, as https://rooms.example.org"
    )
    parser.add_argument(
        "--token", metavar="T", help="its token; default: that of ROOM_ACTORS_HTTP_TOKEN or _FILE"
    )


def _add_format_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", action="store_true", help="print CSV, for a spreadsheet")


def _add_filter_flags(parser: argparse.ArgumentParser, *, without: str = "") -> None:
    from actors.journal.session_filters import FILTERS

    for row in FILTERS:
        if row.name != without:
            _add_filter_flag(parser, row)


def _add_filter_flag(parser: argparse.ArgumentParser, row: Parameter) -> None:
    about = row.about[0].lower() + row.about[1:].rstrip(".")
    if row.metavar == "TIME":
        about += ", or an age such as 7d"
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
    parser.add_argument("--limit", metavar="N", help="most rooms to show, default: all")
    add_api_flags(parser)
    _add_format_flags(parser)


def _add_sessions_flags(parser: argparse.ArgumentParser) -> None:
    _add_filter_flags(parser)
    parser.add_argument("--limit", metavar="N", help="most sessions to show, default: all")
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="continue there: the 'next' of an earlier list"
    )
    add_api_flags(parser)
    _add_format_flags(parser)


def _add_part_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", metavar="N", help="most sessions to read, default: all")
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="continue there: the 'next' of an earlier list"
    )
    add_api_flags(parser)
    _add_format_flags(parser)


def _add_attendance_flags(parser: argparse.ArgumentParser) -> None:
    _add_filter_flags(parser)
    _add_part_flags(parser)


def _add_person_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identity", nargs="?", metavar="IDENTITY", help="or a person key")
    _add_filter_flags(parser, without="person")
    _add_part_flags(parser)


def _add_days_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--room",
        action="append",
        metavar="PATTERN",
        help="rooms with this name; a pattern; may be given again: each has its own rows",
    )
    _add_filter_flags(parser, without="room")
    add_api_flags(parser)
    _add_format_flags(parser)


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "session",
        nargs="?",
        metavar="SESSION",
        help="its id, or a room's name for its newest session; default: the newest of all",
    )
    add_api_flags(parser)
    _add_format_flags(parser)


def _add_transcripts_flags(parser: argparse.ArgumentParser) -> None:
    from actors.journal.text_filters import TEXT_FILTERS

    parser.add_argument(
        "session",
        nargs="?",
        metavar="SESSION",
        help="its id, or a room's name for its newest session; default: all sessions",
    )
    for row in TEXT_FILTERS:
        _add_filter_flag(parser, row)
    parser.add_argument("--limit", metavar="N", help="most texts to show, default: all")
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="continue there: the 'next' of an earlier list"
    )
    add_api_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


ROOMS: Final = Command(
    "rooms",
    "show what is live",
    "Shows the rooms that are watched now, from what the store has.\n"
    "Where no worker runs, it shows the rooms that the last worker watched at its end.",
    _read("rooms"),
    _SETTINGS,
    add_flags=_add_rooms_flags,
)
SESSIONS: Final = Command(
    "sessions",
    "show the stored sessions, the newest first",
    "Shows the sessions that the store has, the newest first.",
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
ATTENDANCE: Final = Command(
    "attendance",
    "show who was in which session",
    "Shows the people of each session: when they came and left, how long they were there. With\n"
    "--room, --since and --until it is the attendance of a room over a time.",
    _read("attendance", "people_reading"),
    _SETTINGS,
    add_flags=_add_attendance_flags,
)
PERSON: Final = Command(
    "person",
    "show one person over all sessions",
    "Shows the visits of one person, by an identity or a person key: totals, each session, each\n"
    "day. --csv has the visits.",
    _read("person", "people_reading"),
    _SETTINGS,
    "IDENTITY",
    _add_person_flags,
)
DAYS: Final = Command(
    "days",
    "show sessions and minutes of people by day",
    "Shows by day (UTC) how many sessions began and how many minutes people were in them, for\n"
    "each pattern of --room. Without --since the last 30 days.",
    _read("days", "people_reading"),
    _SETTINGS,
    add_flags=_add_days_flags,
)
TRANSCRIPTS: Final = Command(
    "transcripts",
    "show and search what was said to agents and by them",
    "Shows the conversation of one session, or searches those of all sessions, the newest first.\n"
    "Texts are there only where a worker keeps them (--keep-transcripts, --keep-tool-payloads).",
    _read("transcripts", "transcript_reading"),
    _SETTINGS,
    "[SESSION]",
    _add_transcripts_flags,
)
