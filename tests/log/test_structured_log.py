"""The line of the log for each event, and what the log never writes or does."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from attrs import frozen

from actors.session.texts import MAX_ENTRY_TEXT, cut_text
from actors.session.time_text import rfc3339
from actors.session.timeline_entry import ENTRY_KEYS, TimelineEntry
from bridge.log.sink import BUFFER_LIMIT, Sink
from bridge.log.structured_log import configure_logging, log_entry
from bridge.log.wording import ROOM_LINES, SESSION_LINES, TEMPLATES, WORKER_LINES, line_of

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6e30.c2lnbmF0dXJl"
SECRET = "a-long-secret-word"
STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
HOSTILE = "eve\n2026/01/01 00:00:00 Agent stopped\r\x1b[2J\u202e\u2028\x85" + "x" * 5000


@frozen
class LogSettings:
    log_format: str = "text"
    log_level: str = "info"
    log_payloads: bool = False
    secrets: tuple[str, ...] = (SECRET,)


class Logged:
    """A log written to a file, and what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = structlog.get_logger()

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().split("\n")[:-1]

    @property
    def texts(self) -> list[str]:
        """The lines without their time, which each of them has."""
        assert all(STAMP.match(line) for line in self.lines)
        return [line[20:] for line in self.lines]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@contextmanager
def whole_logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, warnings.showwarning, warnings.filters[:]
    hooks = threading.excepthook, sys.unraisablehook
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        root.handlers[:], warnings.showwarning = before[0], before[2]
        root.setLevel(before[1])
        cast("list[Any]", warnings.filters)[:] = before[3]
        logging.getLogger("livekit").setLevel(logging.NOTSET)
        threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[..., Logged]]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)

    def start(**settings: Any) -> Logged:
        configure_logging(LogSettings(**settings), fd=fd)
        return Logged(path)

    with whole_logging_restored():
        yield start
    os.close(fd)


ROOM = {"room": "standup", "room_sid": "RM_1", "job_id": "AJ_1"}
ALICE: dict[str, Any] = {"identity": "alice", "sid": "PA_1", "kind": "standard", "name": "Alice"}
NUMBERS = {"participants": 2, "tracks": 3, "messages": 0, "duration": 60.2}

