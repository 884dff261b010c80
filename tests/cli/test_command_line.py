"""The outputs and exit codes of the command line, in a process of its own."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from bridge.config.machine import rooms_for_descriptors
from bridge.lab.server import PrivateServer
from tests.cli.conftest import RunCommand, clean_environment

KEYS = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-long-secret-word"}
COMMANDS = ("demo", "start", "check")


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that was used wrongly."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("room-actors: ")
    assert line.isprintable()
    return line


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_without_a_command_the_commands_are_shown(
    args: tuple[str, ...], room_actors: RunCommand
) -> None:
    done = room_actors(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "args", [("--version",), *((command, "--version") for command in COMMANDS)]
)
def test_the_version_is_told_everywhere(args: tuple[str, ...], room_actors: RunCommand) -> None:
    done = room_actors(*args)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"room-actors {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_that_lists_its_flags(
    command: str, room_actors: RunCommand
) -> None:
    done = room_actors(command, "--help", "--no-such-flag")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = ("--rooms", "--seed") if command == "demo" else ("--url", "LIVEKIT_URL", "--watch")
    assert all(word in done.stdout for word in wanted)


def test_nothing_heavy_is_imported_before_a_command_needs_it(tmp_path: Path) -> None:
    program = (
        "import sys; from bridge.cli import main; main(['start', '--help-me']);"
        "print(sorted({'trio', 'structlog', 'livekit', 'numpy', 'rich'} & set(sys.modules)));"
        "print(len(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=clean_environment({}),
    )  # fmt: skip
    heavy, modules = done.stdout.splitlines()
    assert heavy == "[]"
    assert int(modules) < 300, "help within a second is promised: 250 modules take 0.2 s"


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("strat",), "'strat' is no command; did you mean start?"),
    (("no\x1b[31m",), r"'no\x1b[31m' is no command"),
    (("--url", "ws://a"), "--url must come after a command"),
    (("start", "--max-room", "3"), "unknown flag --max-room; did you mean --max-rooms?"),
    (("start", "--max-rooms"), "--max-rooms needs a value"),
    (("start", "extra"), "'extra' is more than start takes"),
    (("check", "--json=yes"), "--json takes no value"),
    (("start", "--max-rooms", "9" * 5_000), "is out of range; give 1 to 5000"),
    (("outbox", "no\x1b[m"), r"outbox: 'no\x1b[m' is none of list, retry, test, enable"),
    (("check", "--jsn"), "unknown flag --jsn; did you mean --json?"),
    (("demo", "--room", "3"), "unknown flag --room; did you mean --rooms?"),
    (("demo", "--rooms", "none"), "--rooms: 'none' is not a whole number"),
    (("demo", "--seconds", "0"), "--seconds: '0' is out of range"),
    (("start", "--url", "localhost:7880"), "you may mean ws://localhost:7880"),
    (("start", "--url", "ws://ho\nst"), "blanks"),
    (("start", "--status-every", "soon"), "--status-every: 'soon' is not a duration"),
    (("start", "--log-format", "xml"), "--log-format: 'xml' is not known; give text or json"),
    (("start", "--max-rooms", "0"), "--max-rooms: '0' is out of range"),
    (("start", "--http", "0.0.0.0:8088"), "set it by --http-token TOKEN or ROOM_ACTORS_HTTP_TOKEN"),
    (("start", "--http", "8088"), "--http: '8088' is not an address"),
    (("start", "--visible=maybe"), "--visible: 'maybe' is neither on nor off"),
    (("start", "--config", "none.toml"), "--config: none.toml cannot be read"),
    (("check", "--config", "none.toml"), "--config: none.toml cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize("args, said", WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong_use_is_one_line_that_says_what_is_right(
    args: tuple[str, ...], said: str, room_actors: RunCommand
) -> None:
    assert said in only_line(room_actors(*args, **KEYS))


def test_a_missing_key_or_secret_is_named_with_the_ways_to_set_it(room_actors: RunCommand) -> None:
    both = only_line(room_actors("start"))
    for word in ("--api-key", "--api-secret", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "--config"):
        assert word in both
    secret = only_line(room_actors("start", "--api-key", "k"))
    assert "--api-secret is missing; set it by --api-secret SECRET or LIVEKIT_API_SECRET" in secret
    key = only_line(room_actors("start", LIVEKIT_API_SECRET="s", LIVEKIT_API_KEY=""))
    assert "--api-key is missing" in key


def test_the_value_behind_a_misspelled_flag_is_not_repeated(room_actors: RunCommand) -> None:
    for args in (("--api-secrt", "hunter2"), ("--api-secrt=hunter2",)):
        line = only_line(room_actors("start", *args))
        assert "unknown flag --api-secrt; did you mean --api-secret?" in line
        assert "hunter2" not in line


def test_an_unknown_variable_of_ours_is_named(room_actors: RunCommand) -> None:
    line = only_line(room_actors("start", ROOM_ACTORS_WACH="*", **KEYS))
    assert "ROOM_ACTORS_WACH is no setting; did you mean ROOM_ACTORS_WATCH?" in line


def test_a_data_directory_that_cannot_be_written_to_is_refused(
    room_actors: RunCommand, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for path in ("file", "file/below"):
        line = only_line(room_actors("start", "--data-dir", str(tmp_path / path), **KEYS))
        assert f"--data-dir: {tmp_path / path} cannot be written to" in line
        assert "ROOM_ACTORS_DATA_DIR" in line


def test_a_port_that_is_taken_is_refused(room_actors: RunCommand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = only_line(room_actors("start", "--http", address, **KEYS))
    assert f"--http: cannot listen on {address}: port is taken by another program" in line
    assert "ROOM_ACTORS_HTTP" in line


def test_a_wrong_file_is_named_with_its_key(room_actors: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text("max-rooms = 'many'\n")
    line = only_line(room_actors("start", "--config", "ours.toml", **KEYS))
    assert "max-rooms in ours.toml: 'many' is not a whole number; give 1 to 5000" in line


def test_a_reader_that_has_seen_enough_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", "--help"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        cwd=tmp_path, env=clean_environment({}),
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


# ---------------------------------------------------------------- start


def refused_start(server: PrivateServer, room_actors: RunCommand, *args: str) -> list[str]:
    """The lines of a worker that the server does not take: it ends at once."""
    wrong = "not-the-secret-of-this-server-at-all"
    env = {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": wrong,
        "ROOM_ACTORS_HTTP": "127.0.0.1:0",
    }
    done = room_actors("start", *args, **env)
    assert done.returncode == 2
    assert wrong not in done.stderr
    assert "eyJ" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_a_wrong_secret_ends_start_with_what_to_do(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    lines = refused_start(livekit_server, room_actors)
    assert lines[0].endswith("Starting room analytics agent...")
    assert lines[-1].startswith("room-actors: the API secret does not belong to this API key")
    assert "LIVEKIT_API_SECRET" in lines[-1]


def test_start_warns_of_what_it_does_not_refuse(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    lines = refused_start(livekit_server, room_actors, "--agent-name", "")
    assert "WARNING --agent-name is empty" in lines[0]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and rooms_for_descriptors(hard) < 5000:
        lines = refused_start(livekit_server, room_actors, "--max-rooms", "5000")
        assert "WARNING --max-rooms lowered from 5000 to" in lines[0]
        assert "ulimit -n" in lines[0]


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    program = (
        "import resource as r; from bridge.config import machine\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (200, 700))\n"
        "print(machine.raise_descriptor_limit(), r.getrlimit(r.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=clean_environment({}),
    )  # fmt: skip
    assert done.stdout == "700 (700, 700)\n"


def test_where_the_system_grants_no_more_open_files_rooms_are_fewer() -> None:
    program = (
        "import resource as r; from bridge.config import machine\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (200, 700))\n"
        "def refuse(which, limits): raise PermissionError(1, 'Operation not permitted')\n"
        "r.setrlimit = refuse\n"
        "print(machine.raise_descriptor_limit(), machine.descriptor_limit())\n"
        "print(machine.rooms_for_descriptors(machine.descriptor_limit()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=clean_environment({}),
    )  # fmt: skip
    assert done.stdout == "200 200\n11\n"
