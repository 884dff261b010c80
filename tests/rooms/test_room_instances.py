"""Room instances, through lost connections and restarts of a server.  In virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors.rooms.messages import WebhookReceived
from actors.rooms.recovery import INSIDE_INTERVAL, MISSING_TIMEOUT
from actors.session import ParticipantInfo, WebhookJoined, WebhookRoomStarted
from actors.simulation.world import T0
from tests.rooms.rooms_scene import RoomsScene


async def test_a_lost_connection_comes_back_to_the_same_instance_with_a_gap(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.entries.delays[room.name] = 5.0
    room.drop(None)
    await scene.settle(2.0)
    room.join("bob")
    await scene.settle(10.0)
    state = scene.state(room.sid)
    assert not state.ended
    assert scene.numbers(room.sid) == (2, 1, 2, 1)
    watched = state.watched.total(scene.world.our_time())
    assert watched == pytest.approx(scene.world.our_time() - state.started_at - 5.0, abs=0.3)


async def test_a_lost_connection_to_a_room_that_has_ended_ends_with_server_lost(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.rooms.forget(room)
    room.drop(None)
    await scene.settle()
    assert scene.state(room.sid).end_reason == "server_lost"
    assert scene.program.jobs.ends == {"AJ_0": [None]}


async def test_a_server_that_is_away_is_asked_until_it_is_back(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.server_down_until = trio.current_time() + 60.0
    room.drop(None)
    await scene.settle(80.0)
    assert len(room.watchers) == 1
    assert not scene.state(room.sid).ended


async def test_another_instance_of_a_room_under_one_connection_is_another_session(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    first = room.sid
    room.restart()
    room.join("bob")
    await scene.settle()
    assert room.sid != first
    assert scene.state(first).end_reason == "server_lost"
    assert scene.numbers(first)[2:] == (1, 1)
    assert scene.numbers(room.sid) == (1, 0, 1, 0)
    assert scene.program.table.summary(scene.world.our_time()).rooms == 2


async def test_a_webhook_that_waits_while_the_next_instance_begins_is_of_its_own(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    first, bob = room.sid, ParticipantInfo("bob", "PA_bob", scene.world.server_time())
    scene.program.saboteur.slow_at(scene.session(first), 1, 0.5)
    room.restart()
    joined = WebhookJoined(scene.world.our_time(), int(scene.world.server_time()), bob)
    scene.program.manager.tell(WebhookReceived(room.name, first, joined))
    await scene.settle(10.0)
    assert room.sid != first
    assert scene.state(room.sid).joins == 0
    assert "bob" in {person.identity for person in scene.state(first).past.values()}


async def test_a_message_while_reconnecting_is_of_the_instance_that_is_found_then(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    first = room.sid
    room.reconnecting()
    room.send_data(b"of the new instance, whose sender is not announced yet")
    room.restart()
    await scene.settle()
    assert scene.state(first).messages.total == 0
    assert scene.state(room.sid).messages.total == 1


async def test_a_room_of_the_same_name_later_is_another_session(scene: RoomsScene) -> None:
    first = scene.make()
    await scene.settle()
    first.close()
    await scene.settle()
    second = scene.make()
    await scene.settle()
    assert scene.state(first.sid).end_reason == "room_closed"
    assert scene.numbers(second.sid) == (1, 1, 1, 1)


async def test_the_same_instance_later_continues_its_session(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    room.drop("participant_removed")
    await scene.settle(10.0)
    assert scene.state(room.sid).ended
    scene.world.assign(room)
    await scene.settle()
    assert not scene.state(room.sid).ended
    assert scene.state(room.sid).job_ids == ("AJ_0", "AJ_1")
    assert scene.program.table.summary(scene.world.our_time()).rooms == 1


async def test_a_room_that_was_being_deleted_when_we_came_in_is_left_once_livekit_has_none(
    scene: RoomsScene,
) -> None:
    """Its server never sends anything again to the participants in it."""
    room, other = scene.make("atlas"), scene.make("borealis")
    await scene.settle()
    scene.world.rooms.forget(room)
    await scene.settle(2 * INSIDE_INTERVAL + MISSING_TIMEOUT)
    assert scene.state(room.sid).end_reason == "found_ended"
    assert room.watchers == []
    assert scene.program.jobs.ends == {"AJ_0": [None]}
    assert not scene.state(other.sid).ended


async def test_a_room_that_livekits_list_lacks_once_is_not_left(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.rooms.forget(room)
    await scene.settle(INSIDE_INTERVAL + 5.0)
    scene.world.rooms._rooms[room.name] = room
    await scene.settle(3 * INSIDE_INTERVAL)
    assert not scene.state(room.sid).ended
    assert len(room.watchers) == 1


async def test_a_room_made_anew_goes_on_in_the_session_that_a_webhook_began(
    scene: RoomsScene,
) -> None:
    """LiveKit reports the new instance before our own connection is back."""
    room = scene.make()
    await scene.settle()
    restart_sid = room.next_id("RM")
    room.reconnecting()
    webhook = WebhookReceived(
        room.name, restart_sid, WebhookRoomStarted(T0 + 1.0, T0 + 1.0, T0 + 1.0, "")
    )
    scene.program.manager.tell(webhook)
    await trio.sleep(0.1)
    room.sid = restart_sid
    room.reconnected()
    await trio.sleep(0.1)
    journals = scene.program.table.journals
    assert sorted(one.state.room_sid for one in journals).count(restart_sid) == 1
    record = scene.program.table.find_room(restart_sid)
    assert record is not None
    assert not record.journal.ended
    assert record.journal.state.watched_from is not None


async def test_a_job_for_a_room_made_anew_that_comes_first_makes_no_second_session(
    scene: RoomsScene,
) -> None:
    """The reconciler sees the new instance before our own connection is back."""
    room = scene.make()
    await scene.settle()
    room.reconnecting()
    room.sid = room.next_id("RM")
    scene.world.assign(room)
    await trio.sleep(0.1)
    room.reconnected()
    await trio.sleep(1.0)
    journals = scene.program.table.journals
    assert [one.state.room_sid for one in journals].count(room.sid) == 1
    assert [record.journal.state.room_sid for record in scene.program.table.records.values()] == [
        room.sid
    ]
    assert len(room.watchers) == 1
