"""Rules and acts in a simulation: the production actors over simulated rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from actors.acting.acting import Acting
from actors.acting.ban_list import BanList
from actors.recording.session_access import RoomTableSessions
from actors.rules.rule_config import Rule
from actors.runtime import Backoff, Intensity
from actors.simulation.limit_audit import LimitAudit, limits_of_plan
from actors.simulation.people_actions import mark_inexact_if_unwatched
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_room_control import SimulatedRoomControl
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.simulated_program import SimulatedProgram
    from actors.simulation.world import World

OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)


@final
class SimulatedActing:
    """What rules are there and how they act.  It outlives the programs, as bans do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rules: tuple[Rule, ...] = ()
        """Those of each program that starts from here on."""
        self.limits = limits_of_plan(world.plan.limit)
        """The same for limits."""
        self.bans = BanList()
        self.control = SimulatedRoomControl(world.rooms)
        self.audit = LimitAudit(lambda: self.limits)
        self.control.on_remove = self._on_remove

    def _on_remove(self, room: SimulatedRoom, person: SimulatedPerson) -> None:
        mark_inexact_if_unwatched(self._world, room)
        self._world.inject("limit")
        if not self.rules:
            self.audit.on_remove(room, person)

    def make(self) -> Acting:
        """What the sessions of one program ask.  In its run: it looks at the clock."""
        world = self._world

        def report_fault(room: str, error: Exception) -> None:
            world.note("rules failed", room, repr(error))

        return Acting(
            self.rules, self.bans, self.limits, clock=world.our_time, report_fault=report_fault
        )

    def start(self, program: SimulatedProgram, acting: Acting) -> None:
        """Start the runner of one program."""

        if self.rules or self.limits:
            acting.start(
                program.system.supervisor,
                self.control,
                RoomTableSessions(program.table, program.backlog, program.manager, program.store),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
            )
