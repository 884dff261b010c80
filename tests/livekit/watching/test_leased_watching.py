"""One watcher a room, never none: several workers over one database, in virtual time."""

from __future__ import annotations

import pytest
import trio

from actors.journal.room_leases import LEASE
from bridge.livekit.watching.leased_watching import share_of
from tests.livekit.watching.leased_scene import LeasedScene


@pytest.fixture
def scene(nursery: trio.Nursery, virtual_time: int) -> LeasedScene:
    return LeasedScene(nursery)


async def test_rooms_are_spread_evenly_and_each_has_one_watcher(scene: LeasedScene) -> None:
    workers = [await scene.start(name) for name in ("ada", "bob", "cid")]
    for number in range(12):
        scene.make(f"room-{number}")
        await trio.sleep(0.35)
    await trio.sleep(3.0)
    assert set(scene.watchers().values()) == {1}
    counts = [len(worker.watched) for worker in workers]
    assert max(counts) <= 1.5 * min(counts)
    assert sum(worker.claims for worker in workers) == 12


async def test_forty_rooms_at_once_are_each_claimed_once(scene: LeasedScene) -> None:
    workers = [await scene.start(name) for name in ("ada", "bob", "cid")]
    await trio.sleep(2.0)
    for number in range(40):
        scene.make(f"room-{number}")
    await trio.sleep(4.0)
    assert set(scene.watchers().values()) == {1}
    assert sum(worker.claims for worker in workers) == 40
    assert max(len(worker.watched) for worker in workers) <= 16


async def test_the_rooms_of_a_killed_worker_go_on_with_their_sessions(scene: LeasedScene) -> None:
    ada, bob = await scene.start("ada"), await scene.start("bob")
    rooms = [scene.make(f"room-{number}") for number in range(6)]
    await trio.sleep(4.0)
    lost = ada.watched
    assert lost
    await ada.kill()
    for room in rooms:
        room.people["alice"].leave("client_initiated")
        room.join("carol")
    await trio.sleep(LEASE + 1.0)
    assert bob.watched == {room.sid for room in rooms}
    assert set(scene.watchers().values()) == {1}
    await trio.sleep(5.0)
    for room in rooms:
        state = scene.state(room.sid)
        assert list(state.present) == ["carol"]
        assert state.worker == "bob"
        assert [gap.reason for gap in state.gaps] == ["worker_failed"] * (room.sid in lost)
        assert all(gap.until - gap.since <= LEASE + 2.0 for gap in state.gaps)


async def test_a_drained_worker_hands_its_rooms_over_and_ends_no_session(
    scene: LeasedScene,
) -> None:
    ada, bob, cid = [await scene.start(name) for name in ("ada", "bob", "cid")]
    rooms = [scene.make(f"room-{number}") for number in range(9)]
    await trio.sleep(4.0)
    handed = ada.watched
    assert handed
    chats = list[str]()

    async def talk() -> None:
        while True:
            for room in rooms:
                room.send_data(b"x", sender="alice")
            chats.append("x")
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        await trio.sleep(1.0)
        await ada.stop()
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert bob.watched | cid.watched == {room.sid for room in rooms}
    assert set(scene.watchers().values()) == {1}
    await trio.sleep(25.0)
    for room in rooms:
        state = scene.state(room.sid)
        assert not state.ended
        assert [gap.reason for gap in state.gaps] == ["worker_stopped"] * (room.sid in handed)
        assert all(gap.until - gap.since <= 1.0 for gap in state.gaps)
    assert "session_ended" not in {entry.event for _, entry in scene.entries.entries}


async def test_the_last_worker_ends_its_sessions_and_the_next_one_goes_on_with_them(
    scene: LeasedScene,
) -> None:
    ada = await scene.start("ada")
    room = scene.make("atlas")
    await trio.sleep(2.0)
    await ada.stop()
    assert scene.state(room.sid).end_reason == "worker_stopped"
    bob = await scene.start("bob")
    await trio.sleep(3.0)
    assert bob.watched == {room.sid}
    assert not scene.state(room.sid).ended
    assert [gap.reason for gap in scene.state(room.sid).gaps] == ["worker_stopped"]


async def test_a_stalled_owner_writes_nothing_after_the_take_over_and_leaves(
    scene: LeasedScene,
) -> None:
    """It is cut off from the database only, so it stays in its rooms meanwhile."""
    ada, bob = await scene.start("ada"), await scene.start("bob")
    rooms = [scene.make(f"room-{number}") for number in range(4)]
    await trio.sleep(4.0)
    lost = ada.watched
    ada.archive.refusal = "no route to host"
    await trio.sleep(LEASE + 3.0)
    assert bob.watched == {room.sid for room in rooms}
    for room in rooms:
        room.send_data(b"x", sender="alice")
    await trio.sleep(2.0)
    ada.archive.refusal = None
    await trio.sleep(3.0)
    assert set(scene.watchers().values()) == {1}
    await trio.sleep(25.0)
    for room in rooms:
        state = scene.state(room.sid)
        assert state.worker == "bob"
        assert len(state.gaps) == (room.sid in lost)


