"""Whatever the command line is given: an exit code, one line on stderr, no traceback.

Each row is a way to call the program that cannot work, with arguments, streams, limits,
files and folders that somebody once had.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from bridge.store.schema import FILE
from tests.cli.conftest import clean_environment

KEYS = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-long-secret-word"}
AS_IT_IS = 'exec "$@"'
NO_SHARED_MEMORY = """
import errno, mmap, os, sys
def refuse(*_): raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
mmap.mmap = refuse
"""
"""Acts as a file system that cannot map files: 9p, some FUSE and network ones."""


def nothing(_: Path) -> None:
    """No preparation."""


def loop(path: str) -> Callable[[Path], None]:
    """A link to itself."""

    def prepare(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).symlink_to(folder / path)

    return prepare


def directory(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).mkdir(parents=True)


def text(path: str, content: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)

    return prepare


@frozen
class Case:
    """One way to fail."""

    args: str
    said: str
    """Part of the only line on stderr; where this is empty there is no line."""
    code: int = 2
    prepare: Callable[[Path], None] = nothing
    shell: str = AS_IT_IS
    """The call of the program in POSIX shell."""
    first: str = ""
    """Python that runs in its process before anything else."""
    name: str = ""

    @property
    def id(self) -> str:
        return self.name or self.args + self.shell.removeprefix(AS_IT_IS)


CLOSED = "cannot write to standard output: Bad file descriptor"
FULL = "cannot write to standard output: No space left on device"
NO_ROOM = "the open-file limit is 20, and one room needs 76: raise it (ulimit -n 1264 is enough"
HERE = "start --data-dir data"
NO_PLAN = "--replay: not a saved plan: "

CASES = (
    # standard streams
    *(
        Case(args, said, 1, shell=f'exec "$@" {stream}')
        for args in ("--version", "--help", "start --help", "sessions --version")
        for stream, said in ((">&-", CLOSED), (">/dev/full", FULL))
    ),
    Case("strat", "", 2, shell='exec "$@" 2>&-'),
    Case("strat", "", 2, shell='exec "$@" <&- >&- 2>&-'),
    Case("strat", "", 2, shell='exec "$@" 2>/dev/full'),
    Case("strat", "'strat' is no command", shell='exec "$@" <&-'),
    Case("strat", "'strat' is no command", shell='exec "$@" >&-'),
    # words that are no text
    Case("\udcff", "argument 1 is not UTF-8 text", name="a command"),
    Case("start --agent-name \udcff", "argument 3 is not UTF-8 text", name="a value"),
    Case("start --\udcff", "argument 2 is not UTF-8 text", name="a flag"),
    Case("report \udcff", "argument 2 is not UTF-8 text", name="a session"),
    # files of settings
    Case("start --config /dev/zero", "--config: /dev/zero is too large: at most 1024 KiB"),
    Case("check --config /dev/zero", "--config: /dev/zero is too large"),
    Case("start --env-file /dev/zero", "--env-file: /dev/zero is too large"),
    Case("start --config .", "--config: . cannot be read: Is a directory"),
    Case("start --config a", "--config: a cannot be read: Too many levels", prepare=loop("a")),
    Case("start --config a", "is not TOML", prepare=text("a", "[" * 100_000), name="deep TOML"),
    Case("start --config a", "is not TOML", prepare=text("a", "watch = [" * 9_000), name="deep 2"),
    Case("simulate --replay /dev/zero", "--replay: /dev/zero is too large"),
    Case("simulate --replay a", NO_PLAN, prepare=text("a", "[" * 100_000), name="deep JSON"),
    Case("simulate --replay a", NO_PLAN, prepare=text("a", "x"), name="a note"),
    Case("simulate --replay none", "--replay: none cannot be read: No such file"),
    # folders
    Case(
        "start --data-dir data",
        "--data-dir: 'data' is below a working directory that is gone; give a full path",
        prepare=directory("gone"),
        shell='cd gone && rmdir ../gone && exec "$@"',
    ),
    Case(
        "sessions --data-dir data",
        "--data-dir: 'data' is below a working directory that is gone",
        prepare=directory("gone"),
        shell='cd gone && rmdir ../gone && exec "$@"',
    ),
    Case(HERE, "data cannot be written to (", prepare=loop("data"), name="a directory that loops"),
    Case(HERE, "has no shared memory for SQLite (No such device)", first=NO_SHARED_MEMORY),
    # the store
    *(
        Case(f"{command} --data-dir data", said, code, prepare, name=f"{command}, {what}")
        for command, code in (("start", 2), ("sessions", 1), ("rooms --json", 1), ("report", 1))
        for what, prepare, said in (
            ("a store that is a directory", directory(f"data/{FILE}"), f"data/{FILE}"),
            ("a store that links to itself", loop(f"data/{FILE}"), f"data/{FILE}"),
        )
    ),
    Case(HERE, "data/lock", prepare=loop("data/lock"), name="a lock that links to itself"),
    Case(HERE, "data/lock", prepare=directory("data/lock"), name="a lock that is a directory"),
    # limits
    Case("start", NO_ROOM, shell='ulimit -n 20; exec "$@"'),
    Case("demo", NO_ROOM, shell='ulimit -n 20; exec "$@"'),
    Case("start", NO_ROOM.replace("20,", "12,"), shell='ulimit -n 12; exec "$@"'),
    # what is our own fault
    Case(
        "sessions",
        "bridge/config/setting_sources.py:",
        1,
        first="import os; from bridge.config import settings; settings.TABLE = (None,)",
        name="a bug",
    ),
)  # fmt: skip


def call(case: Case, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    case.prepare(folder)
    program = f"{case.first}\nimport sys, bridge.cli\nsys.exit(bridge.cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *map(os.fsencode, case.args.split())]
    variables = {**KEYS, "XDG_DATA_HOME": str(folder / "home"), "ROOM_ACTORS_HTTP": "off", **env}
    return subprocess.run(
        ["sh", "-c", case.shell, "sh", *command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=folder,
        timeout=60,
        env=clean_environment({"PYTHONSAFEPATH": "1", **variables}),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_cannot_work_is_one_line_and_an_exit_code(case: Case, tmp_path: Path) -> None:
    done = call(case, tmp_path)
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    if case.said:
        (line,) = [line for line in lines if line.startswith("room-actors: ")]
        assert case.said in line
        assert line.isprintable()
    assert len(lines) == bool(case.said), done.stderr
    assert done.returncode == case.code


@pytest.mark.parametrize("limit", [12, 20])
def test_check_with_too_few_open_files_says_how_many(limit: int, tmp_path: Path) -> None:
    done = call(Case("check", "", 1, shell=f'ulimit -n {limit}; exec "$@"'), tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "open-file limit" in line
    assert "raise it: ulimit -n 304 or more" in line
    assert "not tried: fix 'open-file limit' first" in done.stdout


def test_check_names_a_file_system_without_shared_memory(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
    case = Case("check --json", "", 1, first=NO_SHARED_MEMORY)
    done = call(case, tmp_path, LIVEKIT_URL=url)
    assert "Traceback" not in done.stderr
    (found,) = [row for row in json.loads(done.stdout)["checks"] if row["name"] == "data directory"]
    assert found["status"] == "failed"
    assert found["found"].endswith("has no shared memory for SQLite: No such device")
