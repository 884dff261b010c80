"""One worker as a process: `python -m bench.leases.writer_process OPTIONS`, options as JSON.

It appends to a file what the database has acknowledged.  Where the file `stop` of its folder is, it
removes that and stops itself (SIGSTOP) within a transaction.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import TextIO

import msgspec
import trio

from actors.journal.archive import Batch
from bench.leases.room_writer import RoomWriter
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_leases import PostgresLeases


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process."""

    url: str
    worker: str
    process: int
    share: int
    lease: float
    release_chance: float
    seed: int
    folder: str


def _stop_if_wanted(stop: Path) -> None:
    if stop.exists():
        stop.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGSTOP)


def _acknowledge(file: TextIO, batch: Batch) -> None:
    # Written at once: the process may be killed at any time.
    file.write("".join(f"{row.session} {row.seq}\n" for row in batch.rows))
    file.flush()


async def _run(options: Options) -> None:
    folder, name = Path(options.folder), f"{options.worker}.{options.process}"
    stop = partial(_stop_if_wanted, folder / f"{options.worker}.stop")
    with (folder / f"{name}.lines").open("w") as file:
        async with open_database_store(
            options.url, instance=options.worker, lease=options.lease, before_commit=stop
        ) as archive:
            writer = RoomWriter(
                archive, PostgresLeases(archive), name,
                share=options.share, random=Random(options.seed),
                acknowledged=partial(_acknowledge, file),
            )  # fmt: skip
            writer.release_chance = options.release_chance
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(writer.run)
                    async for _ in signals:
                        break
                    nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_run, msgspec.json.decode(sys.argv[1], type=Options))
