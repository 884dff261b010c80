"""The rules of one session: what they decide, as records.

`actors.rules.episodes` says which episodes change.  This makes records of it: an episode that
fires brings the acts that it wants done, with a budget an hour; its end brings the release of
people on hold.  People who are banned are removed again at each join.

A fault in a rule harms nothing: it is reported, and the rules go on from the session's state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Final, TypeAlias, final

from attrs import frozen

from actors.acting.act_plans import ALERT, ActBudget, ActPlanner
from actors.acting.ban_list import BanList
from actors.rooms.room_rules import RoomRules
from actors.rules.acts import Alert
from actors.rules.episodes import EpisodeChange, Episodes, Phase
from actors.rules.rule_config import Rule
from actors.session import SessionState, TimelineEntry
from actors.session.rule_records import RuleFired, RulePending, RuleRecord, RuleResolved
from actors.session.rule_state import BAN

BAN_REMOVALS: Final = 5
"""Removals of one banned person in `BAN_WINDOW`; beyond it they are removed after it."""
BAN_WINDOW: Final = 60.0
"""Seconds."""
ACT_ENTRIES: Final = frozenset({"act_done", "act_failed"})
SEEN_ENTRIES: Final = frozenset({"session_started", "reconnected"})
JOIN_ENTRIES: Final = frozenset({"participant_connected", "participant_found"})

ReportFault: TypeAlias = Callable[[str, Exception], object]
"""Takes the name of a room or a rule, and what was raised.  Must not raise."""


@frozen
class RuleSet:
    """All rules of a program, and what they need."""

    rules: tuple[Rule, ...]
    bans: BanList
    note_acts: Callable[[str], object]
    """Takes the room SID of a session that is about to record acts which are to be done."""
    report_fault: ReportFault
    other_names: frozenset[str] = frozenset()
    """Names under which others have episodes in sessions."""

    def start(self, state: SessionState) -> RoomRules | None:
        """The rules of a session that goes on from `state`; None if there is nothing to do."""
        rules = tuple(rule for rule in self.rules if rule.watches(state.room))
        if state.rules is not None and state.rules.open_acts:
            self.note_acts(state.room_sid)
        if not rules and state.rules is None and not self.bans.has_room(state.room):
            return None
        return SessionDecisions(self, rules, state)


@final
class SessionDecisions(RoomRules):
    """See the module."""

    def __init__(self, of: RuleSet, rules: tuple[Rule, ...], state: SessionState) -> None:
        self._of, self._rules = of, rules
        self._planner = ActPlanner()
        self._budgets = {rule.name: ActBudget(rule.limit) for rule in rules}
        self._removals: dict[str, deque[float]] = {}
        self._ban_due = inf
        self._ends_without_rule: list[RuleResolved] = []
        """Ends of episodes whose rule is not configured any more."""
        self._start(state)

    def _start(self, state: SessionState) -> None:
        now = state.last_at
        self._now = now
        self._episodes = Episodes(self._rules, state, now, pending=True)
        self._ends_without_rule = []
        if state.rules is None:
            return
        self._of.bans.learn(state.room, state.rules.bans)
        for one in state.rules.episodes.values():
            phase = Phase.PENDING if one.phase == "pending" else Phase.FIRING
            person = state.present.get(one.on)
            sid = "" if person is None else person.joins[-1].sid
            if not self._episodes.restore(one.rule, one.on, one.since, phase, sid) and (
                one.rule not in self._of.other_names
            ):
                self._ends_without_rule.append(RuleResolved(now, one.rule, one.on))

    @property
    def due(self) -> float:
        if self._ends_without_rule and not self._episodes.blind:
            return self._now
        return min(self._episodes.due, self._ban_due)

    def decide(self, state: SessionState, entry: TimelineEntry) -> Sequence[RuleRecord]:
        if entry.event in ACT_ENTRIES and entry.data["act"] == BAN and state.rules is not None:
            self._of.bans.learn(state.room, state.rules.bans)
        banned = entry.event in JOIN_ENTRIES and self._of.bans.has_room(state.room)
        if not banned and not self._ends_without_rule and not self._episodes.reads(entry.event):
            return ()
        if entry.event in SEEN_ENTRIES and state.rules is not None and state.rules.open_acts:
            self._of.note_acts(state.room_sid)  # An earlier run, or connection, left them.
        self._now = max(self._now, state.last_at)
        return self._safely(
            state, lambda: self._decide(state, entry, self._episodes.take(state, entry, self._now))
        )

    def decide_after(self, state: SessionState, at: float) -> Sequence[RuleRecord]:  # noqa: ARG002
        return ()

    def decide_at(self, state: SessionState, now: float) -> Sequence[RuleRecord]:
        self._now = max(self._now, now)

        def decide() -> list[RuleRecord]:
            if state.ended:
                return []
            records: list[RuleRecord] = [*self._ends_without_rule]
            self._ends_without_rule = []
            records += self._records(state, self._episodes.tick(state, self._now))
            if self._now >= self._ban_due:
                self._ban_due = inf
                records += self._remove_banned(state, state.present)
            return records

        return self._safely(state, decide)

    def _decide(
        self, state: SessionState, entry: TimelineEntry, changes: Iterable[EpisodeChange]
    ) -> list[RuleRecord]:
        if state.ended:
            return []  # The end of the session itself resolves what fires in it.
        records: list[RuleRecord] = [*self._ends_without_rule, *self._records(state, changes)]
        self._ends_without_rule = []
        if entry.event in JOIN_ENTRIES:
            records += self._remove_banned(state, (str(entry.data["identity"]),))
        return records

    def _safely(
        self, state: SessionState, decide: Callable[[], list[RuleRecord]]
    ) -> Sequence[RuleRecord]:
        try:
            records = decide()
        except Exception as error:  # noqa: BLE001 (reported; the session goes on)
            self._of.report_fault(state.room, error)
            self._start(state)
            return ()
        if any(_open_acts(record) for record in records):
            self._of.note_acts(state.room_sid)
        return records

    # ------------------------------------------------------------ episodes

    def _records(
        self, state: SessionState, changes: Iterable[EpisodeChange]
    ) -> Iterator[RuleRecord]:
        for change in changes:
            rule, on, at = change.rule, change.on, change.at
            if change.phase is Phase.PENDING:
                yield RulePending(at, rule.name, on)
            elif change.phase is Phase.FIRING:
                yield from self._fired(state, rule, on, at)
            elif change.phase is Phase.REJOINED:
                acts = self._planner.plans(
                    rule, on, state, at, self._budgets[rule.name], only_on_person=True
                )
                if on_this_join := tuple(acts):
                    yield RuleFired(at, rule.name, on, on_this_join, lasting=False)
            else:
                acts = tuple(self._planner.release(rule, on, state, at))
                yield RuleResolved(at, rule.name, on, acts)

    def _fired(self, state: SessionState, rule: Rule, on: str, at: float) -> Iterator[RuleFired]:
        budget = self._budgets[rule.name]
        was_exceeded = budget.was_exceeded
        acts = tuple(self._planner.plans(rule, on, state, at, budget))
        alert = next((act for act in rule.acts if isinstance(act, Alert)), None)
        refused = any(act.act == ALERT for act in acts)
        is_alert = alert is not None and not rule.dry_run and not refused
        lasting = rule.event is None
        if not lasting:
            if was_exceeded and budget.was_exceeded:
                return  # It stands in the timeline once an hour, not at each event.
            if not acts and not is_alert:
                return
        text = "" if alert is None else alert.text
        yield RuleFired(at, rule.name, on, acts, is_alert, text, lasting)

    # ------------------------------------------------------------ bans

    def _remove_banned(self, state: SessionState, identities: Iterable[str]) -> Iterator[RuleFired]:
        """Remove those who are banned, but not so often that it becomes a war."""
        now = self._now
        for identity in identities:
            ban = self._of.bans.find(state.room, identity, now)
            if ban is None or identity not in state.present:
                continue
            removals = self._removals.setdefault(identity, deque(maxlen=BAN_REMOVALS))
            if len(removals) == BAN_REMOVALS and removals[0] > now - BAN_WINDOW:
                self._ban_due = min(self._ban_due, removals[0] + BAN_WINDOW)
                continue
            removals.append(now)
            act = self._planner.removal(identity, state, now)
            yield RuleFired(now, ban.rule, identity, (act,), lasting=False)


def _open_acts(record: RuleRecord) -> bool:
    acts = record.acts if isinstance(record, RuleFired | RuleResolved) else ()
    return any(act.result is None for act in acts)
