"""Workers of one database that are stopped, killed and cut off: one owner a room, and no line lost.

Each fault waits until the one before has had its effect, so nothing depends on a clock.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from random import Random

import psycopg
import trio
from attrs import define, field

from actors.journal.archive import Batch
from bench.leases.room_writer import RoomWriter
from bench.leases.stored_lines import judge
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_leases import PostgresLeases

LEASE = 1.0
ROOMS = {f"RM_{number}": f"room-{number}" for number in range(12)}
PROMISED = "?options=-c%20synchronous_commit%3Don"
"""The server of the tests may lose the last commits when it crashes; that is another test."""


@define
class Stop:
    """Stops a writer's thread within a transaction."""

    wanted: bool = False
    reached: bool = False
    over: threading.Event = field(factory=threading.Event)

    def before_commit(self) -> None:
        if self.wanted:
            self.wanted, self.reached = False, True
            self.over.wait(60.0)


@define
class Started:
    writer: RoomWriter
    stop: Stop
    scope: trio.CancelScope

    async def writes(self, batches: int = 3) -> None:
        wanted = self.writer.batches + batches
        await until(lambda: self.writer.batches >= wanted)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(60.0):
        while not condition():  # noqa: ASYNC110 (several tasks and threads change it)
            await trio.sleep(0.02)


@define
class Workers:
    """Processes of workers, as tasks."""

    url: str
    nursery: trio.Nursery
    promises: list[tuple[str, int, int]] = field(factory=list[tuple[str, int, int]])

    async def start(self, name: str, share: int) -> Started:
        return await self.nursery.start(self._run, name, share)

    async def _run(
        self,
        name: str,
        share: int,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        stop = Stop()

        def acknowledged(batch: Batch) -> None:
            self.promises += [(name, row.session, row.seq) for row in batch.rows]

        async with open_database_store(
            self.url + PROMISED, instance=name, lease=LEASE, before_commit=stop.before_commit
        ) as archive:
            leases = PostgresLeases(archive)
            await leases.register(ROOMS)
            writer = RoomWriter(
                archive, leases, name,
                share=share, random=Random(name), acknowledged=acknowledged,
            )  # fmt: skip
            with trio.CancelScope() as scope:
                task_status.started(Started(writer, stop, scope))
                await writer.run()


def crash(url: str) -> None:
    """A process of the server dies: it ends all connections, and recovers from its log."""
    with psycopg.connect(url, autocommit=True) as db:
        row = db.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)


def hang_up(url: str) -> None:
    """Our connections end without a word to the server's tables, as by SIGKILL."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid != pg_backend_pid() AND datname = current_database()"
        )


async def test_stops_kills_and_a_crash_of_the_database_leave_each_room_one_owner_at_a_time(
    database_url: str,
) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(database_url, nursery)
        a, b, c = [await workers.start(name, 4) for name in "abc"]
        every = (a.writer, b.writer, c.writer)
        await until(lambda: all(len(one.rooms) == 4 for one in every))
        for one in (a, b, c):
            await one.writes()

        # One is stopped within a transaction, one between two batches with lines in memory.
        a.writer.checkpoint_chance, b.writer.checkpoint_chance = 1.0, 0.0
        for one in (a, b):
            await one.writes()
        a.stop.wanted = True
        await until(lambda: a.stop.reached)
        b.writer.paused = trio.Event()
        c.writer.share = len(ROOMS)
        await until(lambda: len(c.writer.rooms) == len(ROOMS))
        await c.writes()
        a.writer.share = b.writer.share = 0
        a.stop.over.set()
        b.writer.paused.set()
        b.writer.paused = None
        await until(lambda: a.writer.fenced == b.writer.fenced == 4)
        assert not a.writer.rooms
        assert not b.writer.rooms

        # The database crashes: the same workers go on in the same rooms.
        crash(database_url)
        await until(lambda: c.writer.troubles)
        await c.writes()

        # The owner of all rooms is killed; rooms change hands while the others take over.
        c.scope.cancel()
        with suppress(psycopg.Error):
            hang_up(database_url)
        a.writer.share = b.writer.share = 6
        await until(lambda: len(a.writer.rooms) + len(b.writer.rooms) == len(ROOMS))
        for one in (a, b):
            await one.writes()
        a.writer.release_chance = b.writer.release_chance = 1.0
        a.writer.share = b.writer.share = len(ROOMS)
        for one in (a, b):
            await one.writes(10)
        nursery.cancel_scope.cancel()

    verdict = judge(database_url, workers.promises)
    assert verdict.faults == dict.fromkeys(verdict.faults, 0)
    assert verdict.sessions == len(ROOMS)
    # Those of the beginning, those of the third worker, those after its death.
    assert verdict.turns >= 3 * len(ROOMS) - 4
