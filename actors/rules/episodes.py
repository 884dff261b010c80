"""When a rule fires, and when that is over: Prometheus' states for each rule and room or person.

    inactive ──holds──▶ pending ──for──▶ firing ──does not hold──▶ (keep) ──▶ resolved
                           └──does not hold──▶ inactive     └──holds again──▶ firing

Time is the session's own: the server's time of the entries, and of the ticks between them.  While
nobody sees the room nothing fires and nothing resolves, and the gap counts for no `for`, no `keep`
and no "since when".  A rule is looked at only after an entry that it reads, and at its own times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from math import inf
from typing import Final, final

from attrs import define, field, frozen

from actors.rules.conditions import Look, people_of
from actors.rules.room_history import RoomHistory
from actors.rules.rule_config import Rule
from actors.session import SessionState, TimelineEntry

MOST_EPISODES: Final = 10_000
"""Of one room: people whose rule is pending or fires.  Those beyond are not looked at."""


class Phase(Enum):
    """Where an episode is."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@frozen
class EpisodeChange:
    """An episode began to fire, or is over; or an event fired a rule."""

    rule: Rule
    on: str
    """The person's identity, "" where the rule is about the room."""
    phase: Phase
    at: float
    """Unix seconds."""


@define
class Episode:
    """One that is pending or firing."""

    phase: Phase
    since: float
    """Unix seconds: since when it holds (pending), or fires."""
    ceased: float | None = None
    """Since when it does not hold any more; None while it does."""


@define
class _Watched:
    rule: Rule
    due: float = inf
    """Unix seconds when time alone may change something."""
    episodes: dict[str, Episode] = field(factory=dict[str, Episode])


