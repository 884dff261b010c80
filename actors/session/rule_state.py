"""What a session knows of the rules that watch it: episodes, acts, holds and bans.

A session without any has None in place of a `RuleState`, and a store has nothing of it.

An episode has Prometheus' states.  It is *pending* while its rule holds and has not lasted long
enough, *firing* afterwards, and resolved when it is not here any more.  A session that may be
continued keeps its episodes over its end: a worker's restart neither resolves an alert nor fires
it again.  The end of the room resolves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import evolve, field, frozen

from actors.session.bounds import MAX_BANS, MAX_EPISODES, MAX_OPEN_ACTS
from actors.session.changes import change
from actors.session.room_info import Permissions
from actors.session.rule_records import (
    ActReported,
    PlannedAct,
    RuleFired,
    RulePending,
    RuleRecord,
    RuleResolved,
)
from actors.session.timeline_entry import EntryList

EpisodePhase: TypeAlias = Literal["pending", "firing"]

HOLD: Final = "hold"
RELEASE: Final = "release"
BAN: Final = "ban"
"""Acts that leave something behind in the state."""


@frozen
class Episode:
    """One rule, for the room or for one person, that is pending or firing."""

    rule: str
    on: str
    """The person's identity; empty for the room."""
    phase: EpisodePhase
    since: float
    """Unix seconds since when it is in this phase."""
    alert: bool = False
    text: str = ""
    """Text of the alert."""


@frozen
class OpenAct:
    """An act that was intended and not reported."""

    rule: str
    on: str
    at: float
    """Unix seconds when it was intended."""
    plan: PlannedAct
    lasting: bool = True
    """False if it is of no episode: the rule is of an event."""


@frozen
class Hold:
    """Somebody whose permissions are taken."""

    rules: tuple[str, ...]
    """The rules that want it; the last one to end gives the permissions back."""
    permissions: Permissions | None
    """What they had before; None if the server did not say."""


@frozen
class Ban:
    """Somebody who is removed again at each join."""

    rule: str
    until: float
    """Unix seconds."""


@frozen(slots=False)
class RuleState:
    """See the module."""

    episodes: Mapping[str, Episode] = field(factory=dict[str, Episode])
    """By `episode_key`."""
    open_acts: Mapping[str, OpenAct] = field(factory=dict[str, OpenAct])
    """By the key of their plan, in the order of their intents."""
    holds: Mapping[str, Hold] = field(factory=dict[str, Hold])
    """By identity."""
    bans: Mapping[str, Ban] = field(factory=dict[str, Ban])
    """By identity."""

    @property
    def is_empty(self) -> bool:
        return not (self.episodes or self.open_acts or self.holds or self.bans)


NO_RULES: Final = RuleState()


def episode_key(rule: str, on: str) -> str:
    """The key of an episode in a state."""
    return f"{rule}\n{on}"  # no name of a rule has a line break


_Fold: TypeAlias = Callable[[RuleState, Any, EntryList], RuleState]


def fold_rule_record(
    rules: RuleState | None, record: RuleRecord, ended: bool, entries: EntryList
) -> RuleState | None:
    """The rules' state after `record`.  In a session that has ended only reports count."""
    if ended and not isinstance(record, ActReported):
        return rules
    after = _FOLDS[type(record)](rules or NO_RULES, record, entries)
    return None if after.is_empty else after


def resolve_all(rules: RuleState | None, at: float, entries: EntryList) -> RuleState | None:
    """The room is over: so is every episode.  Acts that are open get their report later."""
    if rules is None:
        return None
    for episode in rules.episodes.values():
        _note_resolved(episode, at, entries)
    after = change(rules, episodes={}, holds={})
    return None if after.is_empty else after


def _on_pending(rules: RuleState, record: RulePending, _entries: EntryList) -> RuleState:
    key = episode_key(record.rule, record.on)
    if key in rules.episodes or len(rules.episodes) >= MAX_EPISODES:
        return rules
    return _with_episode(rules, key, Episode(record.rule, record.on, "pending", record.at))


def _on_fired(rules: RuleState, record: RuleFired, entries: EntryList) -> RuleState:
    if record.lasting:
        key = episode_key(record.rule, record.on)
        before = rules.episodes.get(key)
        if before is not None and before.phase == "firing":
            # Decided anew, by a session that did not know of the first time.
            return _with_acts(rules, _refused(record, "the rule fires already"), entries)
        if before is None and len(rules.episodes) >= MAX_EPISODES:
            return _with_acts(rules, _refused(record, "too many episodes"), entries)
        episode = Episode(record.rule, record.on, "firing", record.at, record.alert, record.text)
        rules = _with_episode(rules, key, episode)
    if record.alert:
        entries.add(
            record.at, "alert_firing", rule=record.rule, on=record.on or None, text=record.text
        )
        if not record.lasting:  # It was over at once.
            entries.add(
                record.at, "alert_resolved", rule=record.rule, on=record.on or None, seconds=0.0
            )
    return _with_acts(rules, record, entries)


