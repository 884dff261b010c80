"""Rules and acts in a simulation: the production actors over simulated rooms, and their laws.

The laws read the disk, where each decision and each report is a record.

* No act without its entry: when the server is asked, the intent is on the disk; at the end each
  intent has one entry, unless its session may go on.
* No act twice in effect: people get no message more often than it was intended.
* Alerts once per episode: they fire and are resolved in turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from attrs import frozen

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.acting import Acting
from actors.acting.ban_list import BanList
from actors.acting.room_texts import RoomTableTexts
from actors.recording.session_access import RoomTableSessions
from actors.rules.acts import SendText
from actors.rules.rule_config import Rule, read_rules
from actors.runtime import Backoff, Intensity
from actors.session import SessionState, TimelineEntry
from actors.session.codec import decode_entries, decode_record
from actors.session.end_reasons import CONTINUABLE
from actors.session.rule_records import PlannedAct, RuleFired, RuleResolved
from actors.simulation.acting_control import ActingControl
from actors.simulation.limit_audit import LimitAudit, limits_of_plan
from actors.simulation.people_actions import mark_inexact_if_unwatched
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_recordings import RECORDING_RULES, SimulatedRecordings
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.simulated_program import SimulatedProgram
    from actors.simulation.world import World

OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)
RULES: Final[list[Mapping[str, Any]]] = [
    {
        "name": "crowd",
        "when": {"people": ">= 3"},
        "for": "3s",
        "then": ["alert", {"send": "It is crowded."}],
    },
    {"name": "hello", "event": "participant_connected", "then": [{"send": "Hello"}], "limit": 20},
    {"name": "loud", "person": {"tracks": {"microphone": ">= 2"}}, "then": ["mute", "alert"]},
    {"name": "lobby", "person": {"attribute": {"key": "value"}}, "then": [{"hold": "Wait."}]},
    {"name": "long", "person": {"present_for": ">= 40s"}, "then": ["remove"]},
    {
        "name": "left",
        "rooms": ["room-[0-3]"],
        "when": {"people": "== 1", "joins": ">= 3"},
        "for": "8s",
        "then": [{"end_room": {"warn": "4s", "text": "Closing."}}],
    },
    {"name": "topic", "event": "track_unpublished", "then": [{"metadata": "less"}], "limit": 5},
    {"name": "bad", "person": {"quality": "lost"}, "then": [{"ban": "20s"}, "alert"]},
]
"""Of each plan with rules."""


@frozen
class ActingLog:
    """What a stored session says of its rules."""

    sid: str
    state: SessionState
    planned: tuple[tuple[str, PlannedAct], ...]
    """Rule and plan, in order."""
    entries: tuple[TimelineEntry, ...]
    """Of alerts and acts."""


@final
class SimulatedActing:
    """What rules are there and how they act.  It outlives the programs, as bans do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.recordings = SimulatedRecordings(world) if world.plan.recorded else None
        self.rules: tuple[Rule, ...] = read_rules(
            [*(RULES if world.plan.ruled else ()), *(RECORDING_RULES if self.recordings else ())]
        )
        """Those of each program that starts from here on."""
        self.limits = limits_of_plan(world.plan.limit)
        """The same for limits."""
        self.more_kinds: Mapping[str, ActKind] = {}
        """Acts of a test, by their words."""
        self.bans = BanList()
        self.control = ActingControl(world)
        self.audit = LimitAudit(lambda: self.limits)
        self.control.inner.on_remove = self._on_remove
        world.rooms.stream_outcome = self.control.stream_outcome
        world.rooms.text_sent = self.control.text_sent

    def _on_remove(self, room: SimulatedRoom, person: SimulatedPerson) -> None:
        mark_inexact_if_unwatched(self._world, room)
        if not self.rules:
            self._world.inject("limit")
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
            sessions = RoomTableSessions(
                program.table, program.backlog, program.manager, program.store
            )
            recordings = self.recordings
            acting.start(
                program.system.supervisor,
                self.control,
                RoomTableTexts(program.table),
                sessions,
                kinds={
                    **(ACT_KINDS if recordings is None else recordings.start(program, sessions)),
                    **self.more_kinds,
                },
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
            )

    def heal(self) -> None:
        self.control.faults.clear()
        if self.recordings is not None:
            self.recordings.heal()

    # ------------------------------------------------------------ laws

    def broken_laws(self) -> dict[str, list[str]]:
        """After the last run."""
        logs = [*self._logs()]
        return {
            "intents are durable": self.control.without_intent,
            "each act has its entry": [one for log in logs for one in _acts_without_entry(log)],
            "no message twice": [*self._sent_twice(logs)],
            "alerts once per episode": [one for log in logs for one in _alerts_out_of_turn(log)],
        }

    def _logs(self) -> Iterator[ActingLog]:
        disk = self._world.disk
        for number in disk.numbers:
            stored = disk.session(number)
            if stored.lost:
                continue  # Its records are not all there.
            planned = list[tuple[str, PlannedAct]]()
            entries = list[TimelineEntry]()
            for seq in sorted(disk.rows.get(number, {})):
                row = disk.rows[number][seq]
                if row.kind in {"rule_fired", "rule_resolved"}:
                    record = decode_record(row.kind, row.body)
                    assert isinstance(record, RuleFired | RuleResolved)
                    planned += ((record.rule, act) for act in record.acts)
                if row.entries:
                    entries += (
                        one
                        for one in decode_entries(row.entries)
                        if one.event.startswith(("alert_", "act_"))
                    )
            yield ActingLog(disk.room_of(number)[1], stored.state, tuple(planned), tuple(entries))

    def _sent_twice(self, logs: list[ActingLog]) -> Iterator[str]:
        wanted = Counter(
            (log.state.room, name, plan.index) for log in logs for name, plan in log.planned
        )
        whole = {log.state.room for log in logs} - self._rooms_with_lost_rows
        for rule in self.rules:
            for index, act in enumerate(rule.acts):
                if isinstance(act, SendText):
                    for room in whole:
                        sent = self.control.sent[room, act.text.encode()]
                        most = wanted[room, rule.name, index]
                        if sent > most:
                            yield f"{room}: {act.text!r} was sent {sent} times, wanted {most}"

    @property
    def _rooms_with_lost_rows(self) -> set[str]:
        disk = self._world.disk
        return {disk.room_of(number)[0] for number in disk.numbers if disk.session(number).lost}


