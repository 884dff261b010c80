"""Participant monitoring in a simulated program: jobs as LiveKit gives them, and their laws.

LiveKit makes a job 0.2 s after each join, also where somebody comes back, and ends none of them.
Some of the dispatches have wrong metadata, some end with the leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

import trio
from attrs import define, field

from actors.monitoring.monitor_actor import MonitorRecord
from actors.monitoring.monitor_state import MonitorSettings
from actors.monitoring.monitors import ParticipantMonitors
from actors.rooms.room_control import ControlUnavailable, RoomControlError
from actors.rooms.room_port import RoomJob
from actors.runtime import GroupSpec, Intensity, Restart, Supervisor, sleep
from actors.session import SessionState, WebhookJoined, WebhookReport
from actors.simulation.simulated_room_control import SimulatedRoomControl
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.simulated_program import SimulatedProgram
    from actors.simulation.world import World

OFFER_DELAY: Final = 0.2
"""Seconds from a join to its job."""
SETTINGS: Final = MonitorSettings(inactivity_timeout=15.0, notify_people=True)
NAME: Final = "participant-monitor"
WRONG: Final = '{"monitoring_type": 1}'
METADATA: Final = ("", "", '{"end_on_disconnect": true}', "", WRONG)
"""Of the dispatches, one job after another."""
OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)


@define(eq=False)
class MonitoringRun:
    """The monitors of one run of the program, and LiveKit's side of their jobs."""

    program: SimulatedProgram
    monitors: ParticipantMonitors
    given: dict[str, RoomJob] = field(factory=dict[str, RoomJob])
    running: Counter[str] = field(factory=Counter[str])
    ends: dict[str, list[str | None]] = field(factory=dict[str, list[str | None]])

    def job_running(self, job_id: str) -> None:
        self.running[job_id] += 1

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        self.ends.setdefault(job_id, []).append(error)

    def capacity(self, active: int) -> None:
        """Monitors take no places."""

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def open_jobs(self) -> list[str]:
        return [job_id for job_id in self.given if job_id not in self.ends]


