"""A trial: what rules and limits would have done in sessions that are over.  Pure.

It folds the records of a stored session again and looks at rules and limits after each, as a live
run does, with their own times in between.  What an earlier run recorded of its own rules is left
out.  A trial acts on nobody: somebody whom a limit would have removed stays in the records.

Two things differ from a live run.  It cannot ask the server before an act, so it lists an act that
a second look would have shown to be needless.  And the events of a gap are not there: a gap
neither fires nor resolves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Final, get_args

from attrs import frozen

from actors.rules.acts import NAMES
from actors.rules.episodes import EpisodeChange, Episodes, Phase
from actors.rules.limits import Limit
from actors.rules.room_limits import LimitAct, RoomLimits
from actors.rules.rule_config import Rule
from actors.session.record import Record, SessionBegan, fold
from actors.session.rule_records import RuleRecord
from actors.session.state import SessionState

RESOLVED: Final = "resolved"
"""The act of a trial that says that an episode is over."""


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


def try_session(
    rules: Sequence[Rule],
    limits: Sequence[Limit],
    records: Iterable[Record],
    until: float = -inf,
) -> Iterator[TrialAct]:
    """What would have been done in one session, in order.

    `records` is its whole journal.  A session that has not ended is watched on until `until`.
    """
    records = iter(records)
    began = next(records, None)
    if not isinstance(began, SessionBegan):
        return
    state, _ = fold(None, began)
    now = began.at
    episodes, room_limits = Episodes(rules, state, now), RoomLimits(limits, began.room)
    for record in records:
        if isinstance(record, RULE_RECORDS):
            continue
        if record.at > now:
            if min(episodes.due, room_limits.due) < record.at:
                yield from _pass(episodes, room_limits, state, now, record.at)
            now = record.at
        state, entries = fold(state, record)
        for entry in entries:
            for change in episodes.take(state, entry, now):
                yield from _of_change(change)
        for act in room_limits.look(state, now):
            yield _of_limit(act)
    if not state.ended:
        yield from _pass(episodes, room_limits, state, now, until)


def _pass(
    episodes: Episodes, room_limits: RoomLimits, state: SessionState, now: float, until: float
) -> Iterator[TrialAct]:
    """Let time pass from `now` to `until`, with every look that rules and limits ask for."""
    while (due := min(episodes.due, room_limits.due)) < until:
        now = max(now, due)
        if episodes.due <= now:
            for change in episodes.tick(state, now):
                yield from _of_change(change)
        if room_limits.due <= now:
            yield from map(_of_limit, room_limits.look(state, now))


def _of_change(change: EpisodeChange) -> Iterator[TrialAct]:
    rule = change.rule
    if change.phase is Phase.RESOLVED:
        yield TrialAct(change.at, rule.name, RESOLVED, change.on)
        return
    detail = "dry run" if rule.dry_run else ""
    for act in rule.acts:
        yield TrialAct(change.at, rule.name, NAMES[type(act)], change.on, detail)


def _of_limit(act: LimitAct) -> TrialAct:
    step = RESOLVED if act.step == "resolve" else act.step
    return TrialAct(act.at, act.excess.limit.name, step, act.on, act.detail)


RULE_RECORDS: Final[tuple[type, ...]] = get_args(RuleRecord)
