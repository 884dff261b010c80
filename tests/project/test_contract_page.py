"""docs/contract.md and the program say the same, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from actors.journal.session_filters import FILTERS
from actors.session import EndReason
from actors.session.bounds import OTHER
from actors.session.events import GapReason
from actors.session.timeline_entry import ENTRY_KEYS
from bridge.app import worker_id
from bridge.cli import command, command_line, commands
from bridge.config.settings import KEY_FILE, TABLE
from bridge.http import upload_endpoint
from bridge.http.api.openapi import HEALTH, PATHS, schemas
from bridge.log.wording import line_of
from bridge.outlets import sqlite_outbox
from bridge.store import ban_file, directory_lock, local_journal, schema, text_file
from bridge.uploads import audio_files, span_files

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "contract.md").read_text()
EVERYWHERE: Final = frozenset({"--help", "--version", "--config", "--env-file"})
SETTINGS: Final = [row for row in TABLE if not row.planned]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose head begins with `heading`, without its head."""
    begin = PAGE.index(f"| {heading} |")
    lines = PAGE[begin:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell: str) -> list[str]:
    """The code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def first_names(heading: str) -> list[str]:
    return [names(row[0])[0] for row in rows(heading)]


def test_each_command_stands_on_the_page_once() -> None:
    assert sorted(first_names("command")) == sorted(commands.COMMANDS)


@pytest.mark.parametrize("row", rows("command"), ids=lambda row: row[0])
def test_a_command_has_the_flags_that_the_page_names(
    row: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    named = {flag for flag in names(row[2]) if flag.startswith("--")}
    if "all settings" in row[2]:
        named |= {setting.flag for setting in SETTINGS}
    if "the filters" in row[2]:
        named |= {f"--{filter_.name}" for filter_ in FILTERS}
    assert command_line.run([names(row[0])[0], "--help"]) == 0
    shown = set(re.findall(r"^  (?:-h, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert shown - EVERYWHERE == named


def test_the_filters_are_those_of_the_program() -> None:
    said = PAGE[PAGE.index("**Filters**") : PAGE.index("**Exit codes**")]
    listed = said[said.index("in the API") :].split(".")[0]
    assert [name for name in names(listed) if "=" not in name] == [row.name for row in FILTERS]


def test_the_exit_codes_are_those_of_the_program() -> None:
    said = PAGE[PAGE.index("**Exit codes**") :].split(". ")[0]
    codes = [0, command.FAILED, command.WRONG_USE, command.INTERRUPTED]
    assert [int(code) for code in re.findall(r"\d+", said)] == codes


def test_each_setting_stands_on_the_page_with_its_variable_and_default() -> None:
    on_page = [[names(row[0])[0], names(row[1])[0], row[2]] for row in rows("flag")]
    assert on_page == [
        [row.flag, row.env, "required" if row.required else row.default_text or "none"]
        for row in SETTINGS
    ]


def test_what_is_not_built_yet_is_not_promised() -> None:
    planned = [row for row in TABLE if row.planned]
    assert [row.flag for row in planned if row.flag in PAGE or row.env in PAGE] == []


def test_each_variable_on_the_page_exists() -> None:
    known = {row.env for row in SETTINGS} | {row.env_file for row in SETTINGS if row.in_file}
    launcher = {f"ROOM_ACTORS_{name}" for name in ("PYTHON", "VENV", "TEST_VENV", "LIVEKIT_SERVER")}
    named = set(re.findall(r"\b(?:LIVEKIT|ROOM_ACTORS)_[A-Z_]*[A-Z]", PAGE))
    assert named == known | {KEY_FILE} | launcher


def keys(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Each key that an object always has, and those of what is in it, as `joins[].sid`."""
    schema = schema.get("anyOf", [schema])[0]
    if "$ref" in schema:
        schema = schemas()[schema["$ref"].rpartition("/")[2]]
    if "items" in schema:
        yield from keys(schema["items"], f"{path}[]")
    for name in schema.get("required", ()):
        inner = schema["properties"][name]
        here = f"{path}.{name}" if path else name
        yield here
        yield from keys(inner, here)


def test_each_key_of_a_session_stands_on_the_page_in_its_order() -> None:
    assert first_names("key") == list(keys(schemas()["SessionAnswer"]))


def test_a_list_has_the_keys_that_the_page_leaves_it() -> None:
    whole, row = schemas()["SessionAnswer"]["properties"], schemas()["SessionRow"]["properties"]
    assert whole.keys() - row.keys() == {"participants", "tracks", "timeline", "next"}
    said = " ".join(PAGE.split())
    assert "without `participants`, `tracks`, `timeline` and `next`" in said
    assert PAGE.count(f"`{OTHER}`") == 2


