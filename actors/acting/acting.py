"""Rules and acts of one program, put together: what sessions ask, and the actor that acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.act_runner import ActMemory, ActRunner, ActsIntended, acts_of
from actors.acting.ban_list import BanList
from actors.acting.decisions import ReportFault, RuleSet
from actors.acting.limit_decisions import LimitSet
from actors.acting.room_texts import RoomTexts
from actors.journal.process_ports import Clock
from actors.recording.session_access import SessionAccess
from actors.rooms.room_control import RoomControl
from actors.rooms.room_rules import RoomRules
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from actors.runtime import ChildSpec, Intensity, MailboxSpec, Ref, Supervisor
from actors.session import SessionState, TimelineEntry
from actors.session.rule_records import RuleRecord

RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of the runner restarts it for ever, with backoff: rooms must not notice."""
MAILBOX: Final = MailboxSpec(capacity=100_000)
NAME: Final = "acts"


@final
class RulesAndLimits(RoomRules):
    """Both of one session."""

    def __init__(self, rules: RoomRules, limits: RoomRules) -> None:
        self._rules, self._limits = rules, limits
        self._parts = (rules, limits)

    @property
    def due(self) -> float:
        return min(self._rules.due, self._limits.due)

    def decide(self, state: SessionState, entry: TimelineEntry) -> Sequence[RuleRecord]:
        return [*self._rules.decide(state, entry), *self._limits.decide(state, entry)]

    def decide_after(self, state: SessionState, at: float) -> Sequence[RuleRecord]:
        return [*self._rules.decide_after(state, at), *self._limits.decide_after(state, at)]

    def decide_at(self, state: SessionState, now: float) -> Sequence[RuleRecord]:
        return [
            record
            for part in self._parts
            if part.due <= now
            for record in part.decide_at(state, now)
        ]


@final
class Acting:
    """Made before the sessions, since they ask it; the runner starts once the rooms do."""

    def __init__(
        self,
        rules: tuple[Rule, ...],
        bans: BanList,
        limits: tuple[Limit, ...] = (),
        *,
        clock: Clock,
        report_fault: ReportFault,
    ) -> None:
        names = frozenset(limit.name for limit in limits)
        self.rules = RuleSet(rules, bans, self._note, report_fault, names)
        self.limits = LimitSet(limits, self._note, report_fault)
        self.memory = ActMemory(clock())
        self._clock = clock
        self._runner: Ref[ActsIntended] | None = None

    def start_rules(self, state: SessionState) -> RoomRules | None:
        """For `RoomDependencies.start_rules`."""
        of_rules, of_limits = self.rules.start(state), self.limits.start(state)
        if of_rules is None or of_limits is None:
            return of_rules or of_limits
        return RulesAndLimits(of_rules, of_limits)

    def start(
        self,
        supervisor: Supervisor,
        control: RoomControl,
        texts: RoomTexts,
        sessions: SessionAccess,
        *,
        kinds: Mapping[str, ActKind] = ACT_KINDS,
        **options: Any,
    ) -> None:
        """Start the runner.  See `ActRunner`; `options` go to its `ChildSpec`."""
        find_act = acts_of(self.rules.rules, self.limits.limits)

        def make() -> ActRunner:
            return ActRunner(
                control,
                texts,
                sessions,
                find_act,
                self.memory,
                clock=self._clock,
                report_fault=self.rules.report_fault,
                kinds=kinds,
            )

        options.setdefault("intensity", RESTARTS)
        self._runner = supervisor.start_child(ChildSpec(NAME, make, mailbox=MAILBOX, **options))

    def _note(self, room_sid: str) -> None:
        # Before the runner is there, its first scan finds the act.
        if self._runner is not None:
            self._runner.tell(ActsIntended(room_sid))