LINES: list[tuple[str, dict[str, Any], str]] = [
    ("agent_started", {}, "Starting room analytics agent..."),
    ("room_started", ROOM, "Starting analytics for room: standup (Job ID: AJ_1)"),
    ("participant_found", {**ALICE, "joined_at": 1.0}, "Found existing participant: alice"),
    ("participant_connected", ALICE, "Participant connected: alice (SID: PA_1)"),
    (
        "participant_metadata",
        {"identity": "alice", "metadata": '{ "team":\n"a" }'},
        'Participant metadata: {"team": "a"}',
    ),
    (
        "participant_metadata",
        {"identity": "alice", "metadata": "zoë's"},
        "Participant metadata of alice is not JSON: 6 bytes",
    ),
    (
        "participant_metadata",
        {"identity": "alice", "metadata": cut_text('{"a":"' + 62_000 * "x" + '"}', MAX_ENTRY_TEXT)},
        "Participant metadata of alice is too long to show: 62008 bytes",
    ),
    (
        "participant_metadata",
        {"identity": "alice", "metadata": ""},
        "Participant metadata cleared: alice",
    ),
    (
        "track_published",
        {"identity": "alice", "sid": "TR_1", "kind": "audio", "source": "microphone"},
        "Track published: microphone audio by alice (SID: TR_1)",
    ),
    ("track_unpublished", {"identity": "alice", "sid": "TR_1"}, "Track unpublished: TR_1 by alice"),
    (
        "data_message",
        {"identity": "alice", "topic": "chat", "size": 7, "format": "json"},
        "Data message from alice: 7 bytes of JSON, topic=chat",
    ),
    (
        "data_message",
        {"identity": None, "topic": "", "size": 2, "format": "text"},
        "Data message from (unknown): 2 bytes of text",
    ),
    (
        "quality_changed",
        {"identity": "alice", "sid": "PA_1", "quality": "excellent"},
        "Connection quality changed for PA_1: excellent",
    ),
    ("room_metadata", {"metadata": "planning"}, "Room metadata changed: planning"),
    ("room_metadata", {"metadata": '{"a":1}'}, 'Room metadata changed: {"a": 1}'),
    ("participant_disconnected", ALICE, "Participant disconnected: alice"),
    (
        "room_status",
        {**ROOM, **NUMBERS, "duration": 30.1},
        "Room status - Name: standup, Participants: 2, Tracks: 3, Messages: 0, Duration: 30s",
    ),
    ("report_started", {}, "=== Analytics Report ==="),
    (
        "report_room",
        {**ROOM, **NUMBERS, "status": "active"},
        "Room: standup (active) - Participants: 2, Tracks: 3, Messages: 0, Duration: 1m0s",
    ),
    ("report_ended", {}, "======================="),
    (
        "session_ended",
        {**ROOM, "reason": "room_closed"},
        "Analytics session ended for room: standup",
    ),
    (
        "final_summary",
        {"rooms": 1, "participants": 2, "tracks": 3, "messages": 4, "duration": 60.2},
        """\
=== Final Summary ===
Total rooms monitored: 1
Total participants: 2
Total tracks: 3
Total data messages: 4
Total monitoring time: 1m0s
====================""",
    ),
    ("agent_stopped", {}, "Agent stopped"),
    ("track_subscribed", {"sid": "TR_1"}, "Successfully subscribed to track: TR_1"),
    ("speakers_changed", {"identities": ("alice", "bob")}, "Active speakers: alice, bob"),
    ("speakers_changed", {"identities": ()}, "Active speakers: nobody"),
    (
        "participant_attributes",
        {"identity": "alice", "changed": {"hand": "up", "note": "a b"}},
        'Participant attributes changed: alice hand=up note="a b"',
    ),
    (
        "participant_permissions",
        {"identity": "alice", "can_publish": True, "can_subscribe": True, "sources": ("camera",)},
        "Participant permissions changed: alice may publish, subscribe (only camera)",
    ),
    (
        "participant_permissions",
        {"identity": "alice", "can_publish": False, "sources": ("camera",)},
        "Participant permissions changed: alice may do nothing",
    ),
    (
        "attachment",
        {"identity": "alice", "topic": "lk.chat", "size": 7},
        "Attachment from alice: 7 bytes, topic=lk.chat",
    ),
    ("room_recording", {"active": True}, "Room is being recorded"),
    ("room_recording", {"active": False}, "Room is no longer being recorded"),
    (
        "recording_ended",
        {"id": "EG_1", "kind": "track", "status": "failed", "error": "no space"},
        'Recording ended: track (EG_1) failed, error="no space"',
    ),
    (
        "room_status",
        {**ROOM, **NUMBERS, "messages": None},
        (
            "Room status - Name: standup, Participants: 2, Tracks: 3, Messages: unknown, "
            "Duration: 1m0s"
        ),
    ),
    ("reconnected", {**ROOM, "gap": 3.25}, "Reconnected to room: standup (after 3.25 s)"),
    (
        "worker_registered",
        {"worker_id": "AW_1", "jobs": 0},
        "worker_registered worker_id=AW_1 jobs=0",
    ),
]


@pytest.mark.parametrize("event, fields, line", LINES)
def test_an_event_reads_as_it_always_did(event: str, fields: dict[str, Any], line: str) -> None:
    assert line_of(event, "info", fields) == line


@pytest.mark.parametrize(
    "event, fields, line",
    [
        (
            "participant_connected",
            {**ALICE, **ROOM, "room": "team 1"},
            'Participant connected: alice (SID: PA_1) room="team 1"',
        ),
        (
            "participant_disconnected",
            {**ALICE, **ROOM, "reason": "client_initiated"},
            "Participant disconnected: alice room=standup reason=client_initiated",
        ),
        (
            "participant_disconnected",
            {**ALICE, **ROOM, "reason": None},
            "Participant disconnected: alice room=standup",
        ),
        ("room_metadata", {**ROOM, "metadata": "a"}, "Room metadata changed: a room=standup"),
        (
            "session_started",
            {**ROOM, "existing": 0},
            "Session started for room: standup (SID: RM_1)",
        ),
    ],
)
def test_a_line_of_a_session_says_which_room_it_is_of(
    event: str, fields: dict[str, Any], line: str
) -> None:
    assert line_of(event, "info", fields) == line


def test_every_line_of_a_session_names_its_room_once() -> None:
    for event in SESSION_LINES:
        assert line_of(event, "info", {**ALICE, **ROOM, "room": "lobby"}).count("lobby") == 1


def test_every_entry_of_a_session_has_a_template() -> None:
    assert set(SESSION_LINES) == set(ENTRY_KEYS)


