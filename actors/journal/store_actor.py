"""The store's actor: writes the backlog to the archive, batch by batch.

A batch is everything that was recorded since the last one; it is durable before the next
is taken.  A batch is written at least every `HEARTBEAT` seconds, even if nothing happened:
its time shows a later run until when this one watched.  If the archive fails, the same batch is
tried again until it is written.  Rooms go on in the meantime, and the backlog bounds what waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, final

import trio
from attrs import frozen

from actors.journal.archive import (
    NOTHING,
    Archive,
    ArchiveLost,
    ArchiveTrouble,
    Fenced,
    Removal,
)
from actors.journal.backlog import Backlog, RowSource
from actors.journal.process_ports import Announce, Clock
from actors.runtime import Actor, Backoff, ReplyTo, receives, sleep

BATCH_INTERVAL: Final = 0.1
"""Seconds between two batches: one sync of the disk for everything that came in between."""
HEARTBEAT: Final = 1.0
"""Seconds between two batches if nothing happens.  Each is a sync of the disk, which costs as much
as 30 idle rooms.  After a kill the gap of a quiet room begins up to so many seconds too early."""
PRUNE_EVERY: Final = 60.0
MAX_VERIFIED_BYTES: Final = 64 << 20
"""An archive of up to so many bytes is read through whenever nothing else is to do; that takes some
hundredths of a second in a thread.  A larger one is read only after a reader failed."""
_LOGGED_BYTES: Final = 1 << 30
"""Bytes dropped for size after which the log says it, even if more is to be dropped."""
WRITE_RETRY: Final = Backoff(first=0.1, most=5.0)
"""Between tries to write to an archive that fails."""


@frozen
class Flush:
    """Ask to be answered when everything recorded by now is stored; False if it cannot be."""

    reply_to: ReplyTo[bool]


StoreMessage: TypeAlias = Flush


@final
class StoreActor(Actor[StoreMessage]):
    """One incarnation.  `backlog` outlives it."""

    def __init__(
        self,
        backlog: Backlog,
        archive: Archive,
        *,
        journals: Callable[[], Iterable[RowSource]],
        clock: Clock,
        announce: Announce,
        trusted_clock: Callable[[], float | None] = lambda: None,
        heartbeat: float = HEARTBEAT,
        fenced: Callable[[frozenset[int]], object] = lambda _: None,
    ) -> None:
        """`journals`: every session in memory, for an archive that lost its content.

        `fenced` is called with the numbers of sessions that this worker may not write: the backlog
        has their rows until `Backlog.unfence` or `Backlog.discard`.

        `trusted_clock`: Unix seconds if another clock than this machine's agrees, else None.
        Only then sessions may be dropped for their age.
        """
        self._backlog = backlog
        self._journals = journals
        self._archive = archive
        self._clock = clock
        self._announce = announce
        self._trusted_clock = trusted_clock
        self._heartbeat = heartbeat
        self._fenced = fenced
        self._flushes: list[ReplyTo[bool]] = []
        self._taken_at = 0.0
        """Seconds of trio at which the newest batch was taken."""

    async def started(self) -> None:
        self._taken_at = trio.current_time()
        self.context.start_soon(self._write_batches)
        self.context.start_soon(self._prune_regularly)

    @receives(Flush)
    def flush(self, message: Flush) -> None:
        if self._backlog.ready.is_set():
            self._flushes.append(message.reply_to)
            self._backlog.has_work.set()
        else:
            message.reply_to.send(False)

    async def _write_batches(self) -> None:
        await self._wait_for_earlier_runs()
        while True:
            await self._backlog.has_work.wait_until(self._taken_at + self._heartbeat)
            retried = self._backlog.in_flight is not None
            flushes, self._flushes = self._flushes, []
            batch = self._backlog.take(self._clock())
            self._taken_at = trio.current_time()
            if retried:
                # This batch is older than the new flushes: the next batch is theirs.
                self._flushes, flushes = flushes, []
            failures = 0
            while not await self._try_to_write(failures):
                failures += 1
                for reply_to in (*flushes, *self._flushes):
                    reply_to.send(False)
                flushes, self._flushes = [], []
                await sleep(WRITE_RETRY.delay(failures, self.context.random))
            self._backlog.done()
            for reply_to in flushes:
                reply_to.send(True)
            if self._flushes:
                self._backlog.has_work.set()
            if batch.rows:
                await sleep(BATCH_INTERVAL)

    async def _wait_for_earlier_runs(self) -> None:
        opened, health = self._backlog.ready, self._backlog.health
        with trio.move_on_after(self._heartbeat):
            await opened.wait()
        if not opened.is_set():
            health.trouble, health.since = (
                "the sessions of earlier runs are not read yet",
                self._clock(),
            )
            await opened.wait()
            # They are read: this was a wait, and nothing has to recover from it.
            health.trouble, health.since = "", None

    async def _try_to_write(self, failures: int) -> bool:
        health, batch = self._backlog.health, self._backlog.in_flight
        assert batch is not None
        try:
            await self._archive.write(batch)
        except Fenced as fenced:
            self._announce("sessions_fenced", sessions=len(fenced.sessions), error=str(fenced))
            self._backlog.fence(fenced.sessions)
            self._fenced(fenced.sessions)
            return await self._try_to_write(failures)  # The rest of the batch.
        except ArchiveTrouble as trouble:
            if health.since is None:
                health.since = self._clock()
            if health.trouble != str(trouble) or failures & (failures + 1) == 0:
                self._announce("store_trouble", error=str(trouble), waiting=self._backlog.waiting)
            health.trouble = str(trouble)
            if isinstance(trouble, ArchiveLost):
                self._write_anew(trouble)
            return False
        if health.since is not None:
            self._announce(
                "store_recovered", after=round(self._clock() - health.since, 1), lost=health.lost
            )
            health.trouble, health.since = "", None
        return True

    async def _sleep_and_verify(self, seconds: float) -> None:
        """Read through the archive as soon as a reader reports damage.

        The writer would not notice: it has its own pages in memory.
        """
        health, failures, until = self._backlog.health, 0, trio.current_time() + seconds
        while trio.current_time() < until:
            with trio.move_on_at(until):
                await self._backlog.verify_wanted.wait()
            if not self._backlog.verify_wanted.is_set():
                return
            self._backlog.verify_wanted = trio.Event()
            try:
                await self._archive.verify()
            except ArchiveLost as lost:
                self._rewrite(lost)
            except ArchiveTrouble as trouble:
                if failures & (failures + 1) == 0:
                    self._announce("store_unreadable", error=str(trouble))
                health.unreadable, failures = str(trouble), failures + 1
                await sleep(WRITE_RETRY.delay(failures, self.context.random))
                self._backlog.verify_wanted.set()
                continue
            health.unreadable, failures = "", 0

    def _rewrite(self, lost: ArchiveLost) -> None:
        """The archive lost its content: sessions in memory go on in a new one."""
        health = self._backlog.health
        health.since = self._clock() if health.since is None else health.since
        health.trouble = str(lost)
        self._announce("store_trouble", error=str(lost), waiting=self._backlog.waiting)
        self._write_anew(lost)

    def _write_anew(self, lost: ArchiveLost) -> None:
        rescued = lost.rows_are_kept
        self._backlog.rewrite(self._journals(), self._clock(), rows_are_kept=rescued)

    async def _prune_regularly(self) -> None:
        """Prune step by step, so that writing never waits long."""
        more, by_age, by_size = False, NOTHING, NOTHING
        while True:
            await self._sleep_and_verify(BATCH_INTERVAL if more else PRUNE_EVERY)
            try:
                if not more:
                    await self._archive.verify(MAX_VERIFIED_BYTES)
                step = await self._archive.prune(self._trusted_clock())
            except ArchiveLost as lost:
                self._rewrite(lost)
                more = False
                continue
            except ArchiveTrouble:
                more = False  # The writer announces it.
                continue
            self._backlog.health.over_size += step.by_size
            more, by_age, by_size = step.more, by_age + step.by_age, by_size + step.by_size
            if not more or by_size.bytes > _LOGGED_BYTES:
                self._announce_pruned("age", by_age)
                self._announce_pruned("size", by_size)
                by_age = by_size = NOTHING

    def _announce_pruned(self, why: str, removal: Removal) -> None:
        if removal:
            self._announce(
                "store_pruned", reason=why, sessions=removal.sessions, bytes=removal.bytes
            )
