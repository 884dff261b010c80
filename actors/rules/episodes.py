"""When a rule fires, and when that is over: Prometheus' states for each rule and room or person.

    inactive ──holds──▶ pending ──for──▶ firing ──does not hold──▶ (keep) ──▶ resolved
                           └──does not hold──▶ inactive     └──holds again──▶ firing

Time is the session's own: the server's time of the entries, and of the ticks between them.  While
nobody sees the room nothing fires and nothing resolves, and the gap counts for no `for`, no `keep`
and no "since when".  A rule is looked at only after an entry that it reads, and at its own times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from math import inf
from typing import Final, final

from attrs import define, field, frozen

from actors.rules.conditions import Look, is_person, people_of
from actors.rules.room_history import RoomHistory
from actors.rules.rule_config import Rule
from actors.rules.rule_entries import GAP_ENTRIES, is_matched, is_reader, wanted_entries
from actors.session import ENTRY_KEYS, SessionState, TimelineEntry

MOST_EPISODES: Final = 10_000
"""Episodes of one room: people for whom a rule is pending or fires.  Above it none begins."""


class Phase(Enum):
    """Where an episode is."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    INACTIVE = "inactive"
    """It was pending, and does not hold any more."""
    REJOINED = "rejoined"
    """It fires on, but for another join of its person, on whom nothing was done yet."""


@frozen
class EpisodeChange:
    """An episode changed its phase; or an event fired a rule."""

    rule: Rule
    on: str
    """The person's identity, "" where the rule is about the room."""
    phase: Phase
    at: float
    """Unix seconds."""


@define
class TrackedEpisode:
    """One that is pending or firing."""

    phase: Phase
    since: float
    """Unix seconds: since when it holds (pending), or fires."""
    ceased: float | None = None
    """Since when it does not hold any more; None while it does."""
    sid: str = ""
    """The join of its person; empty for the room."""


@define
class _Watched:
    rule: Rule
    due: float = inf
    """Unix seconds when time alone may change something."""
    episodes: dict[str, TrackedEpisode] = field(factory=dict[str, TrackedEpisode])
    room_turns: tuple[Callable[[Look], float | None], ...] = field(init=False)
    person_turns: tuple[Callable[[Look], float | None], ...] = field(init=False)
    """Of the conditions that time alone can change."""

    def __attrs_post_init__(self) -> None:
        rule = self.rule
        of_room = (*rule.all_of, *rule.any_of)
        self.room_turns = tuple(c.turns for c in of_room if c.turns is not None)
        of_person = rule.of_person or ()
        self.person_turns = tuple(c.turns for c in of_person if c.turns is not None)


