"""`top`: what it shows, what keys do, and that the terminal is given back."""

from __future__ import annotations

import json
import re
import signal
import socketserver
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from attrs import evolve
from rich.text import Text

from actors.journal.session_reader import LiveSession, WorkerRow
from actors.session import fold
from actors.session.rule_records import RuleFired
from bridge.cli.live_rooms import NOT_REGISTERED, RoomRow, StoreSnapshot, ask_registration
from bridge.cli.screen import Keys
from bridge.cli.top_frame import (
    ORDERS,
    TableView,
    after_key,
    columns_for,
    draw_frame,
    page_size,
    select_rooms,
    worker_line,
)
from bridge.config.http_address import HttpAddress
from bridge.output.cells import cell_len, fit
from bridge.store.sqlite_archive import SqliteArchive, open_store
from tests.cli.conftest import clean_environment
from tests.cli.terminal import Terminal, in_a_terminal
from tests.session.session_story import Story
from tests.store.stored_history import History

T = TypeVar("T")

ROOM = RoomRow("atlas", 2, 3, 40, 0.5, ("alice",), "good", 75.0, 1.0)
HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07", "two\nlines\r\tand\x7f", "\u202eright to left", "李雷" * 40,
    "e" + "\u0301" * 500, "❤️🇩🇪👍🏽👨‍👩‍👧" * 9, "x" * 5_000, "", "[red]markup[/red]",
)  # fmt: skip


def drawn(
    rooms: list[RoomRow], view: TableView | None = None, width: int = 80, height: int = 24
) -> list[str]:
    lines = draw_frame(rooms, Text("worker"), None, view or TableView(), width, height)
    return [line.plain for line in lines]


def names(lines: list[str]) -> list[str]:
    """The names of the rooms that are shown."""
    return [line.split()[0] for line in lines[3:-1] if line.strip()]


# ---------------------------------------------------------------- a frame


def test_a_frame_has_the_worker_the_totals_the_rooms_and_the_keys() -> None:
    other = evolve(ROOM, name="borealis", people=1, rate=1.0, quality=None, talking=())
    lines = drawn([ROOM, other])
    assert len(lines) == 24
    assert lines[0] == "worker"
    assert lines[1] == "rooms 2, people 3, tracks 6, messages 80 (1.5/s), talking 1"
    assert lines[2].split() == [
        "room", "people▾", "tracks", "msgs", "/s", "talks", "quality", "age", "seen",
    ]  # fmt: skip
    assert lines[3].split() == ["atlas", "2", "3", "40", "0.5", "alice", "good", "1m15s", "100%"]
    assert lines[4].split() == ["borealis", "1", "3", "40", "1.0", "-", "1m15s", "100%"]
    assert lines[-1].startswith("1-2 of 2  q leave, / filter, sort: Room")


@pytest.mark.parametrize("height", [1, 2, 5, 24])
@pytest.mark.parametrize("width", [1, 10, 20, 33, 47, 60, 79, 80, 200])
def test_whatever_names_are_a_frame_is_as_large_as_the_terminal(width: int, height: int) -> None:
    rooms = [evolve(ROOM, name=name, talking=HOSTILE, messages=10**12) for name in HOSTILE]
    lines = drawn(rooms, TableView(filter=""), width, height)
    assert len(lines) == height
    for line in lines:
        assert cell_len(line) <= width
        assert line.isprintable()


def test_what_matters_less_goes_first_where_it_is_narrow() -> None:
    titles = {width: [c.title for c, _ in columns_for(width)] for width in (20, 40, 60, 80)}
    assert titles == {
        20: ["room", "people"],
        40: ["room", "people", "msgs", "quality"],
        60: ["room", "people", "msgs", "talks", "quality", "age"],
        80: ["room", "people", "tracks", "msgs", "/s", "talks", "quality", "age", "seen"],
    }
    for width in range(18, 300):
        assert sum(cells + 1 for _, cells in columns_for(width)) - 1 <= width


