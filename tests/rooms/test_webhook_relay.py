"""LiveKit's webhooks at several workers: each is folded once, by the owner of its room."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
import trio
import trio.testing
from attrs import define, field

from actors.journal.archive import ArchiveTrouble
from actors.journal.room_leases import RENEW_EVERY, WorkerStatus
from actors.rooms.room_table import RoomTable
from actors.rooms.webhook_relay import (
    PATIENCE,
    RelayPorts,
    WebhookRelay,
    event_body,
    flush_sessions,
    report_of,
)
from actors.session import WebhookReport, WebhookRoomFinished, WebhookRoomStarted
from actors.session.codec import Unreadable
from actors.simulation.simulated_database import T0, SimulatedDatabase
from actors.simulation.simulated_leases import SimulatedLeases
from tests.store.stored_history import History

REPORT = WebhookRoomStarted(T0 + 0.25, T0, T0 - 1.0, "about the room")


@define(eq=False)
class Worker:
    """One worker with a relay; what its sessions got."""

    database: SimulatedDatabase
    instance: str
    known: set[str] = field(factory=set[str])
    """SIDs of the sessions in memory."""
    stored: set[str] = field(factory=set[str])
    """Those that ended, and that it finds in the database."""
    fenced: set[str] = field(factory=set[str])
    """Those that wait for their lease."""
    took: list[tuple[str, WebhookReport]] = field(factory=list[tuple[str, WebhookReport]])
    is_leader: bool = False
    is_away: bool = False
    leases: SimulatedLeases = field(init=False)
    relay: WebhookRelay = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.leases = SimulatedLeases(self.database.connect(self.instance, T0))
        self.relay = WebhookRelay(
            self.leases,
            RelayPorts(
                take=lambda _, sid, report: self.took.append((sid, report)),
                knows=lambda sid: sid in self.known,
                is_away=lambda: self.is_away,
                is_leader=lambda: self.is_leader,
                is_watched=lambda room: room != "elsewhere",
                adopt=self._adopt,
                flush=self._flush,
            ),
        )

    async def _adopt(self, _: str, sid: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.known |= self.stored & {sid}
        return sid in self.known

    async def _flush(self, sids: Collection[str]) -> dict[str, bool]:
        await trio.lowlevel.checkpoint()
        return {sid: sid in self.known for sid in sids if sid not in self.fenced}

    async def own(self, sid: str) -> None:
        assert await self.leases.acquire("a room", sid) is not None
        self.known.add(sid)

    def post(self, event_id: str, sid: str, report: WebhookReport = REPORT) -> None:
        self.relay.offer(event_id, "a room", sid, report)

    async def _renew(self) -> None:
        while True:
            with suppress(ArchiveTrouble):
                await self.leases.renew(WorkerStatus(self.instance, "1"))
            await trio.sleep(RENEW_EVERY)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Its process; the end of the block is a kill."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.relay.run)
            nursery.start_soon(self._renew)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
def database() -> SimulatedDatabase:
    return SimulatedDatabase(Random(1))


async def test_the_same_webhook_at_two_workers_is_folded_once_by_the_owner(
    database: SimulatedDatabase, autojump_clock: trio.testing.MockClock
) -> None:
    owner, other = Worker(database, "a"), Worker(database, "b", is_leader=True)
    await owner.own("RM_1")
    async with owner.running(), other.running():
        for worker in (other, owner, other):
            worker.post("EV_1", "RM_1")
        other.post("EV_2", "RM_1", WebhookRoomFinished(T0 + 1.0, T0))
        await trio.sleep(PATIENCE * 2)
        # With the time at which the first worker received it, as if the owner had.
        assert owner.took == [("RM_1", REPORT), ("RM_1", WebhookRoomFinished(T0 + 1.0, T0))]
        assert other.took == []
    # It is in batches that were written: the next owner does not get it again.
    database.expire("a")
    await other.own("RM_1")
    async with other.running():
        await trio.sleep(PATIENCE * 2)
    assert other.took == []


async def test_an_owner_that_dies_before_it_stored_a_webhook_leaves_it_to_the_next_one(
    database: SimulatedDatabase, autojump_clock: trio.testing.MockClock
) -> None:
    owner, other = Worker(database, "a"), Worker(database, "b")
    await owner.own("RM_1")
    other.post("EV_1", "RM_1")
    await other.relay.look()
    await owner.relay.look()
    assert owner.took == [("RM_1", REPORT)]
    database.expire("a")
    await other.own("RM_1")
    async with other.running():
        await trio.sleep(PATIENCE)
    assert other.took == [("RM_1", REPORT)]


async def test_a_webhook_that_the_owner_could_not_store_goes_to_the_next_one(
    database: SimulatedDatabase, autojump_clock: trio.testing.MockClock
) -> None:
    owner, other = Worker(database, "a"), Worker(database, "b")
    await owner.own("RM_1")
    owner.fenced.add("RM_1")
    async with owner.running():
        other.post("EV_1", "RM_1")
        await other.relay.look()
        await trio.sleep(PATIENCE)
    assert owner.took == [("RM_1", REPORT)]
    database.expire("a")
    await other.own("RM_1")
    async with other.running():
        await trio.sleep(PATIENCE)
    assert other.took == [("RM_1", REPORT)]


async def test_what_a_session_recorded_is_stored_or_waits_or_never_will_be() -> None:
    history, table = History(), RoomTable()
    journal = history.begin("a room", "RM_1")
    table.add_idle(journal)

    async def flush() -> None:
        await trio.lowlevel.checkpoint()
        history.batch()

    async def ends(*sids: str) -> dict[str, bool]:
        return dict(await flush_sessions(table, history.backlog, flush, sids))

    history.backlog.fence([journal.number])
    assert await ends("RM_1", "RM_unknown") == {"RM_unknown": False}
    history.backlog.unfence(journal.number)
    assert await ends("RM_1") == {"RM_1": True}
    history.talk(journal)
    history.backlog.discard([journal])
    assert await ends("RM_1") == {"RM_1": False}


async def test_the_leader_folds_a_late_webhook_of_an_ended_session_and_begins_none(
    database: SimulatedDatabase, autojump_clock: trio.testing.MockClock
) -> None:
    leader, other = Worker(database, "a", is_leader=True), Worker(database, "b")
    leader.stored.add("RM_over")
    async with leader.running(), other.running():
        other.post("EV_1", "RM_over")
        other.post("EV_2", "RM_unknown")
        other.relay.offer("EV_3", "elsewhere", "RM_over_too", REPORT)
        leader.stored.add("RM_over_too")
        other.post("EV_4", "RM_soon")
        await trio.sleep(1.0)
        assert leader.took == []  # The rooms may still get an owner.
        await other.own("RM_soon")
        await trio.sleep(PATIENCE * 2)
    assert leader.took == [("RM_over", REPORT)]
    assert other.took == [("RM_soon", REPORT)]


async def test_while_the_database_is_away_own_webhooks_are_folded_at_once_and_others_wait(
    database: SimulatedDatabase, autojump_clock: trio.testing.MockClock
) -> None:
    one, other = Worker(database, "a"), Worker(database, "b")
    await one.own("RM_1")
    await other.own("RM_2")
    async with one.running(), other.running():
        one.is_away, database.refusal = True, "it is away"
        one.post("EV_1", "RM_1")
        one.post("EV_2", "RM_2")
        assert one.took == [("RM_1", REPORT)]
        await trio.sleep(1.0)
        one.is_away, database.refusal = False, None
        await trio.sleep(2.0)
    assert other.took == [("RM_2", REPORT)]
    assert one.took == [("RM_1", REPORT)]


def test_a_webhook_of_a_newer_version_is_refused_by_name() -> None:
    assert report_of(event_body(REPORT)) == REPORT
    for body in (b"\xff", event_body(REPORT)[:-1], b"\x92\xa4what\xc4\x00"):
        with pytest.raises(Unreadable):
            report_of(body)