def test_an_entry_of_a_session_and_a_line_of_the_program_never_have_one_name() -> None:
    assert not ROOM_LINES.keys() & WORKER_LINES.keys()


@pytest.mark.parametrize("event", [*TEMPLATES, "anything_else"])
@pytest.mark.parametrize("value", [HOSTILE, None, 7, {HOSTILE: HOSTILE}, [HOSTILE]])
def test_no_field_of_no_event_can_forge_a_line(
    event: str, value: object, logged: Callable[..., Logged]
) -> None:
    keys = {key for row in ENTRY_KEYS.values() for key in row} | {"room", "job_id", "status"}
    fields = dict.fromkeys(keys, value)
    if event == "final_summary" or "duration" in str(TEMPLATES.get(event)):
        fields = {"room": value, "status": value}
    log = logged(log_payloads=True)
    log.log.warning(event, **fields)
    texts = log.texts
    assert len(texts) == {"final_summary": 7, "monitoring_summary": 2}.get(event, 1)
    assert all(text.isprintable() for text in texts)
    assert not any(text == "Agent stopped" for text in texts if event != "agent_stopped")
    assert all(len(text) < 80_000 for text in texts)


def test_warnings_without_a_template_say_that_they_are(logged: Callable[..., Logged]) -> None:
    log = logged()
    log.log.warning("worker_disconnected", error="no route", retry_in=1.25, room=None)
    log.log.error("room_failed")
    log.log.debug("too_small_to_tell")
    assert log.texts == [
        'WARNING worker_disconnected error="no route" retry_in=1.25',
        "ERROR room_failed",
    ]


def test_entries_and_reports_are_logged_with_their_room(logged: Callable[..., Logged]) -> None:
    log = logged(log_format="json")
    log_entry(
        log.log, TimelineEntry(1.5, "participant_connected", {**ALICE, "joined_at": 1.0}), **ROOM
    )
    log_entry(log.log, TimelineEntry(1.5, "speakers_changed", {"identities": ()}), **ROOM)
    log.log.info("report_started")
    log.log.info("report_room", **{**ROOM, **NUMBERS, "status": "active"})
    log.log.info("report_ended")
    joined, *report = log.objects
    time_of_line = joined.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time_of_line)
    assert list(joined)[:6] == ["level", "event", "room", "room_sid", "job_id", "identity"]
    assert joined["at"] == "1970-01-01T00:00:01.500Z"
    assert joined["joined_at"] == "1970-01-01T00:00:01.000Z"
    assert [row["event"] for row in report] == ["report_started", "report_room", "report_ended"]
    assert report[1]["duration"] == 60.2


