"""The commands, their flags and their exit codes.

The flags of a command are rows of the table of settings, so argparse is used for
one thing only: splitting the command line.  Its own errors and the wrong words in
them are replaced by ours: one line on stderr, exit code 2, with the nearest right
word, and never the value that stood behind a misspelled `--api-secret`.
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import frozen

from bridge import __version__
from bridge.config import machine
from bridge.config.settings import BY_NAME, TABLE, Setting, Settings, SettingsError, load
from bridge.config.values import BadValue, whole_number
from bridge.output.harmless import harmless
from bridge.output.redact import redact
from bridge.output.text import did_you_mean

PROG: Final = "room-actors"

FAILED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130


@frozen
class Command:
    name: str
    does: str
    """One line for the list of commands."""
    about: str
    """The paragraph at the head of its help."""
    run: Callable[[Mapping[str, object]], int]
    """Takes the flags that were given; returns the exit code; may raise `SettingsError`."""
    settings: tuple[Setting, ...] = ()
    takes: str = ""
    """What may stand behind its name, beside flags."""
    add_flags: Callable[[argparse.ArgumentParser], None] | None = None


def run(argv: Sequence[str] | None = None) -> int:
    """The whole program: one command, its errors as one line, its exit code."""
    machine.open_standard_streams()
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        lost = machine.output_error()
        if lost is not None:
            return _failed(lost)
    except SettingsError as error:
        _complain(str(error))
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody should have to read a traceback
        return _failed(error)
    return code


def _failed(error: Exception) -> int:
    """Say in one line what went wrong; the exit code."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    lost = machine.output_error()
    if lost is not None:
        if not isinstance(lost, BrokenPipeError):  # its reader has seen enough
            _complain(f"cannot write to standard output: {lost.strerror or lost}")
    elif isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        few = "; raise the open-file limit (ulimit -n)" if error.errno == errno.EMFILE else ""
        _complain(f"{what}{error.strerror or error}{few}")
    else:
        _complain(f"{_place(error)}: {type(error).__name__}: {error} (a bug: please report it)")
    return FAILED


def _place(error: Exception) -> str:
    """The innermost of our own lines, as `bridge/cli/check.py:12`."""
    ours = Path(__file__).parents[2]
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(frame.filename), frame.lineno) for frame in frames]
    inside = [(path, line) for path, line in places if path.is_relative_to(ours)]
    path, line = (inside or places)[-1]
    return f"{path.relative_to(ours) if inside else path.name}:{line}"


