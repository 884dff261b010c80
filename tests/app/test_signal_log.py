"""What the runtime reports is logged, with the room where it is about an actor of a room."""

from __future__ import annotations

import structlog.testing

from actors.rooms.room_port import RoomJob
from actors.rooms.room_table import RoomRecord, RoomTable
from actors.runtime import Crashed, Overran, Restarting
from bridge.app.signal_log import SignalLog
from bridge.log.wording import line_of
from tests.store.stored_history import History


def test_a_line_about_an_actor_of_a_room_names_the_room() -> None:
    table, signals = RoomTable(), SignalLog()
    job = RoomJob("AJ_1", "stand up", "RM_1", "ws://x", "token", "agent-1")
    table.put(RoomRecord("RM_1", job, History().begin("stand up", "RM_1")))
    with structlog.testing.capture_logs() as logs:
        signals(Restarting("/rooms/RM_1/session", 1, 1, 0.1))
        signals.table = table
        signals(Crashed("/rooms/RM_1/session", 1, ValueError("a bug")))
        signals(Overran("/rooms/RM_1", 5.0, "a lock"))
        signals(Restarting("/rooms/RM_other/session", 1, 1, 0.1))
        signals(Restarting("/store", 1, 1, 0.1))
    assert [line.get("room") for line in logs] == [None, "stand up", "stand up", None, None]
    line = line_of("actor_crashed", "error", {"actor": "/rooms/RM_1/session", "room": "stand up"})
    assert line == 'ERROR actor_crashed actor=/rooms/RM_1/session room="stand up"'
