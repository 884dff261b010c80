"""The store's actor: writes what waits in the backlog to the archive, batch by batch.

A batch is everything that was recorded since the last one; it is durable before the next
is taken.  One is written at least every `HEARTBEAT` seconds even where nothing happened:
its time tells a later run until when this one watched.  Where the archive is in trouble,
the same batch is tried again until it is taken; rooms go on meanwhile, and what waits is
bounded by the backlog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, final

import trio
from attrs import frozen

from actors.journal.archive import NOTHING, Archive, ArchiveLost, ArchiveTrouble, Removal
from actors.journal.backlog import Backlog, RowSource
from actors.journal.process_ports import Announce, Clock
from actors.runtime import Actor, Backoff, ReplyTo, receives

GATHER: Final = 0.1
"""Seconds between two batches: one sync of the disk for all that came meanwhile."""
HEARTBEAT: Final = 0.5
"""Seconds between two batches where nothing happened."""
PRUNE_EVERY: Final = 60.0
OFTEN_VERIFIED: Final = 64 << 20
"""Bytes that are read through each time nothing else is to do, which takes some hundredths of a
second in a thread; a larger archive only where somebody could not read it."""
_TOLD_BYTES: Final = 1 << 30
"""After so much that went by size there is a line in the log, also where more is to go."""
AGAIN: Final = Backoff(first=0.1, most=5.0)
"""Between tries to write where the archive is in trouble."""


@frozen
class Flush:
    """Ask to be told when all that was recorded by now is kept; False where it cannot be."""

    reply_to: ReplyTo[bool]


StoreMessage: TypeAlias = Flush


@final
class StoreActor(Actor[StoreMessage]):
    """One incarnation; `backlog` is what earlier ones left."""

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
    ) -> None:
        """`journals`: every session in memory, for an archive that lost what it had.

        `trusted_clock`: Unix seconds where another clock than this machine's agrees, else None.
        Only then something may go for its age.
        """
        self._backlog = backlog
        self._journals = journals
        self._archive = archive
        self._clock = clock
        self._announce = announce
        self._trusted_clock = trusted_clock
        self._heartbeat = heartbeat
        self._flushes: list[ReplyTo[bool]] = []

    async def started(self) -> None:
        self.context.start_soon(self._write_for_ever)
        self.context.start_soon(self._prune_now_and_then)

    @receives(Flush)
    def flush(self, message: Flush) -> None:
        if self._backlog.ready.is_set():
            self._flushes.append(message.reply_to)
            self._backlog.has_work.set()
        else:
            message.reply_to.send(False)

    async def _write_for_ever(self) -> None:
        await self._wait_for_earlier_runs()
        while True:
            with trio.move_on_after(self._heartbeat):
                await self._backlog.has_work.wait()
            retried = self._backlog.in_flight is not None
            flushes, self._flushes = self._flushes, []
            batch = self._backlog.take(self._clock())
            if retried:
                # It is from before those who ask now: the next batch is theirs.
                self._flushes, flushes = flushes, []
            failures = 0
            while not await self._try_to_write(failures):
                failures += 1
                for reply_to in (*flushes, *self._flushes):
                    reply_to.send(False)
                flushes, self._flushes = [], []
                await trio.sleep(AGAIN.delay(failures, self.context.random))
            self._backlog.done()
            for reply_to in flushes:
                reply_to.send(True)
            if self._flushes:
                self._backlog.has_work.set()
            if batch.lines:
                await trio.sleep(GATHER)

    async def _wait_for_earlier_runs(self) -> None:
        opened, health = self._backlog.ready, self._backlog.health
        with trio.move_on_after(self._heartbeat):
            await opened.wait()
        if not opened.is_set():
            health.trouble, health.since = "what earlier runs left is not read yet", self._clock()
            await opened.wait()

    async def _try_to_write(self, failures: int) -> bool:
        health, batch = self._backlog.health, self._backlog.in_flight
        assert batch is not None
        try:
            await self._archive.write(batch)
        except ArchiveTrouble as trouble:
            if health.since is None:
                health.since = self._clock()
            if health.trouble != str(trouble) or failures & (failures + 1) == 0:
                self._announce("store_trouble", error=str(trouble), waiting=self._backlog.waiting)
            health.trouble = str(trouble)
            if isinstance(trouble, ArchiveLost):
                self._keep_anew(trouble)
            return False
        if health.since is not None:
            self._announce(
                "store_recovered", after=round(self._clock() - health.since, 1), lost=health.lost
            )
            health.trouble, health.since = "", None
        return True

    async def _sleep_and_verify(self, seconds: float) -> None:
        """Read through the archive as soon as somebody who read it found something wrong.

        The writer does not find it: it has in memory what it wrote.
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
                await trio.sleep(AGAIN.delay(failures, self.context.random))
                self._backlog.verify_wanted.set()
                continue
            health.unreadable, failures = "", 0

    def _rewrite(self, lost: ArchiveLost) -> None:
        """What was kept is gone: what is in memory goes on in a new archive."""
        health = self._backlog.health
        health.since = self._clock() if health.since is None else health.since
        health.trouble = str(lost)
        self._announce("store_trouble", error=str(lost), waiting=self._backlog.waiting)
        self._keep_anew(lost)

    def _keep_anew(self, lost: ArchiveLost) -> None:
        kept = lost.lines_are_kept
        self._backlog.rewrite(self._journals(), self._clock(), lines_are_kept=kept)

    async def _prune_now_and_then(self) -> None:
        """Step by step, so that writing is never held up for long."""
        more, by_age, by_size = False, NOTHING, NOTHING
        while True:
            await self._sleep_and_verify(GATHER if more else PRUNE_EVERY)
            try:
                if not more:
                    await self._archive.verify(OFTEN_VERIFIED)
                step = await self._archive.prune(self._trusted_clock())
            except ArchiveLost as lost:
                self._rewrite(lost)
                more = False
                continue
            except ArchiveTrouble:
                more = False  # The writing says it.
                continue
            self._backlog.health.over_size += step.by_size
            more, by_age, by_size = step.more, by_age + step.by_age, by_size + step.by_size
            if not more or by_size.bytes > _TOLD_BYTES:
                self._tell_of("age", by_age)
                self._tell_of("size", by_size)
                by_age = by_size = NOTHING

    def _tell_of(self, why: str, removal: Removal) -> None:
        if removal:
            self._announce(
                "store_pruned", reason=why, sessions=removal.sessions, bytes=removal.bytes
            )