def test_times_that_cannot_be_are_null() -> None:
    assert rfc3339(1e30) is None
    assert rfc3339(float("nan")) is None


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_payloads_are_logged_only_on_demand(log_format: str, logged: Callable[..., Logged]) -> None:
    message = {
        "identity": "alice",
        "topic": "chat",
        "size": 9,
        "format": "json",
        "content": '{"pin":9}',
    }
    logged(log_format=log_format).log.info("data_message", **message)
    log = logged(log_format=log_format, log_payloads=True)
    log.log.info("data_message", **message)
    without, with_payload = log.lines
    assert "pin" not in without
    assert "pin" in with_payload
    if log_format == "text":
        assert with_payload.endswith('Data message from alice: {"pin": 9}')


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_json_and_text_survive_whatever_is_logged(
    log_format: str, logged: Callable[..., Logged]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    cycle: list[Any] = []
    cycle.append(cycle)
    odd = [HOSTILE, "\ud800", "\x7f", b"ab", float("nan"), {1: {2: 3}}, cycle, Path("/x"), 10**400]
    log = logged(log_format=log_format)
    for value in odd:
        log.log.info("odd", value=value)
    log.log.info("odd", value=Broken())
    assert len(log.lines) == len(odd) + 1
    assert "log_event_failed" in log.lines[-1]
    if log_format == "json":
        assert all(line.isascii() and line.isprintable() for line in log.lines)
        values: list[Any] = [row.get("value") for row in log.objects]
        assert values[0].endswith("characters)")
        assert values[3:5] == ["2 bytes", None]


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_and_no_token_reaches_the_log(
    log_format: str, logged: Callable[..., Logged]
) -> None:
    log = logged(log_format=log_format)
    logged_text = f"event {SECRET} {TOKEN}"
    log.log.info(logged_text)
    log.log.warning("worker_rejected", error=ValueError(f"invalid token: {TOKEN}, {SECRET}"))
    log.log.warning("nested", value={"deep": [SECRET, {TOKEN: TOKEN}]}, token="anything-secret")
    log.log.info("participant_metadata", identity="alice", metadata=json.dumps({"t": TOKEN}))
    logging.getLogger("livekit").error("failed with %s", TOKEN)
    try:
        raise ConnectionError(f"401 invalid token: {TOKEN} {SECRET}")
    except ConnectionError:
        log.log.exception("room_failed")
        logging.getLogger("somebody").exception("failed")
    text = log.path.read_text()
    assert "eyJ" not in text
    assert SECRET not in text
    assert "anything-secret" not in text
    assert text.count("<token>") >= 8
    assert "ConnectionError" in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_short_secret_is_taken_out_where_it_stands_as_a_word(
    log_format: str, logged: Callable[..., Logged]
) -> None:
    log = logged(log_format=log_format, secrets=("secret", "started", "p4"))
    log.log.info("started", url="ws://devkey:secret@host", said=["secret", {"p4": "p4,secret."}])
    log.log.info("secret_words", about="secretary p42", took=3)
    text = log.path.read_text()
    assert text.count("<secret>") == 5
    assert "secretary p42" in text
    if log_format == "json":
        assert [line["event"] for line in log.objects] == ["started", "secret_words"]


# ---------------------------------------------------------------- others that log


def test_libraries_are_heard_from_warning_upwards(logged: Callable[..., Logged]) -> None:
    log = logged()
    logging.getLogger("livekit").info("ignoring text stream")
    logging.getLogger().info("ignoring text stream with topic")
    logging.getLogger("httpx2").warning("slow %s", "answer\nforged")
    logging.getLogger("asyncio").error("bad %d", "arguments")
    assert log.texts == [
        r'WARNING library_log logger=httpx2 message="slow answer\nforged"',
        'ERROR library_log logger=asyncio message="bad %d"',
    ]


def test_a_livekit_sdk_that_sets_its_own_level_is_not_heard_more(
    logged: Callable[..., Logged],
) -> None:
    log = logged()
    logging.getLogger("livekit").setLevel(logging.DEBUG)
    logging.getLogger("livekit").info("chatter")
    assert log.lines == []


def test_threads_and_finalizers_that_fail_are_told_in_the_log(
    logged: Callable[..., Logged],
) -> None:
    log = logged(log_format="json")

    def fail() -> None:
        raise RuntimeError("boom")

    thread = threading.Thread(target=fail, name="worker-7")
    thread.start()
    thread.join()
    (row,) = log.objects
    assert (row["event"], row["thread"], row["error"]) == (
        "thread_failed", "worker-7", "RuntimeError: boom",
    )  # fmt: skip


def test_no_line_of_a_traceback_looks_like_a_line_of_the_log(
    logged: Callable[..., Logged],
) -> None:
    log = logged()
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        log.log.exception("handler_failed")
    first, *trace = log.lines
    assert first.endswith("ERROR handler_failed")
    assert len(trace) > 3
    assert all(line.startswith("    | ") and line.isprintable() for line in trace)


# ---------------------------------------------------------------- the reader's side


def test_a_reader_that_is_gone_ends_the_log_not_the_worker() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    sink.write("one")
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    for _ in range(3):
        sink.write("two")
    assert sink.waiting == 0
    assert sink.flush(1.0)
    os.close(writer)


def test_a_reader_that_does_not_read_never_blocks_and_loses_only_what_is_over_the_bound() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer, limit=100_000, lost_line=lambda count: f"lost {count}")
    for number in range(3000):
        sink.write(f"{number:04} " + "x" * 95)
    assert 0 < sink.waiting <= 100_000
    lost = sink.lost
    assert lost > 0
    assert not sink.flush(0.05)
    read: list[bytes] = []

    def drain() -> None:
        while data := os.read(reader, 65536):
            read.append(data)

    thread = threading.Thread(target=drain)
    thread.start()
    assert sink.flush(5.0)
    sink.write("after")
    os.close(writer)
    thread.join()
    os.close(reader)
    lines = b"".join(read).decode().split("\n")[:-1]
    assert lines[-2:] == [f"lost {lost}", "after"]
    assert [line[:4] for line in lines[:-2]] == [f"{n:04}" for n in range(3000 - lost)]


def test_a_line_longer_than_the_pipe_takes_at_once_arrives_whole() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    sink.write("x" * 200_000)
    got = b""
    while len(got) < 200_001:
        got += os.read(reader, 65536)
        sink.flush(0.0)
    assert got == b"x" * 200_000 + b"\n"
    os.close(reader)
    os.close(writer)