def _acts_without_entry(log: ActingLog) -> Iterator[str]:
    acts = Counter(one.data["act"] for one in log.entries if one.event.startswith("act_"))
    planned = Counter(plan.act for _, plan in log.planned)
    state = log.state
    under_way = Counter(
        act.plan.act for act in (state.rules.open_acts.values() if state.rules else ())
    )
    if under_way and not (state.ended and state.end_reason in CONTINUABLE):
        yield f"{log.sid}: {dict(under_way)} have no report"
    for act in planned.keys() | acts.keys():
        if planned[act] != acts[act] + under_way[act]:
            yield f"{log.sid}: {planned[act]} of {act} were intended, {acts[act]} have an entry"


def _alerts_out_of_turn(log: ActingLog) -> Iterator[str]:
    firing = set[tuple[str, str | None]]()
    for one in log.entries:
        key = (one.data["rule"], one.data["on"])
        if one.event == "alert_firing":
            if key in firing:
                yield f"{log.sid}: {key} fires twice"
            firing.add(key)
        elif one.event == "alert_resolved":
            if key not in firing:
                yield f"{log.sid}: {key} is resolved and did not fire"
            firing.discard(key)
    state = log.state
    if state.ended and state.end_reason not in CONTINUABLE and firing:
        yield f"{log.sid}: {firing} fire in a room that is over"