def _on_resolved(rules: RuleState, record: RuleResolved, entries: EntryList) -> RuleState:
    key = episode_key(record.rule, record.on)
    episode = rules.episodes.get(key)
    if episode is None:
        return rules
    _note_resolved(episode, record.at, entries)
    others = {one: each for one, each in rules.episodes.items() if one != key}
    rules = change(rules, episodes=others)
    return _with_acts(rules, record, entries)


def _on_reported(rules: RuleState, record: ActReported, entries: EntryList) -> RuleState:
    act = rules.open_acts.get(record.key)
    if act is None:
        return rules
    others = {key: one for key, one in rules.open_acts.items() if key != record.key}
    rules = change(rules, open_acts=others)
    plan = evolve(act.plan, result=record.result, done=record.done)
    return _with_result(rules, act.rule, act.on, record.at, plan, entries)


def _refused(record: RuleFired, why: str) -> RuleFired:
    acts = tuple(evolve(act, result=why, done=False, until=0.0) for act in record.acts)
    return evolve(record, acts=acts)


def _with_acts(rules: RuleState, record: RuleFired | RuleResolved, entries: EntryList) -> RuleState:
    rule, on, at = record.rule, record.on, record.at
    lasting = isinstance(record, RuleFired) and record.lasting
    for plan in record.acts:
        if plan.result is None and len(rules.open_acts) >= MAX_OPEN_ACTS:
            plan = evolve(plan, result="too many acts are under way", done=False)
        if plan.key in rules.open_acts:  # Decided anew after a crash, or by a clock set back.
            plan = evolve(plan, result="it is under way already", done=False, until=0.0)
        if plan.result is not None:
            rules = _with_result(rules, rule, on, at, plan, entries)
        else:
            act = OpenAct(rule, on, at, plan, lasting)
            rules = change(rules, open_acts={**rules.open_acts, plan.key: act})
    return rules


def _with_result(
    rules: RuleState, rule: str, on: str, at: float, plan: PlannedAct, entries: EntryList
) -> RuleState:
    entries.add(
        at,
        "act_done" if plan.done else "act_failed",
        rule=rule,
        act=plan.act,
        on=on or None,
        result=plan.result,
    )
    if plan.act == RELEASE:
        # Also if it failed: nobody can give the permissions back to somebody who left.
        return change(rules, holds=_without_hold(rules.holds, rule, on))
    if plan.act == HOLD and plan.done:
        before = rules.holds.get(on) or Hold((), plan.permissions)
        hold = evolve(before, rules=(*(one for one in before.rules if one != rule), rule))
        return change(rules, holds={**rules.holds, on: hold})
    if plan.act == BAN and plan.until > at and len(rules.bans) < MAX_BANS:
        # Also if it failed: the next join is removed.
        return change(rules, bans={**_current(rules.bans, at), on: Ban(rule, plan.until)})
    return rules


def _without_hold(holds: Mapping[str, Hold], rule: str, on: str) -> Mapping[str, Hold]:
    hold = holds.get(on)
    others = {one: each for one, each in holds.items() if one != on}
    if hold is None:
        return others
    rules = tuple(one for one in hold.rules if one != rule)
    return {**others, on: evolve(hold, rules=rules)} if rules else others


def _current(bans: Mapping[str, Ban], at: float) -> Mapping[str, Ban]:
    return {one: ban for one, ban in bans.items() if ban.until > at}


def _with_episode(rules: RuleState, key: str, episode: Episode) -> RuleState:
    return change(rules, episodes={**rules.episodes, key: episode})


def _note_resolved(episode: Episode, at: float, entries: EntryList) -> None:
    if episode.alert and episode.phase == "firing":
        seconds = round(max(0.0, at - episode.since), 3)
        entries.add(at, "alert_resolved", rule=episode.rule, on=episode.on or None, seconds=seconds)


_FOLDS: Final[Mapping[type[RuleRecord], _Fold]] = {
    RulePending: _on_pending,
    RuleFired: _on_fired,
    RuleResolved: _on_resolved,
    ActReported: _on_reported,
}
"""The handler of each class of `RuleRecord`."""