def _complain(text: str) -> None:
    try:
        sys.stderr.write(f"{PROG}: {harmless(redact(text), 1000)}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody listens: the exit code says it.  Python would make it 120 if it could not
        # write at its end what is left in the buffer.
        machine.discard(sys.stderr)


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        needs_value = re.match(r"argument (--[\w-]+).*: expected .*argument", message)
        raise SettingsError(f"{needs_value[1]} needs a value" if needs_value else message)


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
    parser.add_argument("-h", "--help", action="help", help="show this and leave")
    parser.add_argument(
        "--version", action="version", version=f"{PROG} {__version__}", help="show it and leave"
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


# ---------------------------------------------------------------- start


def _start(flags: Mapping[str, object]) -> int:
    machine.raise_descriptor_limit()  # The settings are bounded by it.
    settings = load(flags)
    _require_descriptors()
    _require_data_dir(settings)
    _require_free_port(settings)
    from bridge.livekit.proxies import drop_proxies

    proxies = drop_proxies()
    # First, as long as nobody has imported what is to be had for less.
    from bridge.livekit.rooms.lean_imports import import_lean

    lost = import_lean()
    from bridge.app import worker_role
    from bridge.log.structured_log import running_log

    with running_log(settings) as (log, sink):
        for package, error in lost.items():
            what = f"{package} brings what is never used: more memory"
            log.warning("sdk_seam_lost", seam="import", lost=what, error=error)
        for notice in settings.notices:
            log.warning(notice.event, **notice.fields)
        if proxies:
            log.warning("proxy_not_used", variables=proxies)
        try:
            return worker_role.run(settings, sink)
        except SettingsError:
            raise
        except Exception as error:
            log.exception("run_failed", error=error)
            return FAILED


def _require_descriptors() -> None:
    try:
        machine.require_descriptors()
    except machine.TooFewDescriptors as error:
        raise SettingsError(str(error)) from None


def _require_data_dir(settings: Settings) -> None:
    row = BY_NAME["data-dir"]
    try:
        machine.make_writable(settings.data_dir)
    except machine.NoSharedMemory as error:
        raise SettingsError(
            f"{row.flag}: {harmless(str(settings.data_dir))} has no shared memory for SQLite "
            f"({error.strerror}); name a directory on a local disk, by {row.how()}"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{row.flag}: {harmless(str(settings.data_dir))} cannot be written to "
            f"({error.strerror}); name a directory that can, by {row.how()}"
        ) from None
    from bridge.store.directory_lock import require_plain_files
    from bridge.store.schema import FILE
    from bridge.store.store_errors import StoreRefused

    try:
        require_plain_files(settings.data_dir, FILE, f"{FILE}-wal", f"{FILE}-shm")
    except StoreRefused as error:
        raise SettingsError(f"{row.flag}: {error}") from None


def _require_free_port(settings: Settings) -> None:
    if settings.http is None or "http" not in settings.given:
        return
    problem = machine.port_problem(settings.http.host, settings.http.port)
    if problem:
        row = BY_NAME["http"]
        raise SettingsError(
            f"{row.flag}: cannot listen on {settings.http}: {problem}; "
            f"name another address, or off, by {row.how()}"
        )


# ---------------------------------------------------------------- check


def _check(flags: Mapping[str, object]) -> int:
    from bridge.cli.check import run_check

    options = dict(flags)
    as_json = bool(options.pop("json", False))
    media = not options.pop("no-media", False)
    return run_check(options, as_json=as_json, media=media)


def _check_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--no-media",
        action="store_true",
        help="make no room: the media path is not tried, and no webhook tells of the check",
    )


# ---------------------------------------------------------------- sessions, rooms, report

_READING: Final = (BY_NAME["data-dir"],)


def _read(show: str) -> Callable[[Mapping[str, object]], int]:
    def run(flags: Mapping[str, object]) -> int:
        from bridge.cli import reading

        try:
            getattr(reading, show)(flags)
        except reading.StoreUnavailable as error:
            _complain(str(error))
            return FAILED
        return 0

    return run


def _format_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", action="store_true", help="print CSV, for a spreadsheet")


def _rooms_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch", action="store_true", help="again and again; with --json a line each time"
    )
    parser.add_argument("--every", metavar="TIME", help="how often, default: 1s; means --watch")
    _filter_flags(parser)
    _format_flags(parser)


def _filter_flags(parser: argparse.ArgumentParser) -> None:
    from bridge.store.filters import FILTERS

    for row in FILTERS:
        about = row.about[0].lower() + row.about[1:].rstrip(".")
        help_text = about.replace("%", "%%").replace("`", "'")
        parser.add_argument(f"--{row.name}", metavar=row.metavar, help=help_text)


def _sessions_flags(parser: argparse.ArgumentParser) -> None:
    _filter_flags(parser)
    parser.add_argument("--limit", metavar="N", help="how many at most, default: all")
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="go on there: the 'next' of an earlier list"
    )
    _format_flags(parser)


def _top(flags: Mapping[str, object]) -> int:
    from bridge.cli.reading import StoreUnavailable
    from bridge.cli.top import top

    try:
        top(flags)
    except StoreUnavailable as error:
        _complain(str(error))
        return FAILED
    return 0


def _top_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one plain table and leave")


def _report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "session",
        nargs="?",
        metavar="SESSION",
        help="its id, or a room's name for its newest session; default: the newest of all",
    )
    _format_flags(parser)


# ---------------------------------------------------------------- demo


@frozen
class _DemoFlag:
    name: str
    most: int
    help: str


_DEMO_FLAGS: Final = (
    _DemoFlag("rooms", 50, "rooms to open, default: 4"),
    _DemoFlag("people", 200, "people in all of them, default: 3 a room"),
    _DemoFlag("seconds", 3600, "how long the story takes, default: 40"),
    _DemoFlag("seed", 2**32, "draws who does what and when, default: 1"),
)


