"""The acts that the limits of one room want, record by record.  Pure.

A `RoomLimits` is looked at after each record of the session, and at its own times.  Most records
change nothing that a limit reads; such a look costs a few comparisons.  Nothing here acts: a
`LimitAct` is data.  The same code runs beside a live session and over stored ones.

Each excess leads to one act for as long as it lasts.  Somebody who comes back has another join, so
another excess.  `MOST_ACTS` in `WINDOW` bound what is done about one person: a client that joins
again for ever must not make it a war.  At the bound an alert fires, which is over after a calm
`WINDOW`; the next act comes when the bound allows it.

While nobody watches the room nothing is done.  The first look afterwards makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Final, Literal, TypeAlias, final

from attrs import frozen

from actors.rules.limits import (
    Excess,
    Limit,
    LimitAction,
    LimitKind,
    PresentPerson,
    excesses,
    next_time,
    people_of,
)
from actors.session import SessionState
from actors.session.rule_state import RuleState

MOST_ACTS: Final = 5
"""Acts about one person within `WINDOW`."""
WINDOW: Final = 60.0
"""Seconds."""
MOST_TIMES: Final = 1_000
"""People whose acts are remembered before those of the calm ones are forgotten."""
COMES_BACK: Final = f"comes back: {MOST_ACTS} acts in {WINDOW:g} s"
"""The detail of the alert about somebody with whom it would become a war."""

LimitStep: TypeAlias = LimitAction | Literal["release", "resolve"]
"""An action; `release` ends a hold, `resolve` an alert."""


@frozen
class LimitAct:
    """One act that a limit wants."""

    at: float
    """Unix seconds."""
    step: LimitStep
    excess: Excess
    detail: str = ""

    @property
    def on(self) -> str:
        """The identity of the person whom it concerns; "" for the whole room."""
        return self.excess.identity


def target_sid(step: LimitStep, excess: Excess) -> str:
    """The SID on which the server is asked to act: of the track for a mute, else of the join."""
    return excess.track_sid if step == "mute" else excess.sid


_NEVER: Final = (-inf,)
_Key: TypeAlias = tuple[str, LimitKind, str, str]
_AlertKey: TypeAlias = tuple[str, str]
"""Limit and identity."""


@final
class RoomLimits:
    """The limits of one session."""

    def __init__(self, limits: Sequence[Limit], state: SessionState) -> None:
        """`state` has what an earlier run did about these limits."""
        self._limits = tuple(limit for limit in limits if limit.watches(state.room))
        self._reads_tracks = any(one.tracks_per_person is not None for one in self._limits)
        self._last: SessionState | None = None
        """The state of the last whole look."""
        self._is_restored = False
        """The acts of an earlier run were looked up."""
        self._acted = dict[_Key, LimitAct]()
        """The step that was taken about each excess that lasts."""
        self._alerts = dict(_alerts_of(self._limits, state.rules))
        """The alerts that fire."""
        self._times = dict[str, list[float]]()
        """When something was done about a person, by identity: the newest `MOST_ACTS`."""
        self._waiting = dict[_AlertKey, Excess]()
        """Those about whom no more was done, because of `MOST_ACTS`, until it is calm."""
        self.due = state.last_at if self._limits else inf
        """Unix seconds of the next look that no record asks for; infinite if none is needed."""

    @property
    def idle(self) -> bool:
        """No limit watches this room."""
        return not self._limits

    def look(self, state: SessionState, now: float) -> Sequence[LimitAct]:
        """The acts that are due now: after a record of the session, or at `due`."""
        if not self._limits or not (self._has_changed(state) or now >= self.due):
            return ()
        self._last = state
        if state.ended or not state.watching:
            # The end of a session itself resolves its alerts.
            self.due = inf
            return ()
        people = people_of(state)
        beyond = {
            one.key: one for limit in self._limits for one in excesses(limit, state, people, now)
        }
        if not self._is_restored:
            self._is_restored = True
            self._acted = dict(_acted_of(self._limits, state.rules, people, beyond))
        acts = [*self._release(beyond, people, now)]
        restricted = {one.sid for one in people if one.restricted}
        for key, excess in beyond.items():
            if key not in self._acted:
                acts += self._act(key, excess, restricted, now)
        acts += self._settle_alerts(self._wanted_alerts(beyond.values(), now), now)
        self.due = min(
            (next_time(limit, state, people, now) for limit in self._limits),
            default=inf,
        )
        for _, identity in self._waiting:
            times = self._times.get(identity, _NEVER)
            self.due = min(self.due, *(one + WINDOW for one in times if one + WINDOW > now), inf)
        return acts

    # ------------------------------------------------------------ inside

    def _has_changed(self, state: SessionState) -> bool:
        """True if something that a limit reads may be another since the last whole look."""
        last = self._last
        return (
            last is None
            or state.joins != last.joins
            or state.current != last.current
            or state.expected is not last.expected
            or state.provisional_leaves is not last.provisional_leaves
            or state.watching != last.watching
            or state.ended_at != last.ended_at
            or (self._reads_tracks and state.tracks is not last.tracks)
        )

    def _release(
        self, beyond: dict[_Key, Excess], people: Sequence[PresentPerson], now: float
    ) -> Iterator[LimitAct]:
        """Forget what is not beyond any more; a hold of somebody who is still there ends."""
        over = [act for key, act in self._acted.items() if key not in beyond]
        self._acted = {key: act for key, act in self._acted.items() if key in beyond}
        still_on_hold = {act.excess.sid for act in self._acted.values() if act.step == "hold"}
        present = {one.sid for one in people}
        for act in over:
            sid = act.excess.sid
            # A hold ends the tracks of its person: one for tracks lasts as long as the join.
            if act.excess.kind == "tracks":
                continue
            if act.step == "hold" and not act.detail and sid in present - still_on_hold:
                still_on_hold.add(sid)  # Only once, even if several limits held them.
                yield LimitAct(now, "release", act.excess)

    def _act(
        self, key: _Key, excess: Excess, restricted: set[str], now: float
    ) -> Iterator[LimitAct]:
        step = excess.limit.action(excess.kind)
        if step == "alert":
            return
        act = LimitAct(now, step, excess)
        if any(_is_same(act, other) for other in self._acted.values()):
            self._acted[key] = act  # Two bounds, one act.
        elif step == "hold" and excess.sid in restricted:
            # Their permissions were not ours to take, so they are not ours to give back.
            self._acted[key] = LimitAct(now, step, excess, "has no permissions anyway")
        elif excess.identity and not self._may_act(excess.identity, now):
            self._waiting[excess.limit.name, excess.identity] = excess
        else:
            self._acted[key] = act
            yield act

    def _may_act(self, identity: str, now: float) -> bool:
        """True if the bound allows one act more about this person, which it counts."""
        times = self._times.setdefault(identity, [])
        if len(times) == MOST_ACTS and _is_recent(times[0], now):
            return False
        self._times[identity] = [*times, now][-MOST_ACTS:]
        if len(self._times) > MOST_TIMES:
            recent = now - WINDOW
            self._times = {one: at for one, at in self._times.items() if at[-1] > recent}
        return True

    def _wanted_alerts(self, beyond: Iterable[Excess], now: float) -> dict[_AlertKey, LimitAct]:
        """The alerts that should fire, with the act by which they would begin."""
        wanted = dict[_AlertKey, LimitAct]()
        for excess in beyond:
            if excess.limit.over == "alert":
                if excess.kind == "people":  # One alert for the room, whoever is beyond.
                    excess = Excess(excess.limit, excess.kind)
                wanted.setdefault(
                    (excess.limit.name, excess.identity), LimitAct(now, "alert", excess)
                )
        for key, excess in tuple(self._waiting.items()):
            if _is_recent(self._times.get(excess.identity, _NEVER)[-1], now):
                wanted.setdefault(key, LimitAct(now, "alert", excess, COMES_BACK))
            else:
                del self._waiting[key]
        return wanted

    def _settle_alerts(
        self, wanted: Mapping[_AlertKey, LimitAct], now: float
    ) -> Iterator[LimitAct]:
        """Begin the alerts that are wanted and end the others."""
        for key, act in tuple(self._alerts.items()):
            if key not in wanted:
                del self._alerts[key]
                yield LimitAct(now, "resolve", act.excess, act.detail)
        for key, act in wanted.items():
            if key not in self._alerts:
                self._alerts[key] = act
                yield act


def _is_recent(at: float, now: float) -> bool:
    """True if `at` is within `WINDOW` of `now`.  A time far ahead of a clock that was set back says
    nothing, and bounds nothing."""
    return abs(now - at) < WINDOW


def _is_same(act: LimitAct, other: LimitAct) -> bool:
    return (act.step, target_sid(act.step, act.excess)) == (
        other.step, target_sid(other.step, other.excess)
    )  # fmt: skip


# ---------------------------------------------------------------- what an earlier run did


def _alerts_of(
    limits: Iterable[Limit], rules: RuleState | None
) -> Iterator[tuple[_AlertKey, LimitAct]]:
    """The alerts that fire."""
    by_name = {limit.name: limit for limit in limits}
    for one in () if rules is None else rules.episodes.values():
        if one.rule in by_name and one.phase == "firing":
            excess = Excess(by_name[one.rule], "people", one.on)
            yield (one.rule, one.on), LimitAct(one.since, "alert", excess, one.text)


def _acted_of(
    limits: Sequence[Limit],
    rules: RuleState | None,
    people: Sequence[PresentPerson],
    beyond: Mapping[_Key, Excess],
) -> Iterator[tuple[_Key, LimitAct]]:
    """The acts that are under way, and the holds that last."""
    if rules is None:
        return
    under_way = {(act.rule, act.plan.act, act.plan.sid) for act in rules.open_acts.values()}
    for key, excess in beyond.items():
        limit, step = excess.limit, excess.limit.action(excess.kind)
        hold = rules.holds.get(excess.identity)
        is_on_hold = step == "hold" and hold is not None and limit.name in hold.rules
        if is_on_hold or (limit.name, step, target_sid(step, excess)) in under_way:
            yield key, LimitAct(-inf, step, excess)
    acted = {(excess.limit.name, excess.identity) for excess in beyond.values()}
    for one in people:
        hold = rules.holds.get(one.identity)
        names = () if hold is None else hold.rules
        for limit in limits:
            if limit.people is None:
                continue  # Only where people left there is room again.
            if limit.name in names and (limit.name, one.identity) not in acted:
                # There is room for them now: the first look ends the hold.
                excess = Excess(limit, "people", one.identity, one.sid)
                yield excess.key, LimitAct(-inf, "hold", excess)
