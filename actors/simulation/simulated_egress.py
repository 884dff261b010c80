"""A simulated egress: fills `actors.recording.egress_port.EgressPort`.

It is LiveKit's side, so it outlives a program that is killed: a start that was accepted takes
effect even if nobody waits for its answer any more.  A test, or the simulation, chooses the faults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, final

import trio
from attrs import define, evolve

from actors.recording.egress_port import EgressPort, EgressState, without_secrets
from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    ControlUnsupported,
)
from actors.runtime import sleep
from actors.session.recording_reports import RecordingRequest
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms

EgressFault: TypeAlias = Literal[
    "no_redis", "no_worker", "refused", "hangs", "late", "stays_starting"
]
"""What becomes of a start.

* ``no_redis``: this server cannot record;
* ``no_worker``: nobody takes it, which the server says after 22 s;
* ``refused``: the worker does not want it;
* ``hangs``: no answer at all, and no recording;
* ``late``: the recording begins `LATE` seconds after the request, and so does the answer;
* ``stays_starting``: it is accepted and never becomes active.
"""

ANSWER: Final = 0.02
"""Seconds until a start is answered."""
NO_WORKER: Final = 22.4
LATE: Final = 12.0
SILENCE: Final = 3.0
"""Seconds until the server says that a worker does not answer."""
ACTIVE_AFTER: Final = 1.0
LOOK: Final = 3.0
"""Seconds between two looks of a worker whether its room is over."""

OnChange: TypeAlias = Callable[["SimulatedRecording"], object]


@define(eq=False)
class SimulatedRecording:
    """One egress."""

    room: SimulatedRoom
    state: EgressState
    dead: bool = False
    """Its worker died: nothing about it changes any more."""

    def is_in_its_room(self, rooms: SimulatedRooms) -> bool:
        """False once the room instance is over, also if its server makes the room anew."""
        return self.room in rooms.live and self.room.sid == self.state.room_sid


@final
class SimulatedEgress(EgressPort):
    """The egress of one simulated server.  Its own tasks run in `nursery`."""

    def __init__(
        self,
        rooms: SimulatedRooms,
        nursery: trio.Nursery,
        clock: Callable[[], float],
        on_change: OnChange = lambda _: None,
        *,
        carries_keys: bool = True,
    ) -> None:
        """`on_change` hears of each change of a recording, as LiveKit's webhooks tell it.
        `carries_keys`: the list says of which intent an egress is."""
        self._rooms = rooms
        self._nursery = nursery
        self._clock = clock
        self._on_change = on_change
        self._carries_keys = carries_keys
        self.recordings: dict[str, SimulatedRecording] = {}
        """By id, in the order of their starts."""
        self.fault: Callable[[], EgressFault | None] = lambda: None
        """Asked at each start."""
        self.reachable: Callable[[], bool] = lambda: True
        """The server answers at all."""

    async def start(self, room: str, request: RecordingRequest, intent: str) -> EgressState:
        await self._begin()
        fault = self.fault()
        if fault == "no_redis":
            raise ControlUnsupported("this server has no Redis, so it cannot record")
        if fault == "no_worker":
            await sleep(NO_WORKER)
            raise ControlUnavailable("no response from servers")
        if fault == "refused":
            raise ControlRefused("the egress worker refuses")
        if fault == "hangs":
            await trio.sleep_forever()
        target = self._room(room)
        done, made = trio.Event(), list[SimulatedRecording]()

        async def take_effect() -> None:
            await sleep(LATE if fault == "late" else ANSWER / 2)
            made.append(self._make(target, request, intent))
            done.set()
            if fault != "stays_starting":
                await sleep(ACTIVE_AFTER)
                self.report(made[0], "active")
            while made[0].is_in_its_room(self._rooms) and not made[0].state.is_over:
                await sleep(LOOK)
            self.report(made[0], "complete")  # The worker sees that the room is over.

        # LiveKit goes on with it, whoever waits for the answer.
        self._nursery.start_soon(take_effect)
        await done.wait()
        await sleep(ANSWER / 2)
        return evolve(made[0].state, intent=intent)

    def _make(
        self, room: SimulatedRoom, request: RecordingRequest, intent: str
    ) -> SimulatedRecording:
        now = self._clock()
        state = EgressState(
            self._rooms.next_id("EG"),
            room.sid,
            "template",
            "starting",
            intent if self._carries_keys else "",
            without_secrets(request),
            updated_at=now,
        )
        recording = self.recordings[state.egress_id] = SimulatedRecording(room, state)
        self._on_change(recording)
        return recording

    async def stop(self, egress_id: str) -> None:
        await self._begin()
        recording = self.recordings.get(egress_id)
        if recording is None or recording.state.is_over:
            await sleep(SILENCE)
            raise ControlNotFound(f"there is no recording {egress_id} that runs")
        if recording.dead:
            await sleep(SILENCE)
            raise ControlTimedOut("its worker does not answer")
        self.report(recording, "ending")
        self.report(recording, "complete")

    async def list_room(self, room: str) -> tuple[EgressState, ...]:
        await self._begin()
        return tuple(one.state for one in self.recordings.values() if one.room.name == room)

    async def look_up(self, egress_id: str) -> EgressState:
        await self._begin()
        if egress_id not in self.recordings:
            raise ControlNotFound(f"there is no recording {egress_id}")
        return self.recordings[egress_id].state

    # ------------------------------------------------------------ what happens by itself

    def report(self, recording: SimulatedRecording, status: str, error: str | None = None) -> None:
        """The worker of a recording reports a status.  Nothing where it died, or is through."""
        if recording.dead or recording.state.is_over:
            return
        now = self._clock()
        state = evolve(recording.state, status=status, error=error, updated_at=now)
        if status == "active" and state.started_at is None:
            state = evolve(state, started_at=now)
        if state.is_over:
            state = evolve(state, ended_at=now, file=f"{recording.room.name}.mp4")
        recording.state = state
        self._show(recording.room)
        self._on_change(recording)

    def kill_worker(self, recording: SimulatedRecording) -> None:
        """The worker dies: LiveKit goes on to say what it said, and nobody is in the room."""
        recording.dead = True
        self._show(recording.room)

    def running(self, room: SimulatedRoom) -> list[SimulatedRecording]:
        """The recordings that really record this room."""
        return [
            one
            for one in self.recordings.values()
            if one.room is room and one.state.room_sid == room.sid
            if one.state.status == "active" and not one.dead
        ]

    def _show(self, room: SimulatedRoom) -> None:
        if room in self._rooms.live:
            room.record(bool(self.running(room)))

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.reachable():
            raise ControlUnavailable("the server cannot be reached")

    def _room(self, name: str) -> SimulatedRoom:
        for room in self._rooms.live:
            if room.name == name:
                return room
        raise ControlNotFound(f"there is no room {name!r}")