@final
class SimulatedMonitoring:
    """All runs of the world's programs with their monitors."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.control = SimulatedRoomControl(world.rooms)
        self.control.fault = self._fault
        self.control_down_until = 0.0
        """Virtual seconds."""
        self.runs: list[MonitoringRun] = []
        self._jobs = 0

    async def start(self, program: SimulatedProgram, root: Supervisor) -> None:
        """Start the supervisor of the monitors of a program."""
        group = root.start_group(GroupSpec("monitors", restart=Restart.PERMANENT, intensity=OFTEN))
        await group.running()
        monitors = ParticipantMonitors(
            group,
            program.table,
            settings=SETTINGS,
            control=self.control,
            clock=self.world.our_time,
            announce=self.world.announce,
            watch_room=lambda _job: None,  # The reconciler of the simulation finds it.
        )
        program.subscriber.add("monitors", monitors)
        self.runs.append(MonitoringRun(program, monitors))

    def on_webhook(self, room: SimulatedRoom, event: WebhookReport) -> None:
        """Somebody joined: LiveKit offers a job to the program that is up then."""
        if isinstance(event, WebhookJoined) and event.participant.kind == "standard":
            who = event.participant
            self.world.nursery.start_soon(self._offer, room, who.identity, who.sid)

    async def _offer(self, room: SimulatedRoom, identity: str, sid: str) -> None:
        await sleep(OFFER_DELAY)
        run = self.newest
        if run is not None:
            self.give(run, room, identity, sid, METADATA[self._jobs % len(METADATA)])

    @property
    def newest(self) -> MonitoringRun | None:
        """The monitors of the program that is up."""
        run = self.runs[-1] if self.runs else None
        program = self.world.program
        return run if run is not None and run.program is program and program.takes_jobs else None

    def give(
        self, run: MonitoringRun, room: SimulatedRoom, identity: str, sid: str, metadata: str = ""
    ) -> str:
        """Assign one job; its id."""
        job = RoomJob(
            job_id=f"MJ_{self._jobs}",
            room=room.name,
            room_sid=room.sid,
            url="",
            token="",
            identity="",
            dispatch_id="AD_1",
            participant_sid=sid,
            participant_identity=identity,
            metadata=metadata,
        )
        self._jobs += 1
        run.given[job.job_id] = job
        run.monitors.assign(job, NAME, run)
        return job.job_id

    def _fault(self, act: str, room: str) -> RoomControlError | None:  # noqa: ARG002
        if trio.current_time() < self.control_down_until:
            self.world.inject("control_down")
            return ControlUnavailable("the server is down")
        return None

    def heal(self) -> None:
        self.control_down_until = 0.0

    # -- the laws

    def broken_laws(self, moment: str) -> dict[str, list[str]]:
        """What broke each law of this moment: empty lists if they hold."""
        if moment == "healed":
            return {"monitors agree": list(self._differing()), "monitors run": list(self._lost())}
        if moment == "drained":
            left = list(self._left())
            self.runs[-1].monitors.end_all("the worker stopped")
            return {"monitors end": left}
        return {"jobs of monitors end once": list(self._wrong_ends())}

    def _differing(self) -> Iterator[str]:
        """A monitor and its session agree on its person."""
        run = self.newest
        if run is None:
            return
        for record in run.monitors.records():
            room = run.program.table.find_room(record.job.room_sid)
            if room is not None and not room.journal.ended:
                yield from _differences(record, room.journal.state)

    def _lost(self) -> Iterator[str]:
        """Each job that has not ended has a monitor, and no other has one."""
        run = self.newest
        if run is None:
            return
        monitored = {job_id for record in run.monitors.records() for job_id in record.jobs}
        if monitored != set(run.open_jobs):
            yield f"monitors have {sorted(monitored)}, open are {sorted(run.open_jobs)}"

    def _left(self) -> Iterator[str]:
        """No monitor outlives its room.  One whose room was never watched may still wait."""
        for record in self.runs[-1].monitors.records():
            if record.monitor.watched:
                yield f"{record.job.job_id} of {record.monitor.identity} still runs"

    def _wrong_ends(self) -> Iterator[str]:
        """Each job ends once and runs at most once; wrong metadata fails and never runs."""
        for run in self.runs:
            for job_id, job in run.given.items():
                ends = run.ends.get(job_id, [])
                if len(ends) > 1 or (not ends and not run.program.killed):
                    yield f"{job_id} ended {ends}"
                if run.running[job_id] > (job.metadata != WRONG):
                    yield f"{job_id} was reported as running {run.running[job_id]} times"
                if job.metadata == WRONG and ends and ends[0] is None:
                    yield f"{job_id} has wrong metadata and did not fail"


def _differences(record: MonitorRecord, state: SessionState) -> Iterator[str]:
    monitor, name = record.monitor, f"{record.job.job_id} of {record.monitor.identity}"
    person = state.present.get(monitor.identity)
    here = person is not None and person.joins[-1].effective
    if here and monitor.request.end_on_disconnect:
        here = person is not None and person.joins[-1].sid == record.job.participant_sid
    if monitor.present != here:
        yield f"{name}: present {monitor.present}, in the session {here}"
        return
    if person is None or not here:
        return
    tracks = frozenset(sid for sid, one in state.tracks.items() if one.identity == person.identity)
    if monitor.tracks != tracks:
        yield f"{name}: tracks {sorted(monitor.tracks)}, in the session {sorted(tracks)}"
    if monitor.quality != person.quality.level:
        yield f"{name}: quality {monitor.quality}, in the session {person.quality.level}"
    if monitor.listed != (person.identity in state.speaking):
        yield f"{name}: speaks {monitor.listed}, in the session {not monitor.listed}"
