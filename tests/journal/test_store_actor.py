"""The store's actor and what it takes over after a restart, on a simulated disk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from actors.journal import row_queue
from actors.journal.archive import Batch, JournalRow
from actors.journal.backlog import CHECKPOINT_ROWS, Backlog
from actors.journal.journal import Journal
from actors.journal.store_actor import PRUNE_EVERY, WRITE_RETRY, Flush, StoreActor
from actors.rooms.messages import Recovered, RoomsVanished, WebhookReceived
from actors.runtime import ChildSpec, open_system
from actors.session import (
    DataReceived,
    ParticipantInfo,
    RoomMetadataChanged,
    SessionBegan,
    SessionState,
    WebhookJoined,
    WebhookRoomFinished,
)
from actors.session.agent_reports import AgentUserReported
from actors.simulation.plan import Plan
from actors.simulation.simulated_disk import UNREADABLE, SimulatedDisk
from actors.simulation.simulated_program import HEARTBEAT
from actors.simulation.world import T0, World


@pytest.fixture
async def stage(virtual_time: int) -> AsyncIterator[World]:
    stage = World(Plan(0, (), rooms=0))
    async with stage.running():
        yield stage


def began(at: float = T0, room_sid: str = "RM_1") -> SessionBegan:
    return SessionBegan(at, "atlas", room_sid, ("AJ_1",), "worker", "agent", None)


def message(at: float = T0, topic: str = "chat") -> DataReceived:
    return DataReceived(at, "alice", topic, 10, "text")


async def flushed(stage: World) -> bool:
    return await stage.program.store.ask(Flush, timeout=100.0)


def on_disk(stage: World, room_sid: str) -> SessionState:
    (state,) = [state for state in stage.disk.sessions if state.room_sid == room_sid]
    return state


# ---------------------------------------------------------------- what waits


def test_a_batch_has_what_was_recorded_since_the_one_before() -> None:
    backlog = Backlog()
    journal = Journal.begin(began(), backlog)
    journal.record(message())
    batch = backlog.take(T0)
    assert [(row.seq, row.kind) for row in batch.rows] == [
        (0, "session_began"),
        (1, "data_received"),
    ]
    assert [(one.seq, one.state) for one in batch.checkpoints] == [(1, journal.state)]
    backlog.done()
    journal.record(message())
    batch = backlog.take(T0)
    assert [row.seq for row in batch.rows] == [2]
    assert batch.checkpoints == ()


def test_a_batch_that_was_not_kept_is_taken_again() -> None:
    backlog = Backlog()
    journal = Journal.begin(began(), backlog)
    batch = backlog.take(T0)
    journal.record(message())
    assert backlog.take(T0 + 1) is batch
    backlog.done()
    assert [row.seq for row in backlog.take(T0 + 2).rows] == [1]


def test_a_session_is_kept_whole_again_after_so_many_lines_and_at_its_end() -> None:
    backlog = Backlog()
    journal = Journal.begin(began(), backlog)
    backlog.take(T0)
    backlog.done()
    for _ in range(CHECKPOINT_ROWS):
        journal.record(message())
    assert [one.seq for one in backlog.take(T0).checkpoints] == [CHECKPOINT_ROWS]
    backlog.done()
    journal.end(T0 + 1, "room_closed")
    (ended,) = backlog.take(T0).checkpoints
    assert ended.state.end_reason == "room_closed"


def test_what_waits_is_bounded_and_what_is_given_up_is_counted() -> None:
    backlog = Backlog(most_rows=10)
    journal = Journal.begin(began(), backlog)
    for _ in range(99):
        journal.record(message())
    batch = backlog.take(T0)
    assert len(batch.rows) == 10
    (checkpoint,) = batch.checkpoints
    assert (checkpoint.seq, checkpoint.lost) == (99, 90)
    assert checkpoint.state.messages.total == 99
    assert backlog.health.lost == 90


def test_a_session_that_fills_it_makes_room_for_the_others() -> None:
    backlog = Backlog(most_rows=100)
    loud, quiet = (Journal.begin(began(), backlog) for _ in range(2))
    for _ in range(1_000):
        loud.record(message())
    for _ in range(20):
        quiet.record(message())
        loud.record(message())
    batch = backlog.take(T0)
    written = {
        one.number: [x.seq for x in batch.rows if x.session == one.number] for one in (loud, quiet)
    }
    assert written[quiet.number] == list(range(21))
    assert len(batch.rows) <= 100
    assert written[loud.number] == sorted(written[loud.number])
    assert quiet.lost == 0
    assert loud.lost == backlog.health.lost == 1_021 - len(written[loud.number])
    of_loud = next(one for one in batch.checkpoints if one.session == loud.number)
    assert (of_loud.seq, of_loud.lost, of_loud.state.messages.total) == (1_020, loud.lost, 1_020)


@pytest.mark.parametrize("waiting", [100, 10_000])
def test_a_full_one_looks_at_few_lines_however_many_wait(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = Backlog(most_rows=waiting)
    loud, quiet = (Journal.begin(began(), backlog) for _ in range(2))
    for _ in range(waiting):
        loud.record(message())
    looked_at = list[JournalRow]()

    def counted(row: JournalRow) -> int:
        looked_at.append(row)
        return cost(row)

    cost = row_queue.cost_of
    monkeypatch.setattr(row_queue, "cost_of", counted)
    for _ in range(waiting // 4):
        quiet.record(message())
        loud.record(message())
    # Each of the three in a pair: both new lines, and the one that makes room.
    assert len(looked_at) <= 3 * (waiting // 4)
    assert quiet.lost == 0
    assert loud.lost == backlog.health.lost == waiting // 2 + 2


def test_a_session_that_was_taken_back_is_not_the_greediest_any_more() -> None:
    backlog = Backlog(most_rows=100)
    one, other, third = (Journal.begin(began(), backlog) for _ in range(3))
    for _ in range(60):
        one.record(message())
    for _ in range(30):
        other.record(message())
    assert len(backlog.withdraw(one)) == 61
    for _ in range(100):
        third.record(message())
    assert len(backlog.take(T0).rows) == 100
    assert (other.lost, third.lost) == (0, 32)


def test_long_texts_fill_it_too() -> None:
    backlog = Backlog(most_bytes=100_000)
    journal = Journal.begin(began(), backlog)
    for number in range(10):
        journal.record(RoomMetadataChanged(T0, f"{number}" * 20_000))
    assert len(backlog.take(T0).rows) < 6


def test_numbers_of_sessions_are_never_given_twice() -> None:
    backlog = Backlog()
    assert backlog.number(T0) < backlog.number(T0) < backlog.number(T0 - 100)


# ---------------------------------------------------------------- the actor


def test_lines_that_went_with_a_store_are_counted_and_those_that_wait_are_not() -> None:
    backlog = Backlog()
    journal = Journal.begin(began(), backlog)
    for _ in range(3):
        journal.record(message())
    backlog.take(T0)
    backlog.done()
    journal.record(message())
    backlog.take(T0)  # and this could not be written
    journal.record(message())
    backlog.rewrite((journal,), T0, rows_are_kept=True)
    assert (journal.lost, backlog.health.lost) == (0, 0)
    for _ in range(2):
        backlog.rewrite((journal,), T0, rows_are_kept=False)
        assert (journal.lost, backlog.health.lost) == (4, 4)


async def test_what_a_session_accepted_is_on_the_disk(stage: World) -> None:
    room = stage.rooms.room("atlas")
    room.join("alice").publish("microphone")
    stage.assign(room)
    await trio.sleep(1.0)
    room.people["alice"].send_data(b"{}", topic="t")
    assert await flushed(stage)
    record = stage.program.table.find_room(room.sid)
    assert record is not None
    assert on_disk(stage, room.sid) == record.journal.state


async def test_what_agents_report_waits_for_the_next_batch(
    stage: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = stage.rooms.room("atlas")
    stage.assign(room)
    await trio.sleep(2.0)
    record = stage.program.table.find_room(room.sid)
    assert record is not None
    batches, real = list[Batch](), stage.disk.write

    async def write(batch: Batch) -> None:
        batches.append(batch)
        await real(batch)

    monkeypatch.setattr(stage.disk, "write", write)
    for _ in range(20):
        record.journal.record(AgentUserReported(T0, "agent-AJ_1", T0, "speaking"))
        await trio.sleep(0.5)
    await trio.sleep(HEARTBEAT)
    written = [len(one.rows) for one in batches if one.rows]
    assert sum(written) == 20
    assert len(written) <= 20 * 0.5 / HEARTBEAT + 1


async def test_rooms_go_on_while_the_disk_is_full_and_nothing_is_lost(stage: World) -> None:
    room = stage.rooms.room("atlas")
    alice = room.join("alice")
    stage.assign(room)
    await trio.sleep(1.0)
    stage.disk.refusal = "disk full"
    for _ in range(50):
        alice.send_data(b"{}", topic="t")
    await trio.sleep(5.0)
    assert not await flushed(stage)
    health = stage.program.backlog.health
    assert health.trouble == "disk full"
    assert health.since is not None
    stage.disk.refusal = None
    await trio.sleep(WRITE_RETRY.most)
    assert await flushed(stage)
    assert (health.trouble, health.since) == ("", None)
    assert on_disk(stage, room.sid).messages.total == 50
    (rows,) = stage.disk.rows.values()
    assert len(rows) == health.written


async def test_a_batch_that_was_kept_although_we_heard_otherwise_counts_once(stage: World) -> None:
    room = stage.rooms.room("atlas")
    alice = room.join("alice")
    stage.assign(room)
    await trio.sleep(1.0)
    stage.disk.torn = 3
    for _ in range(5):
        alice.send_data(b"{}", topic="t")
        await trio.sleep(1.0)
    assert await flushed(stage)
    assert stage.disk.torn == 0
    assert on_disk(stage, room.sid).messages.total == 5


async def test_a_store_that_crashes_writes_the_same_batch_again(stage: World) -> None:
    room = stage.rooms.room("atlas")
    stage.assign(room)
    await trio.sleep(1.0)
    real = stage.disk.write
    batches: list[Batch] = []

    async def crash(batch: Batch) -> None:
        batches.append(batch)
        stage.disk.write = real
        raise KeyError("a bug")

    stage.disk.write = crash
    room.join("alice").publish("camera")
    await trio.sleep(2.0)
    assert batches
    assert await flushed(stage)
    assert on_disk(stage, room.sid).joins == 1


async def test_a_start_that_waits_for_earlier_runs_is_trouble_and_nothing_recovers_from_it(
    virtual_time: int,
) -> None:
    announced, backlog = list[str](), Backlog()
    async with open_system() as system:
        system.supervisor.start_child(
            ChildSpec(
                "store",
                lambda: StoreActor(
                    backlog,
                    SimulatedDisk(),
                    journals=lambda: (),
                    clock=trio.current_time,
                    announce=lambda event, **_: announced.append(event),
                ),
            )
        )
        await trio.sleep(5.0)
        assert backlog.health.trouble == "the sessions of earlier runs are not read yet"
        backlog.ready.set()
        await trio.sleep(5.0)
        assert (backlog.health.trouble, backlog.health.written_at is None) == ("", False)
    assert announced == []


# ---------------------------------------------------------------- after a restart


async def recovered(disk: SimulatedDisk, stage: World) -> None:
    disk.new_run()
    earlier = await disk.load()
    stage.program.table.load(earlier)
    stage.program.manager.tell(Recovered())
    await trio.sleep(0.1)


@pytest.fixture
async def disk(stage: World) -> SimulatedDisk:
    """The store of a worker that was killed: one open session, alice in it."""
    disk, backlog = SimulatedDisk(), Backlog()
    journal = Journal.begin(began(T0 - 60.0), backlog)
    room = stage.rooms.room("before")
    info = room.join("alice").info()
    journal.record(WebhookJoined(T0 - 50.0, T0 - 50.0, info))
    await disk.write(backlog.take(T0 - 40.0))
    return disk


async def test_a_session_whose_room_is_gone_is_ended_as_found_ended(
    stage: World, disk: SimulatedDisk
) -> None:
    await recovered(disk, stage)
    assert stage.program.table.interrupted_sids == {"RM_1"}
    stage.program.manager.tell(RoomsVanished(T0 + 5.0, frozenset({"RM_1", "RM_other"})))
    await trio.sleep(0.1)
    assert stage.program.table.interrupted_sids == frozenset()
    journal = stage.program.table.find_idle("RM_1")
    assert journal is not None
    assert (journal.state.end_reason, journal.state.ended_at) == ("found_ended", T0 + 5.0)
    assert await flushed(stage)
    assert on_disk(stage, "RM_1").end_reason == "found_ended"
    assert stage.program.table.summary(T0).rooms == 0, "no room of this run"


# ---------------------------------------------------------------- what readers find


async def test_damage_that_a_reader_found_is_trouble_until_all_in_memory_is_kept_anew(
    stage: World,
) -> None:
    room = stage.rooms.room("atlas")
    room.join("alice").publish("microphone")
    stage.assign(room)
    await trio.sleep(1.0)
    assert await flushed(stage)
    stage.disk.damaged = True
    backlog = stage.program.backlog
    backlog.report_unreadable("the database is malformed")
    assert backlog.health.unreadable
    await trio.sleep(1.0)
    assert await flushed(stage)
    assert (backlog.health.unreadable, backlog.health.trouble) == ("", "")
    assert set(on_disk(stage, room.sid).present) == {"alice"}
    # Each line is there, or counted as lost.
    (journal,) = map(stage.disk.session, stage.disk.numbers)
    missing = journal.seq + 1 - len(stage.disk.rows.get(journal.session, {}))
    assert missing == journal.lost == backlog.health.lost > 0


async def test_damage_that_nobody_reads_is_found_all_the_same(stage: World) -> None:
    room = stage.rooms.room("atlas")
    room.join("alice")
    stage.assign(room)
    await trio.sleep(1.0)
    assert await flushed(stage)
    stage.disk.damaged = True
    await trio.sleep(2 * PRUNE_EVERY)
    assert not stage.disk.damaged
    assert stage.program.backlog.health.trouble == ""
    assert set(on_disk(stage, room.sid).present) == {"alice"}


async def test_a_reader_that_was_mistaken_changes_nothing(stage: World) -> None:
    room = stage.rooms.room("atlas")
    stage.assign(room)
    await trio.sleep(1.0)
    backlog = stage.program.backlog
    written = backlog.health.written
    backlog.report_unreadable("no sessions are kept")
    await trio.sleep(1.0)
    assert backlog.health.unreadable == ""
    assert backlog.health.written == written


async def test_what_cannot_be_read_for_a_while_is_said_until_it_can(stage: World) -> None:
    stage.disk.refusal = UNREADABLE
    backlog = stage.program.backlog
    backlog.report_unreadable("locked")
    await trio.sleep(30.0)
    assert backlog.health.unreadable == UNREADABLE
    stage.disk.heal()
    await trio.sleep(10.0)
    assert backlog.health.unreadable == ""


# ---------------------------------------------------------------- webhooks


async def test_a_visit_that_only_a_webhook_told_is_a_session(stage: World) -> None:
    for event in (
        WebhookJoined(T0 + 1.0, T0 + 1.0, ParticipantInfo("bob", "PA_1", T0 + 1.0)),
        WebhookRoomFinished(T0 + 3.0, T0 + 3.0),
    ):
        stage.program.manager.tell(WebhookReceived("borealis", "RM_2", event))
    await trio.sleep(0.1)
    assert await flushed(stage)
    state = on_disk(stage, "RM_2")
    assert (state.room, state.unique, state.end_reason) == ("borealis", 1, "found_ended")


async def test_a_job_continues_the_session_that_a_webhook_began(stage: World) -> None:
    room = stage.rooms.room("borealis")
    webhook = WebhookJoined(T0, T0, room.join("bob").info())
    stage.program.manager.tell(WebhookReceived(room.name, room.sid, webhook))
    await trio.sleep(0.1)
    stage.assign(room)
    await trio.sleep(1.0)
    record = stage.program.table.find_room(room.sid)
    assert record is not None
    assert record.journal.state.job_ids == ("AJ_0",)
    assert record.journal.state.joins == 1
    assert room.sid not in stage.program.table.unwatched


async def test_a_webhook_that_comes_after_a_restart_begins_no_session_anew(stage: World) -> None:
    disk, backlog = SimulatedDisk(), Backlog()
    journal = Journal.begin(began(T0 - 60.0), backlog)
    journal.end(T0 - 30.0, "room_closed")
    await disk.write(backlog.take(T0 - 20.0))
    await recovered(disk, stage)
    stage.program.manager.tell(WebhookReceived("atlas", "RM_1", WebhookRoomFinished(T0, T0 - 30.0)))
    await trio.sleep(0.1)
    (continued,) = stage.program.table.journals
    assert (continued.number, continued.state.end_reason) == (journal.number, "room_closed")
