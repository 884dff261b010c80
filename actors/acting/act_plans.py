"""The acts that an episode wants done, as plans.  Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, final

from attrs import evolve

from actors.rules.acts import (
    NAMES,
    ON_A_PERSON,
    Act,
    Alert,
    BanPerson,
    CallWebhook,
    EndRoom,
    HoldPerson,
    LogLine,
    SendText,
)
from actors.rules.conditions import is_person
from actors.rules.rule_config import Rule
from actors.session import SessionState
from actors.session.rule_records import PlannedAct
from actors.session.rule_state import RELEASE

ALERT: Final = "alert"
HOUR: Final = 3600.0
DRY_RUN: Final = "dry run"


@final
class ActBudget:
    """The acts of one rule in one session: so many an hour."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._spent: deque[float] = deque()
        self.was_exceeded = False
        """An act of this hour was refused."""

    def spend(self, now: float) -> bool:
        """Take one act out; False if there is none left in this hour."""
        while self._spent and self._spent[0] <= now - HOUR:
            self._spent.popleft()
            self.was_exceeded = False
        if len(self._spent) >= self._most:
            return False
        self._spent.append(now)
        return True


class ActPlanner:
    """Makes plans with keys of its own: unique in a session, over restarts too, by their time."""

    def __init__(self) -> None:
        self._number = 0

    def plans(
        self,
        rule: Rule,
        on: str,
        state: SessionState,
        at: float,
        budget: ActBudget,
        *,
        only_on_person: bool = False,
    ) -> Iterator[PlannedAct]:
        """The acts that `rule` wants for `on` (an identity; empty for the room)."""
        person = state.present.get(on)
        is_somebody = person is not None and is_person(person)
        for index, act in enumerate(rule.acts):
            if only_on_person and not isinstance(act, ON_A_PERSON):
                continue
            if isinstance(act, Alert):
                if rule.dry_run:
                    yield PlannedAct(self._key(at), ALERT, index, result=DRY_RUN)
                elif rule.event is not None and not budget.spend(at):
                    # It has an alert at each event, not one for an episode.
                    yield _over_limit(PlannedAct(self._key(at), ALERT, index), rule, budget)
                continue
            if needs_person(act) and not is_somebody:
                continue  # Agents, egress and people who left are never acted on.
            for plan in self._of(act, index, on, state, at):
                yield _decided(plan, act, rule, at, budget)

    def release(self, rule: Rule, on: str, state: SessionState, at: float) -> Iterator[PlannedAct]:
        """The end of a hold, where the rule has one."""
        hold = None if state.rules is None else state.rules.holds.get(on)
        if hold is None or rule.name not in hold.rules:
            return
        plan = PlannedAct(self._key(at), RELEASE, permissions=hold.permissions)
        if hold.rules != (rule.name,):
            plan = evolve(plan, result="another rule goes on to hold")
        elif on not in state.present:
            plan = evolve(plan, result="left")
        else:
            plan = evolve(plan, sid=state.present[on].joins[-1].sid)
        yield plan

    def removal(self, on: str, state: SessionState, at: float) -> PlannedAct:
        """Remove somebody who is banned."""
        return PlannedAct(self._key(at), "remove", index=-1, sid=state.present[on].joins[-1].sid)

    def _of(
        self, act: Act, index: int, on: str, state: SessionState, at: float
    ) -> Iterator[PlannedAct]:
        person = state.present.get(on)
        plan = PlannedAct(
            "", NAMES[type(act)], index, "" if person is None else person.joins[-1].sid
        )
        if isinstance(act, EndRoom):
            if act.warn:
                yield evolve(plan, key=self._key(at), act="send")
            plan = evolve(plan, due=at + act.warn if act.warn else 0.0)
        elif isinstance(act, BanPerson):
            plan = evolve(plan, until=at + act.seconds)
        elif isinstance(act, HoldPerson) and person is not None:
            plan = evolve(plan, permissions=person.permissions)
        elif isinstance(act, LogLine):
            plan = evolve(plan, result=act.text)
        elif isinstance(act, CallWebhook):
            plan = evolve(plan, result=act.name)
        yield evolve(plan, key=self._key(at))

    def _key(self, at: float) -> str:
        self._number += 1
        return f"{at:.3f}-{self._number}"


def _over_limit(plan: PlannedAct, rule: Rule, budget: ActBudget) -> PlannedAct:
    budget.was_exceeded = True
    why = f"over the limit of {rule.limit} acts an hour"
    return evolve(plan, result=why, done=False, until=0.0)


def needs_person(act: Act) -> bool:
    return isinstance(act, ON_A_PERSON) or (isinstance(act, SendText) and act.to_person)


def _decided(plan: PlannedAct, act: Act, rule: Rule, at: float, budget: ActBudget) -> PlannedAct:
    """The plan with its result, where it is refused or only tried out."""
    if not budget.spend(at):
        return _over_limit(plan, rule, budget)
    if rule.dry_run and not isinstance(act, LogLine):
        return evolve(plan, result=DRY_RUN, until=0.0)
    return plan