@pytest.mark.parametrize(
    "text, cells, shown",
    [
        ("alice", 8, "alice   "),
        ("alice", 4, "ali…"),
        ("李雷李雷", 8, "李雷李雷"),
        ("李雷李雷", 6, "李雷… "),
        ("e\u0301" * 3, 2, "e\u0301…"),
        ("❤\ufe0f", 2, "❤ "),
        ("a\x1b[0m", 7, r"a\x1b[…"),
    ],
)
def test_a_name_is_cut_to_its_cells(text: str, cells: int, shown: str) -> None:
    assert fit(text, cells) == shown
    assert cell_len(shown) == cells


def test_no_room_and_no_match_are_said() -> None:
    assert drawn([])[3] == "no room is live"
    assert drawn([ROOM], TableView(filter="z"))[3] == "no room has that in its name"


# ---------------------------------------------------------------- keys


def after(*keys: str, page: int = 20) -> TableView:
    view = TableView()
    for key in keys:
        found = after_key(view, key, page)
        assert found is not None
        view = found
    return view


TOWN = [
    evolve(ROOM, name="b", people=1, tracks=9, messages=5, age=3.0, quality="poor"),
    evolve(ROOM, name="a", people=3, tracks=7, messages=5, age=2.0, quality="lost"),
    evolve(ROOM, name="C", people=2, tracks=8, messages=6, age=1.0, quality=None),
]


@pytest.mark.parametrize(
    "keys, order",
    [
        ("p", "bCa"), ("r", "abC"), ("rr", "Cba"), ("rrr", "abC"), ("t", "bCa"), ("m", "Cab"),
        ("a", "baC"), ("aa", "Cab"), ("w", "abC"), ("", "aCb"),
    ],
)  # fmt: skip
def test_a_key_sorts_and_once_more_the_other_way_round(keys: str, order: str) -> None:
    assert "".join(room.name for room in select_rooms(TOWN, after(*keys))) == order


def test_every_order_marks_its_column() -> None:
    for key, order in ORDERS.items():
        headings = drawn(TOWN, TableView(order=key))[2]
        assert re.search(rf"{re.escape(order.title)}[▾▴]", headings)


def test_the_filter_is_typed_kept_and_dropped() -> None:
    view = after("/", "q", "L", "x", "backspace")
    assert (view.typing, view.filter) == (True, "qL")
    assert drawn(TOWN, view)[-1] == "/qL_"
    kept = after("/", "c", "enter")
    assert [room.name for room in select_rooms(TOWN, kept)] == ["C"]
    assert "with 'c', Esc for all" in drawn(TOWN, kept)[-1]
    assert after("/", "c", "enter", "escape") == after("/", "c", "escape") == TableView()


def test_arrows_and_pages_stay_within_the_rows() -> None:
    town = [evolve(ROOM, name=f"{number:03}") for number in range(100)]
    assert page_size(24) == 20
    assert names(drawn(town))[0] == "000"
    assert names(drawn(town, after("down", "down", "up")))[0] == "001"
    assert names(drawn(town, after("up", "page_up")))[0] == "000"
    assert names(drawn(town, after("page_down")))[0] == "020"
    assert names(drawn(town, after("end"))) == [f"{number:03}" for number in range(80, 100)]
    assert after("end", "home").first == 0


@pytest.mark.parametrize("key", ["q", "interrupt"])
def test_q_and_ctrl_c_leave(key: str) -> None:
    assert after_key(TableView(), key, 20) is None
    assert after_key(TableView(typing=True), "interrupt", 20) is None


