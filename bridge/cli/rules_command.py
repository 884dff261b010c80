"""`rules`: rules and limits of a file checked, and tried on the stored sessions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME, SettingsError

DOES: Final = ("check", "try")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "do",
        nargs="?",
        metavar="check|try",
        help="check: say what is wrong with the file; try: say what it would have done in the "
        "stored sessions",
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a TOML file with [[rule]] and [[limit]]"
    )
    parser.add_argument("--room", metavar="PATTERN", help="with try: rooms with this name")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="with try: sessions that began then or later, a time or an age; default: 7d",
    )
    parser.add_argument("--until", metavar="TIME", help="with try: sessions that began before")
    parser.add_argument("--json", action="store_true", help="with try: print JSON")


def _run(flags: Flags) -> int:
    do = str(flags.get("do", ""))
    if do not in DOES or "file" not in flags:
        raise SettingsError("rules: write `rules check FILE` or `rules try FILE`")
    from bridge.config.rules_file import read_rules_file

    wanted = read_rules_file(Path(str(flags["file"])))
    if do == "check":
        for name in ("room", "since", "until", "json"):
            if name in flags:
                raise SettingsError(f"--{name} is for `rules try FILE`")
        rules, limits = len(wanted.rules), len(wanted.limits)
        sys.stdout.write(f"well: {rules} of [[rule]] and {limits} of [[limit]]\n")
        return 0
    from bridge.cli.rules_try import Trial, print_trial
    from bridge.cli.store_access import StoreUnavailable

    try:
        print_trial(Trial(wanted.rules, wanted.limits), flags)
    except StoreUnavailable as error:
        complain(str(error))
        return FAILED
    return 0


RULES: Final = Command(
    "rules",
    "check rules and limits, or try them on the stored sessions",
    "Checks the rules and limits of a file, or says what they would have done in the sessions\n"
    "that the data directory has. A trial acts on nobody.",
    _run,
    (BY_NAME["data-dir"], BY_NAME["database-url"]),
    takes="check|try FILE",
    add_flags=_add_flags,
)
