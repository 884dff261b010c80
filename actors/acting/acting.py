"""Rules and acts of one program, put together: what sessions ask, and the actor that acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from actors.acting.act_requests import ACT_KINDS, ActKind
from actors.acting.act_runner import ActMemory, ActRunner, ActsIntended, acts_of
from actors.acting.ban_list import BanList
from actors.acting.decisions import ReportFault, RuleSet
from actors.journal.process_ports import Clock
from actors.recording.session_access import SessionAccess
from actors.rooms.room_control import RoomControl
from actors.rooms.room_rules import RoomRules
from actors.rules.rule_config import Rule
from actors.runtime import ChildSpec, Intensity, MailboxSpec, Ref, Supervisor
from actors.session import SessionState

RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of the runner restarts it for ever, with backoff: rooms must not notice."""
MAILBOX: Final = MailboxSpec(capacity=100_000)
NAME: Final = "acts"


@final
class Acting:
    """Made before the sessions, since they ask it; the runner starts once the rooms do."""

    def __init__(
        self,
        rules: tuple[Rule, ...],
        bans: BanList,
        *,
        clock: Clock,
        report_fault: ReportFault,
    ) -> None:
        self.rules = RuleSet(rules, bans, self._note, report_fault)
        self.memory = ActMemory(clock())
        self._clock = clock
        self._runner: Ref[ActsIntended] | None = None

    def start_rules(self, state: SessionState) -> RoomRules | None:
        """For `RoomDependencies.start_rules`."""
        return self.rules.start(state)

    def start(
        self,
        supervisor: Supervisor,
        control: RoomControl,
        sessions: SessionAccess,
        *,
        kinds: Mapping[str, ActKind] = ACT_KINDS,
        **options: Any,
    ) -> None:
        """Start the runner.  See `ActRunner`; `options` go to its `ChildSpec`."""
        find_act = acts_of(self.rules.rules)

        def make() -> ActRunner:
            return ActRunner(
                control,
                sessions,
                find_act,
                self.memory,
                clock=self._clock,
                kinds=kinds,
            )

        options.setdefault("intensity", RESTARTS)
        self._runner = supervisor.start_child(ChildSpec(NAME, make, mailbox=MAILBOX, **options))

    def _note(self, room_sid: str) -> None:
        # Before the runner is there, its first scan finds the act.
        if self._runner is not None:
            self._runner.tell(ActsIntended(room_sid))