@pytest.mark.parametrize(
    "typed, keys",
    [
        (b"a/Q", ["a", "/", "Q"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[6~", ["up", "down", "page_up", "page_down"]),
        (b"\r\x7f\x03", ["enter", "backspace", "interrupt"]),
        ("é李".encode(), ["é", "李"]),
        (b"\x1b[1;5C\x01\x1b[99~x", ["x"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_keys_as_terminals_send_them_at_once_or_byte_by_byte(typed: bytes, keys: list[str]) -> None:
    assert Keys().take(typed) == keys
    by_byte = Keys()
    assert [key for byte in typed for key in by_byte.take(bytes([byte]))] == keys


def test_an_escape_is_a_key_when_nothing_follows() -> None:
    keys = Keys()
    assert keys.take(b"\x1b") == []
    assert keys.flush() == ["escape"]
    assert keys.flush() == []


# ---------------------------------------------------------------- is it registered


@pytest.mark.parametrize(
    "status, body, said",
    [
        (200, {"worker": "w1", "checks": {"livekit": None, "store": None}}, "registered"),
        (503, {"worker": "w1", "checks": {"livekit": "not registered"}}, "NOT REGISTERED"),
        (200, {"worker": "w2", "checks": {"livekit": None}}, "registration unknown (another"),
        (404, {"title": "not found"}, "registration unknown"),
        (200, [], "registration unknown"),
        (200, {"worker": "w1", "checks": None}, "registration unknown"),
    ],
)
def test_whoever_serves_readyz_is_asked(status: int, body: object, said: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 500)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_request(self, code: object = "-", size: object = "-") -> None: ...

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = HttpAddress("127.0.0.1", server.server_address[1])
        assert ask_registration(address, "w1").startswith(said)
        thread.join()
    assert ask_registration(address, "w1") == f"registration unknown (nothing at {address})"


@pytest.mark.parametrize(
    "changed, registered, red",
    [
        ({}, "registered", []),
        ({"alive_at": 990.0}, "registered", ["last sign 10s ago"]),
        ({}, NOT_REGISTERED, [NOT_REGISTERED]),
        ({"alive_at": 900.0, "running": False}, "registered", ["NO WORKER RUNS HERE"]),
    ],
)
def test_what_is_wrong_with_the_worker_stands_out(
    changed: dict[str, Any], registered: str, red: list[str]
) -> None:
    seen = evolve(WorkerRow("w1", 7, 100.0, 1_000.0, running=True), **changed)
    line = worker_line(StoreSnapshot(1_000.0, seen, ()), registered, 1_000.0)
    assert [line.plain[s.start : s.end] for s in line.spans if s.style == "bold red"] == red


def test_the_head_names_the_workers_of_a_database_that_are_lost() -> None:
    rows = [
        WorkerRow("w1", 7, 100.0, 1_000.0, running=True),
        WorkerRow("w2", 7, 90.0, 1_000.0, running=True),
        WorkerRow("w3", 7, 80.0, 900.0, running=False, name="node\x1b-3"),
        WorkerRow("w4", 7, 70.0, 800.0, running=False, draining=True),  # It ended in order.
    ]
    line = worker_line(StoreSnapshot(1_000.0, rows[0], (), workers=rows), "registered", 1_000.0)
    assert line.plain.startswith("2 workers run, the newest 15m")
    red = [line.plain[s.start : s.end] for s in line.spans if s.style == "bold red"]
    assert red == ["1 LOST (node\\x1b-3)"]


def test_lines_that_were_lost_stand_out() -> None:
    state = Story().state
    snapshot = StoreSnapshot(
        1.0, WorkerRow("w1", 7, 0.0, 1.0, running=True), [LiveSession(1, state, 9, 3)]
    )
    line = worker_line(snapshot, "registered", 1.0)
    assert [line.plain[s.start : s.end] for s in line.spans if s.style] == ["lines lost 3"]


def test_alerts_that_fire_stand_out() -> None:
    state = Story().state
    worker = WorkerRow("w1", 7, 0.0, 1.0, running=True)
    firing, _ = fold(state, RuleFired(1.0, "nobody\x1b[31m", alert=True))
    line = worker_line(
        StoreSnapshot(1.0, worker, [LiveSession(1, firing, 9, 0)]), "registered", 1.0
    )
    red = [line.plain[s.start : s.end] for s in line.spans if s.style]
    assert red == ["1 alerts fire (nobody\\x1b[31m)"]


# ---------------------------------------------------------------- in a terminal


@asynccontextmanager
async def worker(folder: Path) -> AsyncGenerator[tuple[History, SqliteArchive]]:
    """Writes to the store of `folder` as a worker does, with a sign of life."""
    history = History(time.time())
    async with open_store(folder / "data" / "room-actors", instance="w1") as archive:
        await history.write_to(archive)
        yield history, archive


async def in_thread(call: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(call)


async def shown(terminal: Terminal, *words: str) -> str:
    return await in_thread(lambda: terminal.frame(lambda text: all(word in text for word in words)))


TOP = ("top", "--http", "off")


async def test_rooms_are_seen_to_come_to_change_and_to_end(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        atlas = history.begin("atlas", "RM_1", "alice", "bob")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            first = await shown(terminal, "rooms 1, people 2, tracks 2, messages 0")
            head = first.splitlines()[0]
            assert head.startswith("worker runs ")
            assert "lines lost 0, registration unknown, w1 (" in head
            history.talk(atlas, 2, "bob")
            history.begin("borealis", "RM_2")
            await history.write_to(archive)
            both = await shown(terminal, "rooms 2, people 4")
            (row,) = [line for line in both.splitlines() if line.startswith("atlas")]
            assert row.split()[1:4] == ["2", "2", "2"]
            assert row.split()[5:7] == ["bob", "good"]
            atlas.end(history.now, "room_closed")
            await history.write_to(archive)
            await shown(terminal, "rooms 1, people 2", "borealis")
            terminal.type("q")
            assert await in_thread(terminal.end) == 0


async def test_a_worker_that_ends_and_another_that_begins_are_told_of(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("atlas", "RM_1")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            await shown(terminal, "worker runs", "rooms 1,")
            await archive.aclose()
            await shown(terminal, "NO WORKER RUNS HERE", "rooms 1,")
            async with worker(tmp_path) as (again, other):
                again.begin("borealis", "RM_2")
                await again.write_to(other)
                await shown(terminal, "worker runs", "rooms 2,", "borealis")
            await shown(terminal, "NO WORKER RUNS HERE", "rooms 2,")
            terminal.type("\x03")
            assert await in_thread(terminal.end) == 0


async def test_keys_sort_scroll_and_filter_at_once(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        for number in range(30):
            history.begin(f"room-{number:02}", f"RM_{number}", *"abcdefgh"[: 1 + number % 8])
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            assert "\nroom-07 " in (await shown(terminal, "1-20 of 30")).replace("\x1b", "")
            terminal.type("r")
            assert "\nroom-00 " in await shown(terminal, "room▴")
            terminal.type("\x1b[6~")
            assert "\nroom-10 " in await shown(terminal, "11-30 of 30")
            terminal.type("/room-2")
            await shown(terminal, "/room-2_", "room-29")
            terminal.type("\r")
            await shown(terminal, "1-10 of 10 with 'room-2'")
            terminal.type("\x1b")
            await shown(terminal, "1-20 of 30")
            terminal.type("q")
            assert await in_thread(terminal.end) == 0


async def test_a_resized_terminal_is_drawn_anew(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("李雷" * 30)
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            for columns, rows in ((80, 24), (33, 8), (120, 40)):
                terminal.resize(columns, rows)
                terminal.process.send_signal(signal.SIGWINCH)

                def fits(text: str, columns: int = columns, rows: int = rows) -> bool:
                    lines = text.split("\n")
                    widest = max(map(cell_len, lines))
                    return len(lines) == rows and columns - 3 <= widest <= columns

                assert "people" in await in_thread(lambda fits=fits: terminal.frame(fits))
            terminal.type("q")
            assert await in_thread(terminal.end) == 0


def ended_well(terminal: Terminal, modes: list[Any]) -> None:
    assert terminal.modes == modes
    for code in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?7h"):
        assert terminal.received.rindex(code) > terminal.received.rindex(b"\x1b[?2026l")
    assert b"Traceback" not in terminal.received


@pytest.mark.parametrize(
    "end", ["q", "\x03", signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]
)
async def test_the_terminal_is_given_back_however_it_ends(
    end: str | signal.Signals, tmp_path: Path
) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("atlas")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            modes = terminal.modes
            await shown(terminal, "atlas")
            assert terminal.modes != modes
            assert not terminal.modes[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
            if isinstance(end, str):
                terminal.type(end)
            else:
                terminal.process.send_signal(end)
            assert await in_thread(terminal.end) == 0
            ended_well(terminal, modes)


async def test_a_terminal_that_takes_nothing_more_does_not_keep_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        for number in range(200):
            history.begin(f"room-{number}", f"RM_{number}")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP, columns=400, rows=200) as terminal:
            await shown(terminal, "rooms 200,")
            terminal.type("rpt" * 50)  # and nobody reads what they lead to
            terminal.process.send_signal(signal.SIGTERM)
            assert await in_thread(lambda: terminal.process.wait(60)) == 0


async def test_a_terminal_that_goes_away_ends_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("atlas")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            await shown(terminal, "atlas")
            terminal.hang_up()
            assert await in_thread(lambda: terminal.process.wait(60)) == 0


async def test_hostile_names_are_drawn_not_obeyed(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        for number, name in enumerate(HOSTILE):
            journal = history.begin(name, f"RM_{number}", name or "x")
            history.talk(journal, 2, name or "x")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, *TOP) as terminal:
            text = await shown(terminal, f"rooms {len(HOSTILE)},", r"\x1b[31mred", "[red]")
            assert all(line.isprintable() for line in text.splitlines())
            assert max(map(cell_len, text.splitlines())) <= 80
            terminal.type("q")
            assert await in_thread(terminal.end) == 0
            assert b"\x07" not in terminal.received


# ---------------------------------------------------------------- not in a terminal


def piped(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", *args],
        cwd=folder, env=clean_environment({"XDG_DATA_HOME": str(folder / "data")}),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


async def test_without_a_terminal_it_is_one_plain_table(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("atlas", "RM_1")
        await history.write_to(archive)
        done = await in_thread(lambda: piped(tmp_path, *TOP))
    assert (done.returncode, done.stderr) == (0, "")
    head, total, headings, row = done.stdout.splitlines()
    assert head.startswith("worker runs ")
    assert total == "rooms 1, people 2, tracks 2, messages 0, talking 0"
    assert headings.split()[:3] == ["room", "people", "tracks"]
    assert row.split()[:3] == ["atlas", "2", "2"]
    with in_a_terminal(tmp_path, *TOP, "--once") as terminal:
        assert await in_thread(terminal.end) == 0
        assert terminal.text.startswith("NO WORKER RUNS HERE")
        assert b"\x1b[?1049h" not in terminal.received


async def test_without_a_store_it_is_one_line(tmp_path: Path) -> None:
    with in_a_terminal(tmp_path, *TOP) as terminal:
        assert await in_thread(terminal.end) == 1
        assert terminal.text.startswith("room-actors: no sessions are kept in ")
        assert len(terminal.text.splitlines()) == 1


# ---------------------------------------------------------------- rooms --watch


async def test_watched_rooms_are_printed_anew_until_ctrl_c(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        history.begin("atlas", "RM_1")
        await history.write_to(archive)
        with in_a_terminal(tmp_path, "rooms", "--every", "0.1s") as terminal:
            await in_thread(lambda: terminal.until("atlas"))
            for number in range(2, 40):
                history.begin(f"room-{number}", f"RM_{number}")
            await history.write_to(archive)
            await in_thread(lambda: terminal.until("and 20 more: `top` scrolls"))
            terminal.process.send_signal(signal.SIGINT)
            assert await in_thread(terminal.end) == 0


async def test_watched_rooms_as_json_are_a_line_each_time(tmp_path: Path) -> None:
    async with worker(tmp_path) as (history, archive):
        atlas = history.begin("atlas", "RM_1")
        await history.write_to(archive)
        process = await in_thread(
            lambda: subprocess.Popen(
                [sys.executable, "-m", "bridge.cli", "rooms", "--every", "100ms", "--json"],
                env=clean_environment({"XDG_DATA_HOME": str(tmp_path / "data")}),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        assert process.stdout
        assert process.stderr
        with process:
            lines: list[dict[str, Any]] = [json.loads(await in_thread(process.stdout.readline))]
            assert lines[0].keys() == {"at", "worker_running", "rooms"}
            assert lines[0]["worker_running"] is True
            history.talk(atlas)
            await history.write_to(archive)
            while lines[-1]["rooms"][0]["data_messages"]["total"] != 1:
                lines.append(json.loads(await in_thread(process.stdout.readline)))
            process.stdout.close()  # whoever read has seen enough
            assert await in_thread(lambda: process.wait(60)) == 1
            assert process.stderr.read() == ""