@final
class Episodes:
    """The episodes of one session, for all rules that watch its room."""

    def __init__(
        self, rules: Sequence[Rule], state: SessionState, now: float, *, pending: bool = False
    ) -> None:
        """`pending`: episodes that become pending, those that never were more, and other joins of
        a person whose episode fires, are changes too."""
        # Each rule is looked at once at the first tick: what it reads may have come before.
        self._watched = [
            _Watched(rule, inf if rule.event else now) for rule in rules if rule.watches(state.room)
        ]
        self._pending = pending
        self._history = RoomHistory.of(state, now)
        since = now if state.gap_since is None else state.gap_since
        self._blind_since: float | None = None if state.watching else since
        self._wanted = wanted_entries(one.rule for one in self._watched)
        self._readers: dict[str, tuple[_Watched, ...]] = {}
        """The rules that read an entry, by its name.  A name is added when it comes first: most
        sessions have few of all names."""
        self._due: float | None = None
        """The earliest time of a rule; None if it has to be looked for."""

    @property
    def idle(self) -> bool:
        """No rule watches this room."""
        return not self._watched

    @property
    def blind(self) -> bool:
        """Nobody of ours sees the room, as far as was looked."""
        return self._blind_since is not None

    @property
    def due(self) -> float:
        """Unix seconds of the next look that no entry asks for; infinite where none is needed."""
        if self._blind_since is not None:
            return inf
        if self._due is None:
            self._due = min((one.due for one in self._watched), default=inf)
        return self._due

    def firing(self) -> Iterator[tuple[Rule, str, float]]:
        """Rule, person and since when."""
        for one in self._watched:
            for on, episode in one.episodes.items():
                if episode.phase is Phase.FIRING:
                    yield one.rule, on, episode.since

    def restore(
        self, name: str, on: str, since: float, phase: Phase = Phase.FIRING, sid: str = ""
    ) -> bool:
        """An earlier run has this episode, and it is not over.  False if there is no such rule."""
        for one in self._watched:
            if one.rule.name == name and one.rule.event is None:
                one.episodes[on] = TrackedEpisode(phase, since, sid=sid)
                one.due = -inf
                self._due = None
                return True
        return False

    def reads(self, event: str) -> bool:
        """An entry of this name may change something.  Of others nothing need be offered."""
        return "*" in self._wanted or event in self._wanted

    def take(self, state: SessionState, entry: TimelineEntry, now: float) -> list[EpisodeChange]:
        """After an entry."""
        if not self._watched:
            return []
        was_blind = self._blind_since is not None
        if entry.event in GAP_ENTRIES and not was_blind:
            # It was over before anybody looked.
            self._pass_gap(float(entry.data["gap"]))
            was_blind = True
        self._history = self._history.after(state, entry, now)
        if state.ended:
            return [*self._end(now)]
        if not self._sees(state, now):
            return []
        changes = list[EpisodeChange]()
        is_due = was_blind or self.due <= now
        for one in self._watched if is_due else self._readers_of(entry.event):
            rule = one.rule
            if rule.event is not None:
                if is_matched(entry, rule.event):
                    changes += self._at_event(one, state, entry, now)
            elif was_blind or one.due <= now:
                changes += self._look(one, state, now)
            elif entry.event in rule.reads:
                changes += self._look_after(one, state, entry, now)
        return changes

    def tick(self, state: SessionState, now: float) -> list[EpisodeChange]:
        """At `due`."""
        if state.ended or not self._sees(state, now):
            return []
        self._due = None
        self._history = self._history.after(state, None, now)
        return [
            change
            for one in self._watched
            if one.due <= now and one.rule.event is None
            for change in self._look(one, state, now)
        ]

    # ------------------------------------------------------------ inside

    def _readers_of(self, name: str) -> tuple[_Watched, ...]:
        readers = self._readers.get(name)
        if readers is None:
            known = name in ENTRY_KEYS
            readers = tuple(one for one in self._watched if known and is_reader(one.rule, name))
            self._readers[name] = readers
        return readers

    def _sees(self, state: SessionState, now: float) -> bool:
        """True if this program sees the room.  The gap before counts for nothing."""
        if not state.watching:
            if self._blind_since is None:
                self._blind_since = now if state.gap_since is None else state.gap_since
            return False
        if self._blind_since is not None:
            gap, self._blind_since = max(0.0, now - self._blind_since), None
            self._pass_gap(gap)
        return True

    def _pass_gap(self, gap: float) -> None:
        """So many seconds passed in which nobody saw the room."""
        self._history = self._history.moved(gap)
        for one in self._watched:
            for episode in one.episodes.values():
                if episode.phase is Phase.PENDING:
                    episode.since += gap
                if episode.ceased is not None:
                    episode.ceased += gap

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
        self._due = None
        if not one.episodes:
            look = Look(state, self._history, now)
            if not _holds(one.rule, look):  # So it is nearly always.
                one.due = _turns(one, (look,), now)
                return []
        looks, holding = self._holding(one.rule, state, now)
        # In an order that is the same in every process, which that of a set is not.
        on = dict.fromkeys((*holding, *one.episodes))
        changes = self._settle(one, state, holding, on, now)
        one.due = min(_turns(one, looks, now), _own_time(one))
        return changes

    def _look_after(
        self, one: _Watched, state: SessionState, entry: TimelineEntry, now: float
    ) -> list[EpisodeChange]:
        """The same, at the one person only whom an entry is about, where that is enough.

        So a room of hundreds of people costs no more an entry than one of two.
        """
        rule, identity = one.rule, entry.data.get("identity")
        if (
            rule.of_person is None
            or not isinstance(identity, str)
            or entry.event in rule.room_reads
        ):
            return self._look(one, state, now)
        person = state.present.get(identity)
        look = Look(state, self._history, now, person)
        holds = (
            person is not None
            and is_person(person)
            and all(each.holds(look) for each in rule.of_person)
            and _holds(rule, Look(state, self._history, now))
        )
        holding = (identity,) if holds else ()
        self._due = None
        changes = self._settle(one, state, holding, (identity,), now)
        one.due = min(one.due, _turns(one, (look,), now), _own_time_of(one, identity))
        return changes

    def _settle(
        self,
        one: _Watched,
        state: SessionState,
        holding: Collection[str],
        on: Iterable[str],
        now: float,
    ) -> list[EpisodeChange]:
        """Move the episodes of `on`, now that the rule holds for those of `holding`."""
        changes = list[EpisodeChange]()
        for each in on:
            episode = one.episodes.get(each)
            sid = state.present[each].joins[-1].sid if each in state.present else ""
            if each not in holding:
                if episode is None:
                    continue
            elif episode is not None:
                episode.ceased = None
                before, episode.sid = episode.sid, sid
                if self._pending and before not in ("", sid) and episode.phase is Phase.FIRING:
                    changes.append(EpisodeChange(one.rule, each, Phase.REJOINED, now))
            elif len(one.episodes) < MOST_EPISODES:
                one.episodes[each] = TrackedEpisode(Phase.PENDING, now, sid=sid)
                if self._pending and one.rule.lasting:
                    changes.append(EpisodeChange(one.rule, each, Phase.PENDING, now))
            else:
                continue
            change = _moved(one, each, each in holding, now)
            if change is not None and (self._pending or change.phase is not Phase.INACTIVE):
                changes.append(change)
        return changes

    def _holding(
        self, rule: Rule, state: SessionState, now: float
    ) -> tuple[list[Look], Collection[str]]:
        """The looks that were taken, and those for whom the rule holds ("": the room)."""
        look = Look(state, self._history, now)
        if not _holds(rule, look):
            return [look], ()
        if rule.of_person is None:
            return [look], ("",)
        of_person = rule.of_person
        looks = [(who, Look(state, self._history, now, who)) for who in people_of(state)]
        holding = dict.fromkeys(
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
        self._due = None


def _holds(rule: Rule, look: Look) -> bool:
    for one in rule.all_of:  # Nothing is asked more often: a generator would double its cost.
        if not one.holds(look):
            return False
    return not rule.any_of or any(one.holds(look) for one in rule.any_of)


def _turns(one: _Watched, looks: Sequence[Look], now: float) -> float:
    """When time alone changes a condition."""
    earliest = inf
    for look in looks:
        for turns in one.person_turns if look.person else one.room_turns:
            turn = turns(look)
            if turn is not None and now < turn < earliest:
                earliest = turn
    return earliest


def _moved(one: _Watched, on: str, holds: bool, now: float) -> EpisodeChange | None:
    """The change of one episode now; None if there is none."""
    rule, episode = one.rule, one.episodes[on]
    if episode.phase is Phase.PENDING:
        if not holds:
            del one.episodes[on]
            return EpisodeChange(rule, on, Phase.INACTIVE, now)
        if now >= episode.since + rule.lasting:
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
    return min((_own_time_of(one, on) for on in one.episodes), default=inf)


def _own_time_of(one: _Watched, on: str) -> float:
    episode = one.episodes.get(on)
    if episode is None:
        return inf
    if episode.phase is Phase.PENDING:
        return episode.since + one.rule.lasting
    return inf if episode.ceased is None else episode.ceased + one.rule.keep