def test_the_reasons_of_ends_and_gaps_are_those_of_the_program() -> None:
    assert set(first_names("reason of an end")) == set(get_args(EndReason))
    assert set(first_names("reason of a gap")) == set(get_args(GapReason))


def test_each_event_of_a_timeline_stands_on_the_page_with_its_keys() -> None:
    on_page = {names(row[0])[0]: tuple(names(row[1])) for row in rows("event")}
    assert on_page == dict(ENTRY_KEYS)


def test_each_address_stands_on_the_page() -> None:
    documented = {
        f"{method.upper()} {path}"
        for path, item in (*PATHS.items(), *HEALTH.items())
        for method in item
    }
    assert set(first_names("address")) == documented | {
        "GET /",
        "POST /livekit/webhook",
        *(f"POST {path}" for path in upload_endpoint.PATHS),
    }


def test_the_files_of_the_data_directory_are_those_of_the_program() -> None:
    assert [name for row in rows("file") for name in names(row[0])] == [
        schema.FILE,
        worker_id.FILE,
        directory_lock.NAME,
        sqlite_outbox.FILE,
        ban_file.FILE,
        text_file.FILE,
        audio_files.FOLDER,
        span_files.FOLDER,
        local_journal.FOLDER,
    ]


_ROOM: Final = {"room": "standup"}
_NUMBERS: Final = {"participants": 2, "tracks": 3, "messages": 0}
MONITORED: Final = {"room": "standup", "identity": "alice"}
EXAMPLES: Final[Sequence[tuple[str, Mapping[str, Any]]]] = (
    ("agent_started", {}),
    ("room_started", _ROOM | {"job_id": "AJ_x"}),
    ("participant_found", _ROOM | {"identity": "alice"}),
    ("participant_connected", _ROOM | {"identity": "bob", "sid": "PA_x"}),
    ("participant_metadata", _ROOM | {"identity": "bob", "metadata": '{"team": "a"}'}),
    (
        "track_published",
        _ROOM | {"identity": "alice", "sid": "TR_x", "kind": "audio", "source": "microphone"},
    ),
    ("track_unpublished", _ROOM | {"identity": "alice", "sid": "TR_x"}),
    ("data_message", _ROOM | {"identity": "alice", "topic": "chat", "size": 7, "format": "json"}),
    ("quality_changed", _ROOM | {"identity": "bob", "sid": "PA_x", "quality": "excellent"}),
    ("room_metadata", _ROOM | {"metadata": '{"topic": "plans"}'}),
    ("participant_disconnected", _ROOM | {"identity": "bob", "reason": "client_initiated"}),
    ("room_status", _ROOM | _NUMBERS | {"duration": 30.0}),
    ("report_started", {}),
    ("report_room", _ROOM | _NUMBERS | {"duration": 60.0, "status": "active"}),
    ("report_ended", {}),
    ("session_ended", _ROOM | {"reason": "room_closed"}),
    ("monitoring_agent_started", {}),
    ("monitor_started", {**MONITORED, "job_id": "AJ_x"}),
    ("monitor_created", MONITORED),
    ("monitored_connected", MONITORED),
    ("monitored_track_published", {**MONITORED, "sid": "TR_x", "kind": "audio"}),
    ("monitored_audio_started", MONITORED),
    ("monitored_speaking", MONITORED),
    ("monitored_silent", MONITORED),
    ("monitored_quality_poor", MONITORED),
    ("monitoring_report", {"active": 1, "speaking": 0, "poor": 0}),
    ("monitored_disconnected", MONITORED),
    ("monitor_ended", MONITORED),
    ("announcement_published", _ROOM | {"track": "TTS Audio"}),
    ("announcement_spoken", _ROOM | {"text": "This room is recorded.", "by": "api"}),
    ("announcement_ended", _ROOM),
    (
        "monitoring_summary",
        {
            "participants": [
                {
                    "identity": "alice",
                    "duration": 60.0,
                    "speaking": 3.4,
                    "tracks": 1,
                    "quality": "excellent",
                }
            ]
        },
    ),
    ("final_summary", _NUMBERS | {"rooms": 1, "duration": 60.0}),
    ("agent_stopped", {}),
)


def test_the_lines_of_the_log_read_as_on_the_page() -> None:
    block = PAGE[PAGE.index("## Log") :].split("```\n")[1]
    assert block == "".join(f"{line_of(event, 'info', data)}\n" for event, data in EXAMPLES)
