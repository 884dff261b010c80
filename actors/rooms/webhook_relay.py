"""LiveKit's webhooks where several workers share a database: each reaches the owner of its room.

LiveKit posts a webhook to each of its URLs once, and behind one URL may be any of the workers.  So
each webhook goes through the database (`RoomLeases.offer_event`), whose key is the webhook's id:
the same one from two workers is there once.  The owner of the room takes it from there, and its
session folds it.  It is dropped after its fold was stored, so an owner that dies before, or whose
records the database refuses, leaves it to the next one.  That one may fold a webhook which the
owner before has stored too: the second fold changes nothing.

The leader also takes the webhooks of rooms that nobody owns.  It waits with them: the room may get
an owner, who takes them too.  If it has none, the webhook may be a late one about a session that
ended.  Then the leader goes on with that session and folds it.  A webhook never begins a session
here: another worker may be about to watch the room.

While the database is away, a webhook of a room that is ours goes to its session at once.  Others
wait, bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeAlias, cast, final

import msgspec
import trio
from attrs import define, frozen

from actors.journal.archive import ArchiveTrouble
from actors.journal.backlog import Backlog
from actors.journal.journal import JournalView
from actors.journal.room_leases import EVENT_SECONDS, OfferedEvent, RoomLeases
from actors.rooms.room_table_view import RoomTableView
from actors.runtime import sleep
from actors.session import WebhookReport
from actors.session.codec import Unreadable, decode_record, encode_record

LOOK_EVERY: Final = 0.5
"""Seconds between two looks for webhooks."""
STORED_AFTER: Final = 0.5
"""Seconds after which a webhook that was handed to its session is surely folded."""
PATIENCE: Final = 5.0
"""Seconds for which the leader waits for an owner of the room."""
MOST_WAITING: Final = 10_000
AT_ONCE: Final = 100

Take: TypeAlias = Callable[[str, str, WebhookReport], object]
"""Hand a report to the session of a room: its name, its SID, the report."""


def event_body(report: WebhookReport) -> bytes:
    """A report as it is in the database, with the time at which it was received."""
    return msgspec.msgpack.encode(encode_record(report))


def report_of(body: bytes) -> WebhookReport:
    """The report.  Raises `Unreadable`: a newer version of the program wrote it."""
    try:
        tag, record = msgspec.msgpack.decode(body, type=tuple[str, bytes])
    except msgspec.MsgspecError as error:
        raise Unreadable(f"webhook: {error}") from None
    return cast("WebhookReport", decode_record(tag, record))


@frozen
class RelayPorts:
    """The parts of the program that a relay uses.  All but the last two are quick."""

    take: Take
    knows: Callable[[str], bool]
    """True if a session of this room SID is in memory."""
    is_away: Callable[[], bool]
    """True if the database does not answer."""
    is_leader: Callable[[], bool]
    is_watched: Callable[[str], bool]
    """True if rooms of this name are to be watched."""
    adopt: Callable[[str, str], Awaitable[bool]]
    """Go on with the stored session of a room, name and SID, that nobody owns.  False: there is
    none.  Raises `ArchiveTrouble`."""
    flush: Callable[[Collection[str]], Awaitable[Mapping[str, bool]]]
    """See `flush_sessions`: for sessions of these room SIDs."""


async def flush_sessions(
    table: RoomTableView,
    backlog: Backlog,
    flush: Callable[[], Awaitable[object]],
    room_sids: Collection[str],
) -> Mapping[str, bool]:
    """Wait until what these sessions recorded by now is stored, where it may be stored.

    `flush` waits until the backlog is written, without sessions that the database refused.  The
    answer by room SID: True where all is stored, False where this worker never will store it.  A
    session that still waits for its lease is left out.
    """
    journals = {sid: _find(table, sid) for sid in room_sids}
    before = {sid: (one, one.number, one.seq) for sid, one in journals.items() if one is not None}
    await flush()
    ends = dict.fromkeys(journals.keys() - before.keys(), False)
    for sid, (journal, number, seq) in before.items():
        if journal.foreign:
            ends[sid] = False
        elif journal.number == number and backlog.has_stored(number, seq):
            ends[sid] = True
    return ends


def _find(table: RoomTableView, room_sid: str) -> JournalView | None:
    record = table.find_room(room_sid)
    return table.find_idle(room_sid) if record is None else record.journal


@define
class _Waiting:
    """A webhook that was taken from the database."""

    event: OfferedEvent
    since: float
    """Seconds of trio."""
    is_settled: bool = False
    """The leader looked for a session of it."""


@final
class WebhookRelay:
    """A service: `run`.  `offer` is for the trio thread, also before `run`."""

    def __init__(self, leases: RoomLeases, ports: RelayPorts) -> None:
        self._leases = leases
        self._ports = ports
        self._offers: deque[OfferedEvent] = deque(maxlen=MOST_WAITING)
        self._waiting: dict[str, _Waiting] = {}
        self._folded: dict[str, tuple[str, float]] = {}
        """By id: its room SID, and seconds of trio at which it was handed to its session."""
        self._wanted = trio.Event()

    def offer(self, event_id: str, room: str, room_sid: str, report: WebhookReport) -> None:
        """LiveKit posted this webhook to this worker.  Never waits."""
        if self._ports.is_away() and self._ports.knows(room_sid):
            self._ports.take(room, room_sid, report)
            return
        self._offers.append(OfferedEvent(event_id, room, room_sid, event_body(report)))
        self._wanted.set()

    async def run(self) -> None:
        """For as long as the program runs."""
        while True:
            self._wanted = trio.Event()
            try:
                await self.look()
            except ArchiveTrouble:
                # The keeper of the leases announces it.
                await sleep(LOOK_EVERY)
                continue
            with trio.move_on_after(LOOK_EVERY):
                await self._wanted.wait()

    async def look(self) -> None:
        """Offer and take webhooks once.  Raises `ArchiveTrouble`."""
        while self._offers:
            event = self._offers[0]
            await self._leases.offer_event(event)
            # It may have been dropped from the left meanwhile, because too many came.
            if self._offers and self._offers[0] is event:
                self._offers.popleft()
        taken = await self._leases.take_events(AT_ONCE, unowned=self._ports.is_leader())
        now = trio.current_time()
        for event in taken:
            # After another epoch began, what was taken before is given again.
            if event.id not in self._folded:
                self._waiting.setdefault(event.id, _Waiting(event, now))
        self._hand_over(now)
        await self._settle(now)
        await self._drop_stored(now)

    def _hand_over(self, now: float) -> None:
        """Give the webhooks of sessions in memory to these."""
        for key, one in tuple(self._waiting.items()):
            event = one.event
            if self._ports.knows(event.room_sid):
                del self._waiting[key]
                self._folded[key] = event.room_sid, now
                try:
                    report = report_of(event.body)
                except Unreadable:
                    continue
                self._ports.take(event.room, event.room_sid, report)
            elif now - one.since > EVENT_SECONDS or len(self._waiting) > MOST_WAITING:
                del self._waiting[key]

    async def _settle(self, now: float) -> None:
        """For the leader: find the sessions of webhooks whose rooms have no owner."""
        if not self._ports.is_leader():
            return
        late = [
            one
            for one in self._waiting.values()
            if not one.is_settled and now - one.since >= PATIENCE
        ]
        if not late:
            return
        owners = await self._leases.owners({one.event.room_sid for one in late})
        unowned = {one.room_sid for one in await self._leases.unowned()}
        for one in late:
            event = one.event
            if event.room_sid in owners:
                # Its owner takes it, if it is another worker: this one knows its own rooms.
                one.is_settled = True
            elif event.room_sid not in unowned and not self._ports.knows(event.room_sid):
                if self._ports.is_watched(event.room):
                    await self._ports.adopt(event.room, event.room_sid)
                one.is_settled = True

    async def _drop_stored(self, now: float) -> None:
        due = {key: sid for key, (sid, at) in self._folded.items() if now - at >= STORED_AFTER}
        if not due:
            return
        ends = await self._ports.flush(set(due.values()))
        if stored := [key for key, sid in due.items() if ends.get(sid)]:
            await self._leases.drop_events(stored)
        for key, sid in due.items():
            # The others go to the room's next owner, which may be this worker again.
            if sid in ends:
                del self._folded[key]
