"""A trial: what rules and limits would have done in sessions that are stored.  Pure.

It folds the records of a journal again and asks rules and limits after each, by the code that a
live session asks, with their own times in between.  What an earlier run recorded of its rules is
left out; what the trial decides is folded in its place.  A trial acts on nobody: somebody whom a
limit would have removed stays in the records.

Two things differ from a live run.  A trial cannot ask the server before an act, so it lists an act
that a second look would have shown to be needless.  And each act counts as done at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Final, NoReturn, final, get_args

from attrs import frozen

from actors.acting.acting import Acting
from actors.acting.ban_list import BanList
from actors.rooms.room_rules import RoomRules
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from actors.session import Disconnected, RoomEvent, SessionState, TimelineEntry
from actors.session.record import Record, SessionBegan, SessionContinued, fold
from actors.session.rule_records import (
    ActReported,
    PlannedAct,
    RuleFired,
    RuleRecord,
    RuleResolved,
)
from actors.session.rule_state import episode_key

RESOLVED: Final = "resolved"
"""The act of a trial that says that an episode is over."""
_EVENTS: Final[frozenset[type[Record]]] = frozenset(get_args(RoomEvent))
"""The records after which a live session asks."""
_RULE_RECORDS: Final[frozenset[type[Record]]] = frozenset(get_args(RuleRecord))


@frozen
class TrialAct:
    """One act that a rule or a limit would have done."""

    at: float
    """Unix seconds."""
    rule: str
    """The name of the rule or the limit."""
    act: str
    on: str = ""
    """The identity of the person; "" for the room."""
    detail: str = ""


def watched(rules: Sequence[Rule], limits: Sequence[Limit], room: str) -> bool:
    """True if a rule or a limit watches the rooms of this name."""
    return any(one.watches(room) for one in (*rules, *limits))


@final
class RuleTrial:
    """Some rules and limits, tried on one session after the other.

    Bans last over the sessions of a room, so try the sessions in the order of their begin.
    """

    def __init__(self, rules: tuple[Rule, ...], limits: tuple[Limit, ...]) -> None:
        self._acting = Acting(rules, BanList(), limits, clock=lambda: 0.0, report_fault=_raise)

    def session(self, records: Iterable[Record], until: float = -inf) -> Iterator[TrialAct]:
        """The acts that would have been done in one session, in order.

        `records` is its whole journal.  A session that has not ended is watched until `until`.
        """
        return _SessionTrial(self._acting).run(records, until)


@final
class _SessionTrial:
    """One session while it is tried."""

    state: SessionState

    def __init__(self, acting: Acting) -> None:
        self._acting = acting
        self._entries: deque[TimelineEntry] = deque()
        self._acts: deque[TrialAct] = deque()

    def run(self, records: Iterable[Record], until: float) -> Iterator[TrialAct]:
        records = iter(records)
        began = next(records, None)
        if not isinstance(began, SessionBegan):
            return
        self.state, _ = fold(None, began)
        rules, acts = self._acting.start_rules(self.state), self._acts
        for record in records:
            if type(record) in _RULE_RECORDS:
                continue
            if rules is None:
                self.state, _ = fold(self.state, record)
            else:
                self._take(rules, record)
            if _is_another_run(record):  # It went on from the state alone.
                rules = self._acting.start_rules(self.state)
            while acts:
                yield acts.popleft()
        if rules is not None and not self.state.ended:
            self._pass(rules, until)
        yield from acts

    def _take(self, rules: RoomRules, record: Record) -> None:
        """Fold a record, with every look before it and after it."""
        if rules.due <= record.at:
            self._pass(rules, record.at)
        self.state, entries = fold(self.state, record)
        decided: Sequence[RuleRecord] = ()
        if type(record) in _EVENTS:
            decided = rules.decide_after(self.state, record.at)
        if entries or decided:
            self._entries.extend(entries)
            self._note_ends(entries)
            self._record(decided)
            self._publish(rules)

    def _pass(self, rules: RoomRules, until: float) -> None:
        """Let time pass, with every look that the rules ask for."""
        while (due := rules.due) <= until:
            self._record(rules.decide_at(self.state, due))
            self._publish(rules)

    def _publish(self, rules: RoomRules) -> None:
        entries = self._entries
        while entries:
            decided = rules.decide(self.state, entries.popleft())
            if decided:
                self._record(decided)

    def _record(self, decided: Sequence[RuleRecord]) -> None:
        for record in decided:
            self._note(record)
            self._fold(record)
            for plan in _plans(record):
                if plan.result is None:
                    self._fold(ActReported(record.at, plan.key, True))

    def _fold(self, record: RuleRecord) -> None:
        self.state, entries = fold(self.state, record)
        self._entries.extend(entries)

    def _note(self, record: RuleRecord) -> None:
        """The rows of a decision."""
        if not isinstance(record, RuleFired | RuleResolved):
            return
        at, rule, on = record.at, record.rule, record.on
        if isinstance(record, RuleFired):
            if record.alert:
                self._acts.append(TrialAct(at, rule, "alert", on, record.text))
        elif self._is_firing(rule, on):
            self._acts.append(TrialAct(at, rule, RESOLVED, on))
        for plan in record.acts:
            self._acts.append(TrialAct(at, rule, plan.act, on, plan.result or ""))

    def _note_ends(self, entries: Iterable[TimelineEntry]) -> None:
        """The alerts that the end of the session resolved."""
        for entry in entries:
            if entry.event == "alert_resolved":
                rule, on = entry.data["rule"], entry.data["on"] or ""
                self._acts.append(TrialAct(entry.at, rule, RESOLVED, on))

    def _is_firing(self, rule: str, on: str) -> bool:
        rules = self.state.rules
        episode = None if rules is None else rules.episodes.get(episode_key(rule, on))
        return episode is not None and episode.phase == "firing"


def _is_another_run(record: Record) -> bool:
    """True if another run of the worker, or another watch, begins with it."""
    return isinstance(record, SessionContinued) or (
        isinstance(record, Disconnected) and record.gap == "worker_failed"
    )


def _plans(record: RuleRecord) -> Sequence[PlannedAct]:
    return record.acts if isinstance(record, RuleFired | RuleResolved) else ()


def _raise(_room: str, error: Exception) -> NoReturn:
    raise error
