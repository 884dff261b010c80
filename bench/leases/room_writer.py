"""One worker without LiveKit: it owns rooms, records lines of them, and writes these."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Final, final

import trio
from attrs import frozen

from actors.journal.archive import Archive, ArchiveLost, ArchiveTrouble, Batch, Fenced
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.room_leases import RoomLease, RoomLeases, WorkerStatus
from actors.session import DataReceived, SessionBegan

INTERVAL: Final = 0.05
"""Seconds between two batches."""
RENEW_STEPS: Final = 5
"""Batches between two renewals.  A worker that is stopped has most often a batch to write next."""


@frozen
class _Room:
    journal: Journal
    turn: str
    """Names the time of this owner in each line; no other owner's has the same name."""


@final
class RoomWriter:
    """See the module.  `run` until it is cancelled."""

    def __init__(
        self,
        archive: Archive,
        leases: RoomLeases,
        name: str,
        *,
        share: int,
        random: Random,
        acknowledged: Callable[[Batch], object] = lambda _: None,
    ) -> None:
        """`name`: of the worker and its process.  `acknowledged` is called after each batch."""
        self.share = share
        """The most rooms that it acquires."""
        self.checkpoint_chance = 0.3
        """Of a batch with a checkpoint of one room: one of rows alone goes another way."""
        self.release_chance = 0.0
        """Of giving a room away at each step."""
        self.rooms: dict[str, _Room] = {}
        self.fenced = 0
        """Sessions that it was not allowed to write."""
        self.batches = 0
        self.troubles = 0
        self.paused: trio.Event | None = None
        """Stops it between two batches until the event is set."""
        self._archive = archive
        self._leases = leases
        self._name = name
        self._random = random
        self._acknowledged = acknowledged
        self._backlog = Backlog()
        self._turns = 0
        self._steps = 0
        self._is_loaded = False

    async def run(self) -> None:
        """Record, write and renew, without end."""
        while True:
            self._record()
            if self.paused is not None:
                await self.paused.wait()
            try:
                await self._write()
                if self._steps % RENEW_STEPS == 0:
                    await self._look_after_rooms()
                self._steps += 1
            except ArchiveLost as lost:
                journals = [room.journal for room in self.rooms.values()]
                kept = lost.rows_are_kept
                self._backlog.rewrite(journals, time.time(), rows_are_kept=kept)
            except ArchiveTrouble:
                self.troubles += 1
            await trio.sleep(INTERVAL)

    def _record(self) -> None:
        for room in self.rooms.values():
            room.journal.record(DataReceived(time.time(), "alice", room.turn, 8, "text"))
            room.journal.unpublished.clear()
        if self.rooms and self._random.random() < self.checkpoint_chance:
            one = self._random.choice([room.journal for room in self.rooms.values()])
            self._backlog.rewrite((one,), time.time(), rows_are_kept=True)

    async def _write(self) -> None:
        batch = self._backlog.take(time.time())
        while True:
            try:
                await self._archive.write(batch)
                break
            except Fenced as fenced:
                self.fenced += len(fenced.sessions)
                self._leave(fenced.sessions)
                assert self._backlog.in_flight is not None
                batch = self._backlog.in_flight
        self._acknowledged(batch)
        self._backlog.done()
        self.batches += 1

    def _leave(self, sessions: frozenset[int]) -> None:
        rooms = self.rooms.items()
        self._backlog.discard([one.journal for _, one in rooms if one.journal.number in sessions])
        self._backlog.drop(sessions)  # The released ones are not in `rooms`.
        self.rooms = {sid: room for sid, room in rooms if room.journal.number not in sessions}

    async def _look_after_rooms(self) -> None:
        if not self._is_loaded:
            for stored in (await self._archive.load()).sessions:
                self._enter(Journal.resume(stored, self._backlog))
            self._is_loaded = True
        status = WorkerStatus(self._name, "", rooms=len(self.rooms), max_rooms=self.share)
        renewal = await self._leases.renew(status)
        for sid in self.rooms.keys() - renewal.rooms:
            self._backlog.discard([self.rooms.pop(sid).journal])
        if self.rooms and self._random.random() < self.release_chance:
            room = self.rooms.pop(self._random.choice(sorted(self.rooms)))
            self._backlog.release(room.journal, time.time())
        elif len(self.rooms) < self.share:
            for lease in await self._leases.acquire_unowned(self.share - len(self.rooms)):
                self._begin(lease)

    def _begin(self, lease: RoomLease) -> None:
        self._backlog.unfence(lease.session)
        if lease.stored is not None:
            self._enter(Journal.resume(lease.stored, self._backlog))
            return
        began = SessionBegan(
            time.time(), lease.room, lease.room_sid, ("AJ_1",), self._name, "agent", None
        )
        self._enter(Journal.begin(began, self._backlog, lease.session))

    def _enter(self, journal: Journal) -> None:
        self._turns += 1
        self.rooms[journal.state.room_sid] = _Room(journal, f"{self._name}.{self._turns}")
