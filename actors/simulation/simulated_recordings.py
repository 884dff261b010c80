"""Recordings in a simulated program: rules that record, an egress with faults, and the laws.

Somebody's join starts a recording and somebody's leave stops it, so most rooms are recorded again
and again, at every moment of a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.recording_acts import recording_kinds
from actors.recording.recorder import Recorder
from actors.recording.session_access import SessionAccess
from actors.runtime import Backoff, ChildSpec, Intensity, sleep
from actors.session import SessionState, WebhookEgress
from actors.simulation.simulated_egress import EgressFault, SimulatedEgress, SimulatedRecording

if TYPE_CHECKING:
    from actors.simulation.simulated_program import SimulatedProgram
    from actors.simulation.world import World

RECORDING_RULES: Final[tuple[Mapping[str, Any], ...]] = (
    {"name": "keep", "event": "participant_connected", "then": ["record"], "limit": 10_000},
    {
        "name": "stop",
        "event": "participant_disconnected",
        "then": ["stop_recording"],
        "limit": 10_000,
    },
)
OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)
LIMIT: Final = 100
DEATH_AFTER: Final = 2.0
"""Seconds from the begin of a recording until its worker dies."""
AGREED_WITHIN: Final = 25.0
"""Seconds after a change of a recording, until its session must have it."""
DECIDED_WITHIN: Final = 150.0
"""Seconds after which an intent has its egress, or has failed."""


@final
class SimulatedRecordings:
    """LiveKit's egress, and the recorder of each program.  It outlives the programs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults: list[EgressFault] = []
        """Those of the next starts."""
        self.deaths = 0
        """So many recordings to come have a worker that dies."""
        self._egress: SimulatedEgress | None = None

    @property
    def made(self) -> list[SimulatedRecording]:
        return [] if self._egress is None else list(self._egress.recordings.values())

    def start(self, program: SimulatedProgram, sessions: SessionAccess) -> Mapping[str, ActKind]:
        """Start the recorder of one program; all kinds of its acts."""
        world = self._world
        if self._egress is None:
            self._egress = SimulatedEgress(
                world.rooms, world.nursery, world.server_time, self._on_change
            )
            self._egress.fault = self._next_fault
            self._egress.reachable = self._is_reachable
        egress = self._egress
        recorder = program.system.supervisor.start_child(
            ChildSpec(
                "recorder",
                lambda: Recorder(egress, sessions, clock=world.our_time, limit=LIMIT),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
            )
        )
        return {**ACT_KINDS, **recording_kinds(recorder)}

    def heal(self) -> None:
        self.faults.clear()
        self.deaths = 0

    def _is_reachable(self) -> bool:
        return self._world.server_time() >= self._world.server_down_until

    def _next_fault(self) -> EgressFault | None:
        if not self.faults:
            return None
        fault = self.faults.pop(0)
        self._world.inject(f"egress_{fault}")
        return fault

    def _on_change(self, recording: SimulatedRecording) -> None:
        """LiveKit sends a webhook of it."""
        world, state = self._world, recording.state
        world.note("egress", state.egress_id, state.status)
        if world.plan.webhooks and recording.room.sid == state.room_sid:
            world.webhooks.send(
                recording.room,
                WebhookEgress(
                    world.server_time(),
                    float(int(world.server_time())),
                    state.egress_id,
                    state.kind,
                    state.status,
                    state.started_at,
                    state.ended_at,
                    state.error,
                    state.file,
                    state.updated_at,
                    state.intent,
                ),
            )
        if state.status == "active" and self.deaths > 0:
            self.deaths -= 1
            world.nursery.start_soon(self._die, recording)

    async def _die(self, recording: SimulatedRecording) -> None:
        await sleep(DEATH_AFTER)
        if self._egress is not None and not recording.state.is_over:
            self._world.inject("egress_dies")
            self._egress.kill_worker(recording)

    # -- the laws

    def broken_laws(self, moment: str) -> dict[str, list[str]]:
        """What broke each law of this moment: empty lists if they hold."""
        laws = {"one recording of an intent": list(self._doubled())}
        if moment == "healed":
            laws["recordings are known"] = list(self._unknown())
            laws["intents are decided"] = list(self._undecided())
        return laws

    def _doubled(self) -> Iterator[str]:
        intents = Counter(one.state.intent for one in self.made)
        for intent, number in intents.items():
            if number > 1:
                yield f"{number} recordings of the intent {intent}"

    def _unknown(self) -> Iterator[str]:
        """Each session knows its recordings, and how they are."""
        now = self._world.server_time()
        for one in self.made:
            sid = one.state.room_sid
            state = self._state(sid)
            if state is None or not self._world.truths.by_sid[sid].exact:
                continue  # The room is over and forgotten, or records were lost.
            known = state.recordings.get(one.state.egress_id)
            if known is None and one.state.is_over:
                continue  # LiveKit began it for a room that was made anew, and it was stopped.
            if known is None or not known.is_ours:
                yield f"{sid} does not know its recording {one.state.egress_id}"
            elif known.status != one.state.status and one.state.updated_at < now - AGREED_WITHIN:
                yield (
                    f"{sid}: {one.state.egress_id} is {known.status}, in truth {one.state.status}"
                )

    def _undecided(self) -> Iterator[str]:
        now = self._world.our_time()
        for journal in self._world.program.table.journals:
            for intent in journal.state.recording_intents.values():
                if intent.at < now - DECIDED_WITHIN:
                    yield f"{journal.state.room_sid}: {intent.intent} waits since {intent.at}"

    def _state(self, room_sid: str) -> SessionState | None:
        journals = self._world.program.table.journals
        return next((one.state for one in journals if one.state.room_sid == room_sid), None)
