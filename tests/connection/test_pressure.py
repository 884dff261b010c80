"""A room in which more is said than can be taken in."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from actors.session.events import DataReceived, MessagesThinned, ParticipantLeft, TrackSubscribed
from bridge.livekit import connection
from tests.connection.stage import RealStage, Recorder

LIMIT = 8
SENT = 3 * LIMIT


async def test_messages_that_nobody_has_time_for_are_counted_and_nothing_else_is_lost(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await real.join("alice"), await real.join("bob")
    await alice.publish("microphone")
    await bob.publish("microphone")
    told = Recorder()
    async with real.open(told) as room:
        await told.wait(TrackSubscribed, count=2)
        monkeypatch.setattr(connection, "MOST_WAITING", LIMIT)
        inside = cast("Any", room)
        lane = inside._lane
        lane._in_line = True  # As if its turn were long in coming.

        def came() -> int:
            waiting = [event.room_event for _, event in tuple(lane._items)]
            return inside._thinned + sum(one.HasField("data_packet_received") for one in waiting)

        for number in range(SENT):
            await alice.send_data(bytes(number + 1))
        await bob.leave()
        with trio.fail_after(30):
            while came() < SENT:  # noqa: ASYNC110  (native threads count, and tell nobody)
                await trio.sleep(0.01)
        assert told.all(DataReceived) == []
        while len(lane):
            lane.take_turn()
        await told.wait(ParticipantLeft, identity="bob")
        heard, thinned = told.all(DataReceived), told.all(MessagesThinned)
        assert [event.size for event in heard] == list(range(1, len(heard) + 1))
        assert 0 < len(heard) <= LIMIT
        assert len(heard) + sum(event.messages for event in thinned) == SENT
        await alice.send_data(bytes(1000))
        await told.wait(DataReceived, size=1000)
    assert told.all(MessagesThinned) == thinned
    told.check_frame()
