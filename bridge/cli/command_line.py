"""From the command line to one command, and from its end to an exit code.

The flags of a command are rows of the table of settings, so argparse only splits the command
line.  Its own error texts are replaced by ours: one line on stderr, exit code 2, with the nearest
known word, and never the value behind a misspelled `--api-secret`.
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from bridge import __version__
from bridge.cli.command import FAILED, INTERRUPTED, PROG, WRONG_USE, Command, complain
from bridge.cli.commands import COMMANDS
from bridge.config import machine
from bridge.config.settings import Setting, SettingsError
from bridge.output.harmless import harmless
from bridge.output.text import did_you_mean


def run(argv: Sequence[str] | None = None) -> int:
    """The whole program: one command, its errors as one line, its exit code."""
    machine.open_standard_streams()
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        output_error = machine.output_error()
        if output_error is not None:
            return _report_failure(output_error)
    except SettingsError as error:
        complain(str(error))
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody should have to read a traceback
        return _report_failure(error)
    return code


def _report_failure(error: Exception) -> int:
    """Say in one line what went wrong; returns the exit code."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    output_error = machine.output_error()
    if output_error is not None:
        if not isinstance(output_error, BrokenPipeError):  # `| head` has read enough: no error
            complain(f"cannot write to standard output: {output_error.strerror or output_error}")
    elif isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        hint = "; raise the open-file limit (ulimit -n)" if error.errno == errno.EMFILE else ""
        complain(f"{name}{error.strerror or error}{hint}")
    else:
        complain(f"{_place(error)}: {type(error).__name__}: {error} (a bug: please report it)")
    return FAILED


def _place(error: Exception) -> str:
    """The innermost of our own lines, as `bridge/cli/check.py:12`."""
    ours = Path(__file__).parents[2]
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(frame.filename), frame.lineno) for frame in frames]
    inside = [(path, line) for path, line in places if path.is_relative_to(ours)]
    path, line = (inside or places)[-1]
    return f"{path.relative_to(ours) if inside else path.name}:{line}"


def _dispatch(argv: list[str]) -> int:
    for number, word in enumerate(argv, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"argument {number} is not UTF-8 text") from None
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0
    if argv[0] == "--version":
        sys.stdout.write(f"{PROG} {__version__}\n")
        return 0
    command = COMMANDS.get(argv[0])
    if command is None:
        word = argv[0].partition("=")[0]
        if word.startswith("-"):
            raise SettingsError(f"{word} must come after a command: {', '.join(COMMANDS)}")
        hint = did_you_mean(word, list(COMMANDS))
        raise SettingsError(f"'{harmless(word, 80)}' is no command{hint} (see {PROG} --help)")
    try:
        flags = _flags(command, argv[1:])
    except SystemExit:  # argparse, which has printed the help or the version
        return 0
    return command.run(flags)


# ---------------------------------------------------------------- flags


_ARGPARSE_ERRORS: Final = (
    (r"argument (--[\w-]+).*: expected .*argument", "{} needs a value"),
    (r"argument (--[\w-]+).*: ignored explicit argument .*", "{} takes no value"),
    (r"the following arguments are required: (.*)", "{} is missing: {usage}"),
)
"""Patterns of argparse's texts, and the text that replaces each."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        for pattern, text in _ARGPARSE_ERRORS:
            match = re.fullmatch(pattern, message, re.DOTALL)
            if match:
                message = text.format(match[1], usage=self.usage)
        raise SettingsError(message)


def _flags(command: Command, argv: list[str]) -> dict[str, object]:
    parser = _parser(command)
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        raise SettingsError(_unknown(command, parser, unknown))
    flags = {name.replace("_", "-"): value for name, value in vars(given).items()}
    for row in command.settings:
        if row.kind == "list" and row.name in flags:
            flags[row.name] = ",".join(flags[row.name])
    return flags


def _unknown(command: Command, parser: argparse.ArgumentParser, words: list[str]) -> str:
    see = f"(see {PROG} {command.name} --help)"
    for word in words:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            known = [o for o in parser._option_string_actions if o.startswith("--")]  # noqa: SLF001
            return f"unknown flag {harmless(flag, 80)}{did_you_mean(flag, known)} {see}"
    return f"'{harmless(words[0], 80)}' is more than {command.name} takes {see}"


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{PROG} {command.name}",
        description=command.about,
        usage=" ".join(filter(None, (PROG, command.name, command.takes, "[FLAGS]"))),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28
        ),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    if command.add_flags is not None:
        command.add_flags(parser)
    for row in command.settings:
        _add(parser, row)
    if command.settings:
        parser.add_argument("--config", metavar="FILE", help="a TOML file with settings by name")
        parser.add_argument(
            "--env-file", metavar="FILE", help="a .env file: variables that are not set otherwise"
        )
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")
    parser.add_argument(
        "--version",
        action="version",
        version=f"{PROG} {__version__}",
        help="show the version and exit",
    )
    return parser


def _add(parser: argparse.ArgumentParser, row: Setting) -> None:
    default = "required" if row.required else f"default: {row.default_text or 'none'}"
    variable = f"{row.env} or _FILE" if row.in_file else row.env
    help_text = f"{row.help} [{variable}; {default}]".replace("%", "%%")
    shown = argparse.SUPPRESS if row.planned else help_text
    if row.kind == "switch":
        parser.add_argument(row.flag, nargs="?", const="true", metavar="BOOL", help=shown)
    elif row.kind == "list":
        parser.add_argument(row.flag, action="append", metavar=row.metavar, help=shown)
    else:
        parser.add_argument(row.flag, metavar=row.metavar, help=shown)


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 4
    commands = "\n".join(f"  {c.name:<{width}}{c.does}" for c in COMMANDS.values())
    return textwrap.dedent(
        """\
        Watches the rooms of a LiveKit server as an agent and knows every session.

        usage: {prog} COMMAND [FLAGS]

        {commands}

        {prog} COMMAND --help shows the flags of a command; --version the version.
        Settings come from flags, else the environment, else --env-file, else --config FILE
        (TOML). A secret may be in a file: LIVEKIT_API_SECRET_FILE, and so on; or both in
        LiveKit's key file: LIVEKIT_KEY_FILE.
        """
    ).format(prog=PROG, commands=commands)