async def test_while_the_database_is_away_rooms_go_on_and_new_ones_are_watched(
    scene: LeasedScene,
) -> None:
    ada, bob = await scene.start("ada"), await scene.start("bob")
    rooms = [scene.make(f"room-{number}") for number in range(4)]
    await trio.sleep(4.0)
    before = ada.watched, bob.watched
    scene.database.refusal = "the database system is starting up"
    await trio.sleep(10.0)
    new = [scene.make(f"new-{number}") for number in range(4)]
    both = scene.make("both")
    ada.assign(both.name, both.sid)
    bob.assign(both.name, both.sid)
    await trio.sleep(10.0)
    assert min(scene.watchers().values()) == 1
    assert scene.watchers()["both"] == 2
    await trio.sleep(40.0)
    assert before[0] <= ada.watched
    assert before[1] <= bob.watched
    scene.database.refusal = None
    await trio.sleep(10.0)
    assert set(scene.watchers().values()) == {1}
    await trio.sleep(25.0)
    for room in (*rooms, *new, both):
        assert scene.state(room.sid).gaps == ()


async def test_an_owner_that_is_long_out_of_its_room_lets_another_one_in(
    scene: LeasedScene,
) -> None:
    ada = await scene.start("ada")
    room = scene.make("atlas")
    await trio.sleep(2.0)
    bob = await scene.start("bob")
    room.reconnecting()
    await trio.sleep(30.0)
    room.reconnected()
    assert bob.watched == {room.sid}
    assert ada.watched == frozenset()
    assert not scene.state(room.sid).ended


async def test_a_session_that_comes_back_to_a_worker_is_stored_again(scene: LeasedScene) -> None:
    """It lost the room to another worker, which then stops."""
    ada, room = await scene.start("ada"), scene.make("atlas")
    await trio.sleep(2.0)
    bob = await scene.start("bob")
    ada.archive.refusal = "no route to host"
    await trio.sleep(LEASE + 3.0)
    ada.archive.refusal = None
    await trio.sleep(3.0)
    assert bob.watched == {room.sid}
    await bob.stop()
    await trio.sleep(1.0)
    record = ada.table.find_room(room.sid)
    assert record is not None
    before = record.journal.seq
    room.send_data(b"x", sender="alice")
    await trio.sleep(25.0)
    assert record.journal.seq > before
    assert max(scene.database.disk.rows[record.journal.number]) == record.journal.seq
    assert not scene.state(room.sid).ended, "also: no number is missing"


async def test_the_rooms_of_a_worker_that_stops_are_spread_evenly(scene: LeasedScene) -> None:
    ada, *others = [await scene.start(name) for name in ("ada", "bob", "cid", "dan")]
    for number in range(40):
        scene.make(f"room-{number}")
    await trio.sleep(6.0)
    await ada.stop()
    await trio.sleep(5.0)
    assert sum(len(worker.watched) for worker in others) == 40
    assert max(len(worker.watched) for worker in others) <= 16


async def test_after_an_outage_of_the_database_rooms_stay_with_their_owners(
    scene: LeasedScene,
) -> None:
    workers = [await scene.start(name) for name in ("ada", "bob", "cid")]
    for number in range(12):
        scene.make(f"room-{number}")
    await trio.sleep(6.0)
    before = [worker.watched for worker in workers]
    scene.database.refusal = workers[0].archive.refusal = "the database system is starting up"
    await trio.sleep(20.0)
    scene.database.refusal = None
    await trio.sleep(1.2)
    workers[0].archive.refusal = None  # It comes back a moment later than the others.
    await trio.sleep(10.0)
    assert [worker.watched for worker in workers] == before


async def test_a_database_that_hangs_keeps_no_room_unwatched(scene: LeasedScene) -> None:
    await scene.start("ada")
    await scene.start("bob")
    rooms = [scene.make("old")]
    await trio.sleep(2.0)
    scene.database.slow = 60.0
    await trio.sleep(5.0)
    rooms.append(scene.make("new"))
    await trio.sleep(15.0)
    assert min(scene.watchers().values()) == 1
    scene.database.slow = 0.0
    await trio.sleep(90.0)
    assert set(scene.watchers().values()) == {1}
    for room in rooms:
        assert not scene.state(room.sid).ended


def test_a_share_evens_the_workers_out_and_late_rooms_are_for_all_of_them() -> None:
    """The last worker of a rolling restart has no rooms, and cannot enter 500 in a few seconds."""
    others = [500] * 18
    assert share_of(500, [*others, 0], 500, late=False) == 0
    assert share_of(0, [*others, 500], 500, late=False) == 500
    assert share_of(500, [*others, 0], 500, late=True) == 25
    assert share_of(9, [1, 1], 1, late=True) == 1
    assert share_of(0, [], 3, late=False) == 3
