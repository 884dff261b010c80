"""The limits of one session: what they decide, as records.

`actors.rules.room_limits` says what is to be done about whom.  This makes records of it, so that
the acts of limits are intended, carried out and reported as those of rules are.  An act of a limit
has no episode.  An alert of a limit is an episode under the limit's name.

A fault harms nothing: it is reported, and the limits go on from the session's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, final

from attrs import evolve, frozen

from actors.acting.decisions import ReportFault
from actors.rooms.room_rules import RoomRules
from actors.rules.limits import Limit, LimitKind
from actors.rules.room_limits import LimitAct, RoomLimits, target_sid
from actors.session import Permissions, SessionState, TimelineEntry
from actors.session.rule_records import PlannedAct, RuleFired, RuleRecord, RuleResolved
from actors.session.rule_state import HOLD, RELEASE

MESSAGE_AFTER: Final = 0.1
"""Seconds between a decision and the message to the person, which the act follows at once.  A
message that is sent sooner can be lost: the data channel of a join opens a moment after it."""
END_WARNING: Final = 3.0
"""Seconds between the message to everybody and the end of a room whose time is over."""


@frozen
class LimitSet:
    """All limits of a program, and what they need."""

    limits: tuple[Limit, ...]
    note_acts: Callable[[str], object]
    """Takes the room SID of a session that is about to record acts which are to be done."""
    report_fault: ReportFault

    def start(self, state: SessionState) -> RoomRules | None:
        """The limits of a session that goes on from `state`; None if none watches its room."""
        limits = tuple(limit for limit in self.limits if limit.watches(state.room))
        return LimitDecisions(self, limits, state) if limits else None


@final
class LimitDecisions(RoomRules):
    """See the module."""

    def __init__(self, of: LimitSet, limits: tuple[Limit, ...], state: SessionState) -> None:
        self._of, self._limits = of, limits
        self._number = 0
        self._room_limits = RoomLimits(limits, state)
        self._has_seen = False
        """The room was seen since the begin."""

    @property
    def due(self) -> float:
        return self._room_limits.due

    def decide(self, state: SessionState, entry: TimelineEntry) -> Sequence[RuleRecord]:  # noqa: ARG002
        return ()

    def decide_after(self, state: SessionState, at: float) -> Sequence[RuleRecord]:
        return self.decide_at(state, at)

    def decide_at(self, state: SessionState, now: float) -> Sequence[RuleRecord]:
        if state.watching and not self._has_seen:
            self._has_seen = True
            if state.rules is not None and state.rules.open_acts:
                self._of.note_acts(state.room_sid)  # An earlier run left them.
        try:
            acts = self._room_limits.look(state, now)
            if not acts:
                return ()
            records = [self._record(act, state) for act in acts]
        except Exception as error:  # noqa: BLE001 (reported; the session goes on)
            self._of.report_fault(state.room, error)
            self._room_limits = RoomLimits(self._limits, state)
            return ()
        if any(plan.result is None for record in records for plan in record.acts):
            self._of.note_acts(state.room_sid)
        return records

    def _record(self, act: LimitAct, state: SessionState) -> RuleFired | RuleResolved:
        at, name, on = act.at, act.excess.limit.name, act.on
        if act.step == "resolve":
            return RuleResolved(at, name, on)
        if act.step == "alert":
            return RuleFired(at, name, on, alert=True, text=act.detail or _alert_text(act))
        return RuleFired(at, name, on, tuple(self._plans(act, state)), lasting=False)

    def _plans(self, act: LimitAct, state: SessionState) -> Iterator[PlannedAct]:
        excess, at, message = act.excess, act.at, act.excess.limit.message
        plan = PlannedAct(self._key(at), act.step, sid=target_sid(act.step, excess))
        if act.step == "end_room":
            if message:
                yield evolve(plan, act="send")
                plan = evolve(plan, key=self._key(at), due=at + END_WARNING)
        elif act.step == "release":
            hold = None if state.rules is None else state.rules.holds.get(excess.identity)
            plan = evolve(plan, act=RELEASE, permissions=None if hold is None else hold.permissions)
            if hold is None:
                plan = evolve(plan, result="was not on hold")
            elif hold.rules != (excess.limit.name,):
                plan = evolve(plan, result="another rule goes on to hold")
        else:
            if act.step == HOLD:
                plan = evolve(plan, permissions=_permissions(state, excess.identity, excess.sid))
            if message:
                plan = evolve(plan, due=at + MESSAGE_AFTER)
        yield plan

    def _key(self, at: float) -> str:
        self._number += 1
        return f"limit-{at:.3f}-{self._number}"


def _permissions(state: SessionState, identity: str, sid: str) -> Permissions | None:
    """The permissions that the person has now."""
    if sid in state.expected:
        return state.expected[sid].info.permissions
    person = state.present.get(identity)
    return None if person is None else person.permissions


def _alert_text(act: LimitAct) -> str:
    limit = act.excess.limit
    texts: dict[LimitKind, str] = {
        "people": f"more than {limit.people} people",
        "tracks": f"more than {limit.tracks_per_person} tracks of a person",
        "duration": f"the room is older than {limit.duration or 0:g} s",
        "person_duration": f"a person is here for longer than {limit.person_duration or 0:g} s",
    }
    return texts[act.excess.kind]