@final
class Episodes:
    """Of one session and all rules that watch its room."""

    def __init__(self, rules: Sequence[Rule], state: SessionState, now: float) -> None:
        # Each rule is looked at once at the first tick: what it reads may have come before.
        self._watched = [
            _Watched(rule, inf if rule.event else now) for rule in rules if rule.watches(state.room)
        ]
        self._history = RoomHistory.of(state, now)
        self._blind_since: float | None = None if state.watching else now

    @property
    def idle(self) -> bool:
        """No rule watches this room."""
        return not self._watched

    @property
    def due(self) -> float:
        """Unix seconds of the next look that no entry asks for; infinite where none is needed."""
        if self._blind_since is not None:
            return inf
        return min((one.due for one in self._watched), default=inf)

    def firing(self) -> Iterator[tuple[Rule, str, float]]:
        """Rule, person and since when."""
        for one in self._watched:
            for on, episode in one.episodes.items():
                if episode.phase is Phase.FIRING:
                    yield one.rule, on, episode.since

    def restore(self, name: str, on: str, since: float) -> None:
        """An earlier run fired this, and it is not over."""
        for one in self._watched:
            if one.rule.name == name:
                one.episodes[on] = Episode(Phase.FIRING, since)
                one.due = -inf

    def take(self, state: SessionState, entry: TimelineEntry, now: float) -> list[EpisodeChange]:
        """After an entry."""
        if not self._watched:
            return []
        was_blind = self._blind_since is not None
        self._history = self._history.after(state, entry, now)
        if state.ended:
            return [*self._end(now)]
        if not self._sees(state, now):
            return []
        changes = list[EpisodeChange]()
        for one in self._watched:
            rule = one.rule
            if rule.event is not None:
                if fnmatchcase(entry.event, rule.event):
                    changes += self._at_event(one, state, entry, now)
            elif was_blind or entry.event in rule.reads or one.due <= now:
                changes += self._look(one, state, now)
        return changes

    def tick(self, state: SessionState, now: float) -> list[EpisodeChange]:
        """At `due`."""
        if state.ended or not self._sees(state, now):
            return []
        self._history = self._history.after(state, None, now)
        return [
            change
            for one in self._watched
            if one.due <= now and one.rule.event is None
            for change in self._look(one, state, now)
        ]

    # ------------------------------------------------------------ inside

    def _sees(self, state: SessionState, now: float) -> bool:
        """Whether somebody of ours sees the room.  The gap before counts for nothing."""
        if not state.watching:
            if self._blind_since is None:
                self._blind_since = now if state.gap_since is None else state.gap_since
            return False
        if self._blind_since is not None:
            gap, self._blind_since = max(0.0, now - self._blind_since), None
            self._history = self._history.moved(gap)
            for one in self._watched:
                for episode in one.episodes.values():
                    if episode.phase is Phase.PENDING:
                        episode.since += gap
                    if episode.ceased is not None:
                        episode.ceased += gap
        return True

    def _at_event(
        self, one: _Watched, state: SessionState, entry: TimelineEntry, now: float
    ) -> Iterator[EpisodeChange]:
        identity = entry.data.get("identity")
        on = identity if isinstance(identity, str) else ""
        look = Look(state, self._history, now)
        if not _holds(one.rule, look):
            return
        if one.rule.of_person is not None:
            person = state.present.get(on)
            look = Look(state, self._history, now, person)
            if person is None or not all(each.holds(look) for each in one.rule.of_person):
                return
        yield EpisodeChange(one.rule, on, Phase.FIRING, entry.at)

    def _look(self, one: _Watched, state: SessionState, now: float) -> list[EpisodeChange]:
        looks, holding = self._holding(one.rule, state, now)
        for on in holding:
            episode = one.episodes.get(on)
            if episode is not None:
                episode.ceased = None
            elif len(one.episodes) < MOST_EPISODES:
                one.episodes[on] = Episode(Phase.PENDING, now)
        changes = [
            change
            for on in tuple(one.episodes)
            if (change := _moved(one, on, on in holding, now)) is not None
        ]
        one.due = min(_turns(one.rule, looks, now), _own_time(one))
        return changes

    def _holding(
        self, rule: Rule, state: SessionState, now: float
    ) -> tuple[list[Look], frozenset[str]]:
        """What was looked at, and for whom the rule holds ("": for the room)."""
        look = Look(state, self._history, now)
        if not _holds(rule, look):
            return [look], frozenset()
        if rule.of_person is None:
            return [look], frozenset(("",))
        of_person = rule.of_person
        looks = [(who, Look(state, self._history, now, who)) for who in people_of(state)]
        holding = frozenset(
            who.identity for who, each in looks if all(one.holds(each) for one in of_person)
        )
        return [look, *(each for _, each in looks)], holding

    def _end(self, now: float) -> Iterator[EpisodeChange]:
        """A session that ended resolves what fires in it."""
        for one in self._watched:
            for on, episode in one.episodes.items():
                if episode.phase is Phase.FIRING:
                    yield EpisodeChange(one.rule, on, Phase.RESOLVED, now)
            one.episodes.clear()
            one.due = inf


def _holds(rule: Rule, look: Look) -> bool:
    return all(one.holds(look) for one in rule.all_of) and (
        not rule.any_of or any(one.holds(look) for one in rule.any_of)
    )


def _turns(rule: Rule, looks: Sequence[Look], now: float) -> float:
    """When time alone changes a condition."""
    times = [
        turn
        for look in looks
        for one in (rule.of_person or () if look.person else (*rule.all_of, *rule.any_of))
        if (turn := one.turns(look)) is not None and turn > now
    ]
    return min(times, default=inf)


def _moved(one: _Watched, on: str, holds: bool, now: float) -> EpisodeChange | None:
    """What becomes of one episode now."""
    rule, episode = one.rule, one.episodes[on]
    if episode.phase is Phase.PENDING:
        if not holds:
            del one.episodes[on]
        elif now >= episode.since + rule.lasting:
            episode.phase, episode.since = Phase.FIRING, now
            return EpisodeChange(rule, on, Phase.FIRING, now)
    elif not holds:
        episode.ceased = now if episode.ceased is None else episode.ceased
        if now >= episode.ceased + rule.keep:
            del one.episodes[on]
            return EpisodeChange(rule, on, Phase.RESOLVED, now)
    return None


def _own_time(one: _Watched) -> float:
    """When an episode is due to fire, or to resolve."""
    times = list[float]()
    for episode in one.episodes.values():
        if episode.phase is Phase.PENDING:
            times.append(episode.since + one.rule.lasting)
        elif episode.ceased is not None:
            times.append(episode.ceased + one.rule.keep)
    return min(times, default=inf)
