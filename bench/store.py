"""The store: how fast it takes events, what that costs, and how long a big one takes to read.

    bench/run store [--sessions 10000] [--events 100] [--json FILE] [--help]

1. *At the pace of 100 rooms*: 10.8 events a second in each, as `bench/run scale` has them,
   written twenty times a second as the worker does.  It measures the CPU of all threads, to encode
   an event (recording it, less folding it) and to write it.  The sum is compared with the CPU an
   event of `bench/results/scale.json`, where that file exists.
2. *Sustained*: `--sessions` with `--events` each, one after the other, a thousand journal rows a
   batch.  Each batch is durable (fsync) before the next.  Only the time in writing counts.
3. *A big store*: `report` and `sessions` read the result, as functions and as commands (most of a
   command's time is the start of Python).  Then a worker starts on it, until LiveKit has
   registered it.

The disk is the one of `--folder`; its own speed is part of the result.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from attrs import frozen

from actors.journal.archive import Archive
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.session import SessionBegan, fold
from actors.session.events import (
    AttributesChanged,
    DataReceived,
    MetadataChanged,
    RoomEvent,
    TrackMuted,
    TrackUnmuted,
    Watching,
)
from actors.session.room_info import ParticipantInfo, Roster, TrackInfo
from bench.entry import bench_parser, run_bench
from bench.measure import MIB, Spread, conclude, load, markdown
from bench.start import ROOT, measure
from bridge.lab.server import PrivateServer, ensure_server
from bridge.output.progress import ProgressLine
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader

ROOMS: Final = 100
RATE: Final = 10.8
BATCH_SECONDS: Final = 0.05
"""As `actors.journal.store_actor` gathers."""
PACED: Final = 400
"""Batches of the first part."""
BATCH_ROWS: Final = 1000
"""Journal rows of a batch of the second part."""
DAYS: Final = 7
"""The sessions are spread over so many days."""
TALKER: Final = ParticipantInfo(
    "person-0",
    "PA_talker",
    0.0,
    tracks=(TrackInfo("TR_microphone", "audio", "microphone", name="microphone"),),
)
PEOPLE: Final = (
    TALKER,
    ParticipantInfo("person-1", "PA_one", 0.0),
    ParticipantInfo("person-2", "PA_two", 0.0),
)
RESULTS: Final = ROOT / "bench" / "results" / "scale.json"
RUNS: Final = 5

GOALS: Final = {
    "lines_a_second": (20_000, "at least"),
    "share": (0.02, "at most"),
    "report_command_s": (0.3, "at most"),
    "sessions_command_s": (0.3, "at most"),
    "registered_s": (2.0, "at most"),
}


def nth_event(number: int, at: float) -> RoomEvent:
    """The nth event of a room: the cycle of `bench/load/play.go`."""
    step = number % 10
    if step in (2, 6):
        kind = TrackMuted if number % 20 == step else TrackUnmuted
        return kind(at, TALKER.identity, "TR_microphone")
    if step == 4:
        return AttributesChanged(at, TALKER.identity, {"step": str(number)})
    if step == 8:
        return MetadataChanged(at, TALKER.identity, f'{{"step":"{number}"}}')
    return DataReceived(at, TALKER.identity, "load", 64 + number % 128, "json")


def begin(name: str, at: float, backlog: Backlog) -> Journal:
    """The journal of a session with three people."""
    sid = f"RM_{name}"
    journal = Journal.begin(
        SessionBegan(at, name, sid, (f"AJ_{name}",), "bench", "watcher", at), backlog
    )
    journal.record(Watching(at, Roster(sid, "", PEOPLE, at)))
    return journal


async def pace(archive: Archive) -> dict[str, float]:
    """The cost of an event when 100 rooms are watched."""
    backlog, began = Backlog(), time.time()
    journals = [begin(f"paced-{number}", began, backlog) for number in range(ROOMS)]
    rows = round(ROOMS * RATE * BATCH_SECONDS)
    folding = recording = writing = 0.0
    for batch in range(PACED):
        at = began + batch * BATCH_SECONDS
        events = [
            (journals[number % ROOMS], nth_event(number // ROOMS, at))
            for number in range(batch * rows, (batch + 1) * rows)
        ]
        before = time.process_time()
        for journal, event in events:
            fold(journal.state, event)
        folded = time.process_time()
        for journal, event in events:
            journal.record(event)
            journal.unpublished.clear()
        recorded = time.process_time()
        await archive.write(backlog.take(at))
        backlog.done()
        folding += folded - before
        recording += recorded - folded
        writing += time.process_time() - recorded
    for journal in journals:
        journal.end(time.time(), "room_closed")
    await archive.write(backlog.take(time.time()))
    backlog.done()
    count = PACED * rows
    return {
        "fold_us": folding / count * 1e6,
        "encode_us": (recording - folding) / count * 1e6,
        "write_us": writing / count * 1e6,
        "lines_a_batch": rows,
    }


async def fill(
    archive: Archive, sessions: int, events: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Write many sessions, one after the other.  Gives the rows, the rows a second, and the CPU of
    this process to write one."""
    backlog, now = Backlog(), time.time()
    seconds, cpu, rows = 0.0, 0.0, 0
    for number in range(sessions):
        at = now - DAYS * 86400 * (1 - number / sessions)
        journal = begin(f"room-{number}", at, backlog)
        for event in range(events - 3):  # Three more records: it begins, is watched and ends.
            journal.record(nth_event(event, at + event * 0.1))
            journal.unpublished.clear()
        journal.end(at + events * 0.1, "room_closed")
        if backlog.waiting >= BATCH_ROWS or number == sessions - 1:
            batch = backlog.take(time.time())
            before, cpu_before = time.perf_counter(), time.process_time()
            await archive.write(batch)
            seconds += time.perf_counter() - before
            cpu += time.process_time() - cpu_before
            rows += len(batch.rows)
            backlog.done()
            progress(f"session {number + 1} of {sessions}")
    return {
        "lines": rows,
        "lines_a_second": rows / seconds,
        "sustained_us": cpu / rows * 1e6,
    }


