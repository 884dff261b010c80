"""`say`, `play` and `show`: announcements in rooms that a running worker watches."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME

_SETTINGS: Final = (BY_NAME["http"], BY_NAME["http-token"])


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name a running worker and its answer."""
    parser.add_argument(
        "--api", metavar="URL", help="a worker elsewhere, as https://rooms.example.org; "
        "default: the one at --http"
    )  # fmt: skip
    parser.add_argument("--token", metavar="TOKEN", help="its token, default: --http-token")
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="do not wait for the end; without it, Ctrl-C stops the announcement",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_say_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="a room's name, or a pattern as 'team-*'")
    parser.add_argument("text", metavar="TEXT", help="what is said; - reads it from stdin")
    parser.add_argument("--voice", metavar="VOICE", help="the engine's voice or language: en-us")
    add_worker_flags(parser)


def _add_play_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="a room's name, or a pattern as 'team-*'")
    parser.add_argument("file", metavar="FILE", help="a sound file of this machine")
    add_worker_flags(parser)


def _add_show_flags(parser: argparse.ArgumentParser) -> None:
    from actors.pictures.pattern_names import PATTERNS

    parser.add_argument("room", metavar="ROOM", help="a room's name, or a pattern as 'team-*'")
    parser.add_argument(
        "picture", metavar="IMAGE|TEXT", nargs="?",
        help="a PNG or lossy WebP file of this machine; else a text",
    )  # fmt: skip
    parser.add_argument(
        "--pattern", metavar="PATTERN", help=f"a moving pattern instead: {', '.join(PATTERNS)}"
    )
    parser.add_argument("--seconds", metavar="N", help="for how long it is shown, default: 10")
    add_worker_flags(parser)


def _show(flags: Flags) -> int:
    from bridge.cli.announcement_order import show_order

    return _order(flags, *show_order(flags))


def _say(flags: Flags) -> int:
    from bridge.cli.announcement_order import say_order

    return _order(flags, *say_order(flags))


def _play(flags: Flags) -> int:
    from bridge.cli.announcement_order import file_order

    return _order(flags, *file_order(flags))


def _order(flags: Flags, body: bytes, kind: str) -> int:
    from bridge.cli.announcement_order import announce
    from bridge.cli.api_connection import ApiTrouble

    try:
        return announce(flags, body, kind, sys.stdout)
    except ApiTrouble as error:
        complain(str(error))
        return FAILED


SAY: Final = Command(
    "say",
    "say a text in a room",
    "Says a text in a room that a running worker watches, through a speech engine that the worker\n"
    "has. A visible participant enters for it. It waits until the announcement is over.",
    _say,
    _SETTINGS,
    "ROOM TEXT",
    _add_say_flags,
)
PLAY: Final = Command(
    "play",
    "play a sound file in a room",
    "Plays a sound file in a room that a running worker watches: WAV, and OGG, MP3 and FLAC where\n"
    "the worker can. A visible participant enters for it. It waits until the announcement is over.",
    _play,
    _SETTINGS,
    "ROOM FILE",
    _add_play_flags,
)
SHOW: Final = Command(
    "show",
    "show a picture or a text in a room",
    "Shows an image, a text or a moving pattern in a room that a running worker watches, as a\n"
    "shared screen. A visible participant enters for it. It waits until the time is over.",
    _show,
    _SETTINGS,
    "ROOM [IMAGE|TEXT]",
    _add_show_flags,
)
