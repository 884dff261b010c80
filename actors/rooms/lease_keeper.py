"""The keeper of this worker's leases: one watcher a room, never none.

Where several workers share a database, a worker may watch a room and write its session only while
it owns the room (port: `actors.journal.room_leases`).  The keeper

* acquires rooms for the parts that bring us into them: the watching of rooms, and offered jobs;
* gives the manager the session that a former owner stored, so that it goes on;
* renews the leases, and has those rooms left that another worker acquired meanwhile: nothing of
  them that is not stored yet is stored any more (`actors.rooms.fenced_sessions` says why);
* gives away rooms that are over for us, and rooms in which we have not been for too long;
* hands all rooms over at the end of this worker.  The successor is in a room before we leave it.

While the database is away, rooms go on and new ones are watched.  Their sessions wait in the
backlog.  When it is back, the first batch acquires the rooms of new sessions.  The database refuses
a session of a room that another worker owns, and then that room is left.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final, final

import trio
from attrs import evolve

from actors.journal.archive import ArchiveTrouble
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.process_ports import Announce
from actors.journal.room_leases import RENEW_EVERY, RoomLease, RoomLeases, WorkerStatus
from actors.rooms.fenced_sessions import FencedSessions
from actors.rooms.lease_view import LeaseView, is_over
from actors.rooms.messages import HandOver, Recovered
from actors.rooms.room_succession import LeasedRoom, RoomSuccession
from actors.rooms.room_table import RoomTable
from actors.runtime import sleep

ANSWER_WITHIN: Final = 2.0
"""Seconds within which the database must say whether we get the room of an offered job.  LiveKit
waits 2.7 s for our answer.  Without an answer of the database we take the job."""
UNUSED_AFTER: Final = 8.0
"""Seconds for which a room may be ours without a job or a session, before it is given away."""
LOOK_EVERY: Final = 0.1
"""Seconds between two looks at the database during a hand-over."""
MOST_OVER: Final = 10_000
"""Rooms that we remember because they are over."""
MOST_LEAVING: Final = 4
"""Rooms that are left for their successors at the same time."""


@final
class LeaseKeeper(LeaseView):
    """A service: `run`.  The other methods are for the trio thread, also before `run`."""

    def __init__(
        self,
        leases: RoomLeases,
        table: RoomTable,
        backlog: Backlog,
        tell_manager: Callable[[HandOver | Recovered], object],
        *,
        worker: str,
        status: Callable[[], WorkerStatus],
        announce: Announce,
        renew_every: float = RENEW_EVERY,
    ) -> None:
        """`worker`: this worker's instance."""
        self._worker = worker
        self._leases = leases
        self._table = table
        self._tell_manager = tell_manager
        self._backlog = backlog
        self._status = status
        self._announce = announce
        self._renew_every = renew_every
        self._owned: dict[str, LeasedRoom] = {}
        """The rooms that are ours, by SID."""
        self._numbers: dict[str, int] = {}
        """Keys of new sessions, by room SID."""
        self._succession = RoomSuccession(leases, table)
        self._fenced = FencedSessions(table, backlog, announce)
        self._over: OrderedDict[str, None] = OrderedDict()
        """SIDs of rooms whose stored session says that they are not to be watched any more."""
        self._waiting = trio.Event()
        self._offers: deque[tuple[str, str, Callable[[bool], object]]] = deque()
        self._epoch: int | None = None
        self._trouble = ""
        self._handing_over = False

    # ------------------------------------------------- for other parts of the program

    @property
    def owned(self) -> frozenset[str]:
        """SIDs of the rooms that are ours."""
        return frozenset(self._owned)

    @property
    def trouble(self) -> str:
        """Why the database cannot be asked; empty while it can."""
        return self._trouble

    def session_number(self, room_sid: str) -> int | None:
        return self._numbers.pop(room_sid, None)

    def is_reserved(self, room_sid: str) -> bool:
        return room_sid in self._succession.rooms

    @property
    def without_job(self) -> Mapping[str, str]:
        """The rooms, name by SID, that are ours or to be, and that we do not enter."""
        entered = self._watched | {job.room_sid for job in self._table.pending_jobs.values()}
        idle = {
            sid: (one.room, self._table.find_idle(sid))
            for sid, one in (*self._owned.items(), *self._succession.rooms.items())
            if one.room and sid not in entered
        }
        return {
            sid: room
            for sid, (room, journal) in idle.items()
            if journal is None or not journal.ended
        }

    def is_over(self, room_sid: str) -> bool:
        """True if the stored session of this room says that it is not to be watched any more."""
        return room_sid in self._over

    def on_fenced(self, sessions: Iterable[int]) -> None:
        """The database refused these sessions: another worker owns their rooms."""
        self._fenced.add(sessions)
        self._waiting.set()

    def answer_offer(self, room: str, room_sid: str, answer: Callable[[bool], object]) -> None:
        """Call back whether an offered job for this room is to be taken."""
        if not room_sid or room_sid in self._owned or room_sid in self._succession.rooms:
            answer(True)
            return
        self._offers.append((room, room_sid, answer))
        self._waiting.set()

    async def acquire(self, room: str, room_sid: str, *, offered: bool = False) -> bool:
        """Own this room.  False where another worker owns it.  Raises `ArchiveTrouble`.

        Also False where the stored session says that the room is over, unless LiveKit `offered` a
        job for it.
        """
        if room_sid in self._owned:
            return True
        journal = self._journal(room_sid)
        number = None if journal is None or journal.ended else journal.number
        lease = await self._leases.acquire(room, room_sid, number)
        if lease is None:
            return False
        if not offered and is_over(lease):
            self._over[room_sid] = None
            if len(self._over) > MOST_OVER:
                self._over.popitem(last=False)
            await self._leases.release([room_sid])
            return False
        self.take(lease)
        return True

    async def reserve(self, most: int) -> tuple[tuple[str, str], ...]:
        """Become the successor in rooms, SID and name, to be entered.  Raises `ArchiveTrouble`."""
        reserved = await self._succession.reserve(most)
        self._waiting.set()
        return reserved

    def give_away(self, room_sids: Collection[str]) -> None:
        """Let other workers have these rooms of ours."""
        for sid in room_sids:
            self._owned.pop(sid, None)
            self._numbers.pop(sid, None)
        if room_sids:
            self._tell_manager(HandOver(frozenset(room_sids)))

    # ------------------------------------------------- the service

    async def run(self) -> None:
        """For as long as the program runs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew_regularly)
            while True:
                self._waiting = trio.Event()
                while self._offers:
                    nursery.start_soon(self._answer, *self._offers.popleft())
                with self._trouble_noted():
                    await self._settle_fenced()
                    await self._take_over_reserved()
                if self._succession.rooms or self._fenced:
                    with trio.move_on_after(LOOK_EVERY):
                        await self._waiting.wait()
                else:
                    await self._waiting.wait()

    @contextmanager
    def _trouble_noted(self) -> Generator[None, None, None]:
        try:
            yield
        except ArchiveTrouble as trouble:
            if not self._trouble:
                self._announce("leases_unknown", error=str(trouble))
            self._trouble = str(trouble)

    async def _answer(self, room: str, room_sid: str, answer: Callable[[bool], object]) -> None:
        available = True
        with trio.move_on_after(ANSWER_WITHIN), self._trouble_noted():
            available = await self.acquire(room, room_sid, offered=True)
        answer(available)

    async def _renew_regularly(self) -> None:
        while True:
            with self._trouble_noted():
                await self.renew()
            await sleep(LOOK_EVERY if self._handing_over else self._renew_every)

    async def renew(self) -> None:
        """Renew the leases, and do what follows.  Raises `ArchiveTrouble`."""
        before = set(self._owned)
        inside = self._table.connected_sids
        renewal = await self._leases.renew(
            self._status(), [sid for sid in before if sid not in inside]
        )
        self._trouble = ""
        if self._epoch not in (None, renewal.epoch):
            self._announce("leases_lost", rooms=len(before - renewal.rooms))
        self._epoch = renewal.epoch
        now = trio.current_time()
        for sid in renewal.rooms - before:
            # The first batch of a session acquired its room.
            journal = self._journal(sid)
            name = "" if journal is None else journal.state.room
            self._owned.setdefault(sid, LeasedRoom(name, now))
        if over := sorted(before - renewal.rooms):
            self._lose_or_write(over, await self._leases.owners(over))
        self._leave_some(renewal.ready & before)
        await self._give_up_unwatched(renewal.overdue & before)
        await self._give_up_unused(now)

    def _lose_or_write(self, room_sids: Iterable[str], owners: Mapping[str, str]) -> None:
        """We did not own these rooms any more.  Lose those with an open session that others own.

        The lease of a session that ends is over with it.  The session may go on since.  Its next
        batch acquires the room again, or is fenced.
        """
        lost = list[str]()
        for sid in room_sids:
            owner, journal = owners.get(sid), self._journal(sid)
            if owner != self._worker:
                self._owned.pop(sid, None)
                # Another worker's session has it now.
                self._numbers.pop(sid, None)
            if journal is None or journal.ended or owner == self._worker:
                continue
            if owner is None:
                self._backlog.rewrite((journal,), journal.state.last_at, rows_are_kept=True)
            else:
                lost.append(sid)
        self._lose(lost)

    def _leave_some(self, room_sids: Collection[str]) -> None:
        """Leave rooms whose successors are inside: few at a time, so that each gap is short."""
        leaving = sum(one.leaving is not None for one in self._table.records.values())
        self.give_away(sorted(room_sids)[: max(0, MOST_LEAVING - leaving)])

    def _lose(self, room_sids: Collection[str]) -> None:
        """Another worker owns these rooms now."""
        journals = [self._journal(sid) for sid in room_sids]
        for sid in room_sids:
            self._succession.drop(sid)
        self._fenced.refuse([one for one in journals if one is not None])
        self.give_away(room_sids)

    async def _give_up_unwatched(self, room_sids: Collection[str]) -> None:
        """We have not been inside these rooms for too long: another worker may get in."""
        if room_sids and await self._has_others():
            self._announce("rooms_given_away", rooms=len(room_sids))
            self.give_away(room_sids)

    async def _give_up_unused(self, now: float) -> None:
        """Give away the rooms that we never entered, and that a late report made ours again."""
        watched, unwatched = self._watched, self._table.unwatched
        unused = {
            sid
            for sid, one in self._owned.items()
            if now - one.since >= UNUSED_AFTER and sid not in watched and sid not in unwatched
        }
        if unused:
            await self._leases.release(unused)
            for sid in unused:
                self._owned.pop(sid, None)
                self._numbers.pop(sid, None)

    # ------------------------------------------------- sessions that others wrote

    def take(self, lease: RoomLease) -> None:
        """This room is ours: go on with its session."""
        sid, journal = lease.room_sid, self._journal(lease.room_sid)
        self._owned[sid] = LeasedRoom(lease.room, trio.current_time())
        self._succession.drop(sid)
        stored = lease.stored
        if stored is None:
            # A session that ended before any of it was stored is fenced.
            if (
                journal is None
                or journal.foreign
                or (journal.ended and journal.number not in self._fenced)
            ):
                self._numbers[sid] = lease.session
            else:
                self._fenced.remove(journal.number)
                self._backlog.unfence(journal.number)
                if journal.number != lease.session:
                    journal.renumber(lease.session)
            return
        if journal is not None:
            self._fenced.remove(journal.number)
        if journal is not None and journal.number == stored.session:
            if lease.former == self._worker and not journal.foreign:
                self._backlog.unfence(journal.number)
                return
            # Another worker went on with it: what we have in memory is of no use.
            self._fenced.refuse([journal])
            self._tell_manager(HandOver(frozenset([sid])))
        self._table.add_recovered(evolve(stored, seen_until=lease.seen_until))
        self._tell_manager(Recovered())

    async def _settle_fenced(self) -> None:
        """Acquire the rooms of sessions that the database refused, or leave them."""
        if not self._fenced:
            return
        for journal in self._fenced.journals():
            state = journal.state
            if state.room_sid in self._succession.rooms:
                self._fenced.remove(journal.number)
                continue
            self._owned.pop(state.room_sid, None)
            if not await self.acquire(state.room, state.room_sid):
                self._announce("room_left_to_owner", room=state.room, room_sid=state.room_sid)
                self._lose([state.room_sid])

    async def _take_over_reserved(self) -> None:
        """Acquire rooms of draining workers, once these have left them."""
        for room, sid in await self._succession.find_released():
            if self._table.find_room(sid) is not None:
                await self.acquire(room, sid)
        for sid in self._succession.drop_late():
            if (journal := self._journal(sid)) is not None:
                self.on_fenced([journal.number])

    # ------------------------------------------------- the end of this worker

    async def hand_over(self, within: float) -> None:
        """Have other workers take over our rooms, for at most so many seconds.

        Returns at once where there is no other worker.  Rooms that are ours afterwards got no
        successor.
        """
        if not self._owned:
            return
        with trio.move_on_after(within), self._trouble_noted():
            await self.renew()
            if not await self._has_others():
                return
            self._handing_over = True
            await self._leases.resign()
            self._announce("rooms_offered", rooms=len(self._owned))
            self.give_away(self.owned - self._watched)
            await self._leases.offer(tuple(self._owned))
            looks = 0
            while self._owned or self._table.records or not self._backlog.empty:
                await sleep(LOOK_EVERY)
                looks += 1
                if looks % 10 == 0 and not await self._has_others():
                    break
        self._handing_over = False

    # ------------------------------------------------- lookups

    async def _has_others(self) -> bool:
        """True if another worker could take over rooms of ours."""
        workers = await self._leases.workers()
        return any(
            one.running and not one.draining and one.instance != self._worker for one in workers
        )

    def _journal(self, room_sid: str) -> Journal | None:
        record = self._table.find_room(room_sid)
        return self._table.find_idle(room_sid) if record is None else record.journal

    @property
    def _watched(self) -> frozenset[str]:
        """SIDs of the rooms that we are in, or on the way into or out of."""
        records = self._table.records.values()
        return frozenset(record.journal.state.room_sid for record in records)