def test_the_lines_of_a_round_leave_together_and_whole() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    lines = [f"{number:04} " + "x" * 200 for number in range(100)]
    sink.buffer()
    for line in lines:
        sink.write(line)
    assert select.select([reader], [], [], 0)[0] == []
    sink.release()
    assert sink.waiting == 0
    sink.write("at once")
    assert os.read(reader, 1 << 16).decode().split("\n") == [*lines, "at once", ""]
    os.close(reader)
    os.close(writer)


def test_no_more_than_its_bound_is_held_and_a_flush_ends_the_round() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    sink.buffer()
    for _ in range(3):
        sink.write("x" * BUFFER_LIMIT)
    assert len(os.read(reader, 1 << 16)) >= select.PIPE_BUF
    sink.flush(0.0)
    while sink.waiting:
        os.read(reader, 1 << 16)
        sink.flush(0.0)
    os.read(reader, 1 << 16)
    sink.write("at once")
    assert os.read(reader, 1 << 16) == b"at once\n"
    os.close(reader)
    os.close(writer)


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(fd, lost_line=lambda count: f"lost {count}")
    sink.write("one")
    sink.write("two")
    assert sink.lost == 2
    assert sink.flush(0.1)
    assert sink.lost == 2
    os.close(fd)


ENTRIES = (
    TimelineEntry(1.0, "track_subscribed", {"sid": "TR_1", "identity": "alice"}),
    TimelineEntry(2.0, "track_muted", {"sid": "TR_1", "identity": "alice"}),
)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "log_level, shown",
    [
        ("debug", ["track_subscribed", "track_muted", "agent_started", "clock_off", "crash"]),
        ("info", ["track_muted", "agent_started", "clock_off", "crash"]),
        ("warning", ["clock_off", "crash"]),
        ("error", ["crash"]),
    ],
)
def test_a_level_leaves_out_what_is_less_severe(
    log_format: str, log_level: str, shown: list[str], logged: Callable[..., Logged]
) -> None:
    log = logged(log_format=log_format, log_level=log_level)
    for entry in ENTRIES:
        log_entry(log.log, entry, room="standup", room_sid="RM_1", job_id="AJ_1")
    log.log.info("agent_started")
    log.log.warning("clock_off", offset=3)
    log.log.error("crash")
    words = {
        "track_subscribed": "Successfully subscribed to track: TR_1",
        "track_muted": "Track muted: TR_1 by alice",
        "agent_started": "Starting room analytics agent",
        "clock_off": "This machine's clock is off",
        "crash": "ERROR crash",
    }
    if log_format == "json":
        assert [json.loads(line)["event"] for line in log.lines] == shown
    else:
        assert all(
            text.startswith(words[event]) for text, event in zip(log.texts, shown, strict=True)
        )


@pytest.mark.parametrize("log_level, shown", [("debug", 2), ("warning", 2), ("error", 1)])
def test_the_level_holds_for_libraries_and_never_shows_their_debug_records(
    log_level: str, shown: int, logged: Callable[..., Logged]
) -> None:
    log = logged(log_format="json", log_level=log_level)
    library = logging.getLogger("a-library")
    library.debug("token %s", TOKEN)
    library.warning("slow")
    library.error("broken")
    assert [json.loads(line)["message"] for line in log.lines] == ["slow", "broken"][-shown:]


def test_the_worker_lives_on_when_stderr_is_closed_from_the_start(tmp_path: Path) -> None:
    program = (
        "from bridge.config import machine\n"
        "machine.open_standard_streams()\n"
        "import os, structlog, attrs\n"
        "from bridge.log.structured_log import configure_logging\n"
        "S = attrs.make_class('S', {'log_format': attrs.field(default='text'),"
        " 'log_level': attrs.field(default='info'),"
        " 'log_payloads': attrs.field(default=False), 'secrets': attrs.field(default=())})\n"
        "configure_logging(S())\n"
        "fd = os.open('own-file', os.O_CREAT | os.O_WRONLY)\n"
        "structlog.get_logger().info('agent_started')\n"
        "assert fd > 2, fd\n"
        "assert os.path.getsize('own-file') == 0\n"
        "print('alive')\n"
    )
    # `2>&-` is the shell's way to start a program without a stderr.
    done = subprocess.run(
        ["sh", "-c", 'exec "$1" -c "$2" 2>&-', "sh", sys.executable, program],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == b"alive\n"