def read(data_dir: Path, name: str) -> dict[str, Spread]:
    """Seconds to read one session and a list, as functions and as commands."""

    def report() -> None:
        with open_reader(data_dir) as reader:
            assert reader.session(name) is not None

    def newest() -> None:
        with open_reader(data_dir) as reader:
            assert len(reader.sessions(50).sessions) == 50

    def command(*words: str) -> Callable[[], None]:
        line = [sys.executable, "-P", "-m", "bridge.cli", *words, "--data-dir", str(data_dir)]

        def run() -> None:
            subprocess.run([*line, "--json"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)

        return run

    return {
        "report_s": timed(report),
        "newest_50_s": timed(newest),
        "report_command_s": timed(command("report", name)),
        "sessions_command_s": timed(command("sessions")),
    }


def timed(function: Callable[[], None]) -> Spread:
    """Seconds of a call.  One call before them brings the file into memory."""
    function()

    def once() -> float:
        before = time.perf_counter()
        function()
        return time.perf_counter() - before

    return Spread.of(once() for _ in range(RUNS))


def event_cost() -> float | None:
    """CPU of an event at 100 rooms in µs, by the last run of `bench/run scale`."""
    if not RESULTS.exists():
        return None
    costs = [
        case["events"][f"{RATE:g}"]["cpu_us"]
        for case in json.loads(RESULTS.read_text())["cases"]
        if case["observer"] == "room-actors" and case["rooms"] == ROOMS
    ]
    return Spread.of(costs).median if costs else None


@frozen
class Options:
    sessions: int
    events: int
    folder: Path | None
    json: Path | None


async def write(
    data_dir: Path, options: Options, progress: Callable[[str], None]
) -> dict[str, float]:
    async with open_store(data_dir, instance="bench") as archive:
        paced = await pace(archive)
        return paced | await fill(archive, options.sessions, options.events, progress)


def run(options: Options) -> dict[str, Any]:
    with (
        ProgressLine(sys.stderr) as progress,
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
    ):
        binary = ensure_server(progress)
        data_dir = Path(folder, "data")
        written = trio.run(write, data_dir, options, progress)
        size = sum(path.stat().st_size for path in data_dir.iterdir()) / MIB
        progress("reading")
        spreads = read(data_dir, f"room-{options.sessions // 2}")
        with PrivateServer.start(binary, Path(folder, "livekit")) as server:
            measure(server, data_dir, 0.0)
            progress("starting workers")
            starts = [measure(server, data_dir, 0.0).seconds for _ in range(RUNS)]
    spreads["registered_s"] = Spread.of(starts)
    cost = event_cost()
    result: dict[str, Any] = {**written, "file_mib": size}
    if cost:
        result["share"] = (written["encode_us"] + written["write_us"]) / cost
        result["event_us"] = cost
    return result | {name: attrs.asdict(spread) for name, spread in spreads.items()}


ROWS: Final = (
    ("folding an event, µs", "fold_us", 1),
    ("encoding it for the store, µs", "encode_us", 1),
    ("writing it, µs", "write_us", 1),
    ("both, as a share of the whole cost of an event", "share", 3),
    ("events written a second, sustained", "lines_a_second", 0),
    ("events written", "lines", 0),
    ("file, MiB", "file_mib", 0),
    ("one session read, s", "report_s", 3),
    ("the newest 50 listed, s", "newest_50_s", 3),
    ("`report SESSION --json`, s", "report_command_s", 2),
    ("`sessions --json`, s", "sessions_command_s", 2),
    ("worker registered after, s", "registered_s", 2),
)


def table(result: dict[str, Any]) -> str:
    return markdown(("store", "median (min to max)", "goal"), list(_rows(result)))


def _rows(result: dict[str, Any]) -> Iterator[Sequence[str]]:
    for name, key, digits in ROWS:
        if key in result:
            value = result[key]
            shown = (
                Spread(**value).text(digits) if isinstance(value, dict) else f"{value:.{digits}f}"
            )
            goal = f"{GOALS[key][1]} {GOALS[key][0]:g}" if key in GOALS else ""
            yield name, shown, goal


def unmet(result: dict[str, Any]) -> list[str]:
    goals: list[str] = []
    for key, (limit, way) in GOALS.items():
        value = result.get(key)
        value = value["median"] if isinstance(value, dict) else value
        if value is not None and (value < limit if way == "at least" else value > limit):
            goals.append(f"{key}: {value:.3g}, {way} {limit:g}")
    return goals


def main() -> int:
    parser = bench_parser("store", __doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100, help="in each session")
    parser.add_argument("--folder", type=Path, help="where the store is made and removed again")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    result = run(options)
    print(table(result))
    print()
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
