"""`sessions`, `rooms` and `report`, on the store of a worker that runs or is gone."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.journal.session_filters import FILTERS
from actors.session import (
    ParticipantInfo,
    ParticipantJoined,
    TrackInfo,
    TrackPublished,
    WebhookEgress,
)
from bridge.cli import main, reading
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from tests.cli.conftest import RunCommand, clean_environment
from tests.cli.terminal import in_a_terminal
from tests.store.stored_history import History

HOSTILE = (
    '=HYPERLINK("http://evil","x")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "  =1",
    "\uff1d1",
    "\x1b[31mred\x1b]0;title\x07",
    "two\nlines\r\tand\x7f",
    "\u202eright to left",
    "<script>alert(1)</script>",
    'a,"b";c',
    "x" * 5_000,
)
OBEYED = ("\x1b", "\x07", "\x7f", "\r", "\u202e")
"""Patterns that no output may contain."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data" / "room-actors"


@pytest.fixture
def room_actors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunCommand:
    """Replaces the fixture of that name, but in this process: it starts nothing that would stay."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in [name for name in os.environ if name.startswith("ROOM_ACTORS_")]:
                patch.delenv(name)
            for name, value in {"XDG_DATA_HOME": str(tmp_path / "data"), **env}.items():
                patch.setenv(name, value)
            capsys.readouterr()
            code = main(args)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, said.out, said.err)

    return run


def fill(data_dir: Path, *, sessions: int = 3, people: tuple[str, ...] = ("alice", "bob")) -> None:
    """`room-0` the oldest; the last one is live."""
    history = History(time.time() - 1_000.0)

    async def write() -> None:
        async with open_store(data_dir, instance="w") as archive:
            for number in range(sessions):
                journal = history.begin(f"room-{number}", f"RM_{number}", *people)
                history.talk(journal, 2, people[0])
                if number < sessions - 1:
                    journal.end(history.now, "room_closed")
            await history.write_to(archive)

    trio.run(write)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("room-actors: ")
    return line


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


REPORT_PARTS = ("Timeline", "People", "Tracks", "Events")
COMMANDS = ("sessions", "rooms", "report")

# ---------------------------------------------------------------- lists


def test_sessions_as_json_are_one_page(data_dir: Path, room_actors: RunCommand) -> None:
    fill(data_dir)
    done = room_actors("sessions", "--json", "--limit", "2")
    assert done.returncode == 0
    page = json.loads(done.stdout)
    assert done.stderr == f"older ones are left out: --cursor {page['next']} goes on there\n"
    assert page.keys() == {"sessions", "next"}
    assert [row["id"] for row in page["sessions"]] == ["RM_2", "RM_1"]
    assert [row["status"] for row in page["sessions"]] == ["active", "ended"]
    assert not page["sessions"][0].keys() & {"participants", "tracks", "timeline"}
    rest = json.loads(room_actors("sessions", "--json", "--cursor", page["next"]).stdout)
    assert ([row["id"] for row in rest["sessions"]], rest["next"]) == (["RM_0"], None)


def test_sessions_as_a_table_say_how_to_see_older_ones(
    data_dir: Path, room_actors: RunCommand
) -> None:
    fill(data_dir)
    limited = room_actors("sessions", "--limit", "1")
    lines = limited.stdout.splitlines()
    assert lines[0].split()[:3] == ["session", "room", "status"]
    assert lines[1].split()[:3] == ["RM_2", "room-2", "active"]
    assert limited.stderr.startswith("older ones are left out: --cursor ")
    chosen = room_actors("sessions", "--room", "room-[01]", "--person", "bob").stdout
    assert [line.split()[0] for line in chosen.splitlines()] == ["session", "RM_1", "RM_0"]
    assert room_actors("sessions", "--room", "nothing").stdout == "none\n"


def test_sessions_as_csv_have_a_column_for_each_number(
    data_dir: Path, room_actors: RunCommand
) -> None:
    fill(data_dir)
    rows = rows_of(room_actors("sessions", "--csv").stdout)
    assert [row["id"] for row in rows] == ["RM_2", "RM_1", "RM_0"]
    ended = rows[1]
    assert (ended["end_reason"], ended["people_unique"], ended["data_messages"]) == (
        "room_closed", "2", "2",
    )  # fmt: skip
    assert ended["quality_poor"] == "0.0"
    assert rows[0]["ended_at"] == ""


def test_a_list_without_a_limit_is_whole_in_every_form(
    data_dir: Path, room_actors: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 3)
    fill(data_dir, sessions=8)
    everything = [f"RM_{number}" for number in reversed(range(8))]
    as_json = room_actors("sessions", "--json")
    page = json.loads(as_json.stdout)
    assert ([row["id"] for row in page["sessions"]], page["next"]) == (everything, None)
    as_csv = room_actors("sessions", "--csv")
    assert [row["id"] for row in rows_of(as_csv.stdout)] == everything
    as_table = room_actors("sessions")
    rows = [line.split()[0] for line in as_table.stdout.splitlines()]
    assert [row for row in rows if row != "session"] == everything
    assert as_json.stderr == as_csv.stderr == as_table.stderr == ""
    limited = json.loads(room_actors("sessions", "--json", "--limit", "7").stdout)
    assert [row["id"] for row in limited["sessions"]] == everything[:7]


def test_the_filters_are_those_of_the_api(data_dir: Path, room_actors: RunCommand) -> None:
    fill(data_dir)
    given = {
        "room": "room-[0-2]", "person": "b*", "status": "ended", "since": "2020-01-01",
        "until": "2100-01-01T00:00:00Z", "people": "2", "quality": "good",
    }  # fmt: skip
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    assert list(given) == [row.name for row in FILTERS]
    assert [row["id"] for row in rows_of(room_actors("sessions", "--csv", *flags).stdout)] == [
        "RM_1",
        "RM_0",
    ]
    live = {**given, "status": "active", "quality": "excellent"}
    flags = [part for name, value in live.items() for part in (f"--{name}", value)]
    for more, found in (((), []), (("--quality", "good"), ["RM_2"]), (("--room", "x"), [])):
        done = room_actors("rooms", "--csv", *flags, *more)
        assert ([row["id"] for row in rows_of(done.stdout)], done.returncode) == (found, 0)
    wrong = room_actors("rooms", "--people", "few")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("room-actors: --people: ")
    wrong = room_actors("sessions", "--since", "yesterday")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "room-actors: --since: give a time such as 2026-01-31T12:00:00Z, "
        "or a date such as 2026-01-31, or an age such as 7d\n"
    )
    wrong = room_actors("sessions", "--until", "7x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("room-actors: --until: ")
    wrong = room_actors("days", "--since", "2026-02-01", "--until", "2026-01-31")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--until is before --since" in wrong.stderr


def test_rooms_are_those_that_are_live_and_a_dead_worker_is_told_of(
    data_dir: Path, room_actors: RunCommand
) -> None:
    fill(data_dir)
    done = room_actors("rooms", "--json")
    assert [row["id"] for row in json.loads(done.stdout)["rooms"]] == ["RM_2"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("no worker runs here: this is as it was when one was last seen, ")
    assert done.returncode == 0


def test_while_a_worker_runs_rooms_are_as_of_now(data_dir: Path, room_actors: RunCommand) -> None:
    history = History(time.time())

    async def look() -> list[subprocess.CompletedProcess[str]]:
        done: list[subprocess.CompletedProcess[str]] = []
        async with open_store(data_dir, instance="w") as archive:
            journal = history.begin("atlas")
            await history.write_to(archive)
            for _ in range(2):
                done.append(await trio.to_thread.run_sync(room_actors, "rooms", "--csv"))
                history.talk(journal)
                await history.write_to(archive)
        return done

    before, after = trio.run(look)
    assert before.stderr == after.stderr == ""
    messages = [rows_of(done.stdout)[0]["data_messages"] for done in (before, after)]
    assert messages == ["0", "1"]


# ---------------------------------------------------------------- report


def test_report_as_json_is_the_whole_session(data_dir: Path, room_actors: RunCommand) -> None:
    fill(data_dir)
    for args, expected in (((), "RM_2"), (("RM_1",), "RM_1"), (("room-0",), "RM_0")):
        done = room_actors("report", *args, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        session = json.loads(done.stdout)
        assert session["id"] == expected
        assert [person["identity"] for person in session["participants"]] == ["alice", "bob"]
        assert len(session["tracks"]) == 2
        assert session["timeline"][0]["event"] == "session_started"


def test_report_as_csv_is_who_was_there(data_dir: Path, room_actors: RunCommand) -> None:
    fill(data_dir)
    rows = rows_of(room_actors("report", "RM_0", "--csv").stdout)
    assert [row["identity"] for row in rows] == ["alice", "bob"]
    assert rows[0]["joins"] == "1"
    assert rows[0]["first_joined_at"].endswith("Z")
    assert float(rows[0]["seconds"]) > 0


def test_report_for_people_has_all_parts(data_dir: Path, room_actors: RunCommand) -> None:
    fill(data_dir)
    text = room_actors("report", "RM_1").stdout
    assert text.startswith("Session   RM_1 of room room-1\nStatus    room_closed\n")
    parts = [line for line in text.splitlines() if line in REPORT_PARTS]
    assert parts == list(REPORT_PARTS)
    assert "data_message" in text


def test_a_report_says_who_is_whom_and_who_called_whom_where_it_is_known(
    data_dir: Path, room_actors: RunCommand
) -> None:
    history = History(time.time() - 1_000.0)

    async def write() -> None:
        async with open_store(data_dir, instance="w") as archive:
            history.begin("lobby", "RM_1", "alice")
            history.person_key = "attributes.user_id"
            history.call(history.begin("support", "RM_2", "alice"))
            await history.write_to(archive)

    trio.run(write)
    plain, support = (room_actors("report", one).stdout for one in ("RM_1", "RM_2"))
    headings = next(line for line in plain.splitlines() if line.startswith("identity "))
    assert "person" not in headings
    assert "call" not in headings
    assert re.search("^identity +person +name .* call *$", support, re.MULTILINE)
    assert re.search(r"^sip_1 +caller 7 .*\+49301234 to \+4930999 *$", support, re.MULTILINE)


def test_an_encrypted_session_has_no_number_of_messages_in_any_form(
    data_dir: Path, room_actors: RunCommand
) -> None:
    history = History(time.time() - 1_000.0)

    async def write() -> None:
        async with open_store(data_dir, instance="w") as archive:
            journal = history.begin("vault", "RM_1", "alice")
            at = history.now
            hidden = TrackInfo("TR_2", "video", "camera", encrypted=True)
            journal.record(TrackPublished(at + 1, "alice", hidden))
            journal.record(
                WebhookEgress(
                    at + 2, at + 2, "EG_1", "track", "failed", at, at, "no space", None, at
                )
            )
            journal.end(at + 5, "room_closed")
            await history.write_to(archive)

    trio.run(write)
    text = room_actors("report", "RM_1").stdout
    assert "Messages  unknown: the room is encrypted end to end\n" in text
    assert "Recordings\n" in text
    assert "no space" in text
    (row,) = rows_of(room_actors("sessions", "--csv").stdout)
    assert (row["data_messages"], row["attachments"], row["encrypted"]) == ("", "", "True")
    assert row["recordings"] == "1"
    (alice,) = rows_of(room_actors("report", "RM_1", "--csv").stdout)
    assert alice["data_messages"] == ""
    assert json.loads(room_actors("report", "RM_1", "--json").stdout)["data_messages"] is None
    assert "vault" in room_actors("sessions").stdout


def test_an_unknown_session_is_one_line_that_says_what_there_is(
    data_dir: Path, room_actors: RunCommand
) -> None:
    fill(data_dir)
    line = only_line(room_actors("report", "no\x1bthing"))
    assert (
        r"no session or room 'no\x1bthing' is kept; there are 3, the newest: room-2 (RM_2)" in line
    )


# ---------------------------------------------------------------- what is not there


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_store_one_line_says_so(
    command: str, data_dir: Path, room_actors: RunCommand
) -> None:
    line = only_line(room_actors(command))
    assert f"no sessions are kept in {data_dir}" in line
    assert "--data-dir DIR or ROOM_ACTORS_DATA_DIR" in line
    assert not data_dir.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_none_of_ours_is_one_line(
    command: str, data_dir: Path, room_actors: RunCommand
) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / FILE).write_text("not a database" * 100)
    assert str(data_dir / FILE) in only_line(room_actors(command))


@pytest.mark.parametrize(
    "args, said",
    [
        (("sessions", "--json", "--csv"), "--json and --csv: give one of them"),
        (("sessions", "--limit", "0"), "--limit: give a whole number from 1 to 1000000000"),
        (("sessions", "--cursor", "x"), "--cursor: give the `next` of an earlier list"),
        (("report", "a", "b"), "'b' is more than report takes"),
        (("rooms", "a"), "'a' is more than rooms takes"),
        (("rooms", "--data-dir", ""), "--data-dir: '' is not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_one_line(
    args: tuple[str, ...], said: str, data_dir: Path, room_actors: RunCommand
) -> None:
    fill(data_dir)
    done = room_actors(*args)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert said in line


def test_no_key_is_needed_and_the_directory_may_be_named_in_each_way(
    data_dir: Path, tmp_path: Path, room_actors: RunCommand
) -> None:
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere)
    (tmp_path / "ours.toml").write_text(f"data-dir = '{elsewhere}'")
    for done in (
        room_actors("report", "--data-dir", str(elsewhere)),
        room_actors("report", ROOM_ACTORS_DATA_DIR=str(elsewhere)),
        room_actors("report", "--config", "ours.toml"),
    ):
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- hostile


@pytest.fixture
def hostile(data_dir: Path) -> list[str]:
    history = History(time.time())

    async def write() -> None:
        async with open_store(data_dir, instance="w") as archive:
            for number, word in enumerate(HOSTILE):
                journal = history.begin(word, f"RM_{number}", word)
                info = ParticipantInfo("plain", "PA_x", history.now, name=word, metadata=word)
                journal.record(ParticipantJoined(history.now, info))
                history.talk(journal, 1, word)
            await history.write_to(archive)

    trio.run(write)
    return [f"RM_{number}" for number in range(len(HOSTILE))]


def outputs(room_actors: RunCommand, sessions: list[str], *flags: str) -> Iterator[str]:
    for args in (("sessions",), ("rooms",), *(("report", one) for one in sessions)):
        done = room_actors(*args, *flags)
        assert done.returncode == 0, done.stderr
        yield done.stdout


@pytest.mark.parametrize("flags", [(), ("--json",), ("--csv",)])
def test_hostile_names_reach_no_terminal(
    flags: tuple[str, ...], hostile: list[str], room_actors: RunCommand
) -> None:
    for text in outputs(room_actors, hostile, *flags):
        assert not [char for char in OBEYED if char in text]


def test_hostile_names_are_text_to_a_spreadsheet(
    hostile: list[str], room_actors: RunCommand
) -> None:
    for text in outputs(room_actors, hostile[:6], "--csv"):
        for row in rows_of(text):
            for cell in row.values():
                assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\uff1d"))
    rows = rows_of(room_actors("sessions", "--csv").stdout)
    assert rows[-1]["room"] == f"'{HOSTILE[0]}"


def test_hostile_names_are_whole_in_json(hostile: list[str], room_actors: RunCommand) -> None:
    page = json.loads(room_actors("sessions", "--json").stdout)
    assert [row["room"] for row in reversed(page["sessions"])] == list(HOSTILE)


def in_a_process(tmp_path: Path, *args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {"XDG_DATA_HOME": str(tmp_path / "data"), **more.pop("env", {})}
    return subprocess.run(
        [sys.executable, *args], text=True, check=True, cwd=tmp_path, timeout=60,
        env=clean_environment(env), **more,
    )  # fmt: skip


def test_an_encoding_without_the_characters_is_no_traceback(data_dir: Path, tmp_path: Path) -> None:
    fill(data_dir, people=("Zoë", "李雷"))
    done = in_a_process(
        tmp_path, "-m", "bridge.cli", "report",
        capture_output=True, env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stderr == ""
    assert r"\u674e" in done.stdout


def test_in_a_terminal_a_table_is_no_wider_than_it(data_dir: Path, tmp_path: Path) -> None:
    fill(data_dir, people=("a" * 200, "bob"))
    master, slave = pty.openpty()
    try:
        in_a_process(tmp_path, "-m", "bridge.cli", "sessions", stdout=slave, env={"COLUMNS": "80"})
        os.close(slave)
        shown = os.read(master, 1 << 16).decode()
    finally:
        os.close(master)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert "RM_0" in "".join(lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("env, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_in_a_terminal_a_report_has_colours_unless_they_are_not_wanted(
    env: dict[str, str], coloured: bool, data_dir: Path, tmp_path: Path
) -> None:
    fill(data_dir)
    with in_a_terminal(tmp_path, "report", columns=60, env=env) as terminal:
        assert terminal.end() == 0
    assert (b"\x1b[" in terminal.received) == coloured
    assert "  quality" in terminal.text


def test_reading_imports_nothing_heavy(data_dir: Path, tmp_path: Path) -> None:
    fill(data_dir)
    program = (
        "import sys; from bridge.cli import main; main(['report', '--json']);"
        "print(sorted({'trio', 'structlog', 'livekit', 'numpy', 'rich'} & set(sys.modules)),"
        "file=sys.stderr)"
    )
    done = in_a_process(tmp_path, "-c", program, capture_output=True)
    assert done.stderr == "[]\n"