def _demo(flags: Mapping[str, object]) -> int:
    options: dict[str, Any] = {}
    for flag in _DEMO_FLAGS:
        if flag.name not in flags:
            continue
        least = 0 if flag.name == "seed" else 1
        try:
            options[flag.name] = whole_number(least, flag.most)(flags[flag.name])
        except BadValue as error:
            raise SettingsError(f"--{flag.name}: {error}") from None
    if "svg" in flags:
        options["svg"] = Path(str(flags["svg"]))
    machine.raise_descriptor_limit()
    _require_descriptors()
    from bridge.app import demo_role
    from bridge.lab.demo.demo_run import DemoSettings
    from bridge.lab.demo.script import PlanError
    from bridge.log.structured_log import running_log

    with running_log(demo_role.demo_settings(None)):
        try:
            return demo_role.run(DemoSettings(**options))
        except PlanError as error:
            raise SettingsError(str(error)) from None


def _demo_flags(parser: argparse.ArgumentParser) -> None:
    for flag in _DEMO_FLAGS:
        parser.add_argument(f"--{flag.name}", metavar="N", help=flag.help)
    parser.add_argument("--svg", metavar="FILE", help=argparse.SUPPRESS)


# ---------------------------------------------------------------- simulate


def _simulate(flags: Mapping[str, object]) -> int:
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


def _simulate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="A..B", help="which scenarios, default: 1..1000")
    parser.add_argument(
        "--replay", metavar="FILE", help="play a plan that was saved when it failed"
    )


COMMANDS: Final[Mapping[str, Command]] = {
    command.name: command
    for command in (
        Command(
            "demo",
            "show the whole thing on this machine, with nothing configured",
            "Starts a private LiveKit server on loopback, fills rooms with real people (audio,\n"
            "video, data), watches them, and compares what it counted with what they did.",
            _demo,
            add_flags=_demo_flags,
        ),
        Command(
            "start",
            "watch the rooms of a LiveKit server until SIGINT or SIGTERM",
            "Registers at LiveKit as an agent worker and watches rooms until SIGINT or SIGTERM.\n"
            "A flag wins over its environment variable, and that over --config.",
            _start,
            TABLE,
        ),
        Command(
            "check",
            "test every setting and every component, and say what to do",
            "Tests the settings and all they lead to, one by one, and says for each what is\n"
            "wrong and what to do. Exit code 0 only if all hold.\n"
            "The media path can only be tried in a room: one is made for a moment, of which\n"
            "webhooks tell (no agent is sent there). --no-media makes none.",
            _check,
            TABLE,
            add_flags=_check_flags,
        ),
        Command(
            "top",
            "show what is live, drawn anew every second",
            "Shows the rooms that are watched now, the worker's health and who talks, until q.\n"
            "Keys sort (r p t m a w), scroll (arrows, pages) and filter (/). Where there is no\n"
            "terminal it prints one plain table.",
            _top,
            (*_READING, BY_NAME["http"]),
            add_flags=_top_flags,
        ),
        Command(
            "rooms",
            "show what is live",
            "Shows the rooms that are watched now, from what is kept in the data directory.\n"
            "Where no worker runs: those that were when one was last seen.",
            _read("rooms"),
            _READING,
            add_flags=_rooms_flags,
        ),
        Command(
            "sessions",
            "show what was kept, the newest first",
            "Shows the sessions that are kept in the data directory, the newest first.",
            _read("sessions"),
            _READING,
            add_flags=_sessions_flags,
        ),
        Command(
            "report",
            "show one session whole",
            "Shows one session with its people, tracks and timeline; --csv has its people.",
            _read("report"),
            _READING,
            "[SESSION]",
            _report_flags,
        ),
        Command(
            "simulate",
            "run the actors under thousands of seeded faults, with no server",
            "Runs the actors of production in simulated rooms, in virtual time, under faults that\n"
            "are drawn from a seed, and compares what they say with what really happened.",
            _simulate,
            add_flags=_simulate_flags,
        ),
    )
}
