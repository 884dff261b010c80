"""The conditions of a rule: one row a word of the config file.  Pure.

Each becomes a `Condition`: a closure that says whether it holds, the entries that can change that,
and when time alone can.  A condition of a **room** looks at the whole session.  A condition of a
**person** (the table `person` of a rule) looks at one participant: such a rule has one episode for
each person for whom it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, get_args

from attrs import frozen

from actors.rules.comparisons import (
    BadComparison,
    NumberComparison,
    compare,
    count,
    rate,
    seconds,
    share,
)
from actors.rules.room_history import WINDOW, RoomHistory
from actors.session import ENTRY_KEYS, QUALITIES, Quality, SessionState, TrackSource
from actors.session.agent_problems import open_problems, quiet_since, thinking_since
from actors.session.measurement import poor_microphones
from actors.session.participant import COUNTED_KINDS, Participant

ANY_ENTRY: Final = frozenset({"*"})
PEOPLE_ENTRIES: Final = frozenset({
    "session_started", "participant_found", "participant_connected", "participant_disconnected",
    "participant_left_at", "participant_connection_aborted",
    "participant_attributes", "reconnected",
})  # fmt: skip
"""Entries after which the people of a room may be others."""


@frozen
class Look:
    """The things that a condition looks at."""

    state: SessionState
    history: RoomHistory
    now: float
    """Unix seconds."""
    person: Participant | None = None
    """For conditions of a person."""


@frozen
class Condition:
    """One compiled condition."""

    holds: Callable[[Look], bool]
    reads: frozenset[str]
    """Names of the entries that can change it; `ANY_ENTRY` where any may."""
    turns: Callable[[Look], float | None] | None = None
    """Unix seconds when time alone can change it.  None, or giving None: it cannot."""


class BadCondition(ValueError):
    """A condition is wrong: the text says why, and what is allowed.  `key` says which one."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


# ---------------------------------------------------------------- makers


def _number(read: Callable[[Look], float], reads: frozenset[str]) -> Callable[[object], Condition]:
    def make(value: object) -> Condition:
        wanted = compare(value, count)
        return Condition(lambda look: wanted.holds(read(look)), reads)

    return make


def _elapsed(
    since: Callable[[Look], float | None], reads: frozenset[str]
) -> Callable[[object], Condition]:
    """A duration since something: it grows with time alone."""

    def make(value: object) -> Condition:
        wanted = compare(value, seconds)

        def holds(look: Look) -> bool:
            began = since(look)
            return began is not None and wanted.holds(look.now - began)

        def turns(look: Look) -> float | None:
            began = since(look)
            if began is None or look.now > began + wanted.value:
                return None
            # `>` holds only behind the moment itself.
            return began + wanted.value + (0.001 if wanted.sign in (">", "<=") else 0.0)

        return Condition(holds, reads, turns)

    return make


def _pattern(
    read: Callable[[Look], str | None], reads: frozenset[str]
) -> Callable[[object], Condition]:
    def make(value: object) -> Condition:
        if not isinstance(value, str):
            raise BadComparison("it must be a text; * and ? stand for any characters")

        def holds(look: Look) -> bool:
            text = read(look)
            return text is not None and fnmatchcase(text, value)

        return Condition(holds, reads)

    return make


def _recording(value: object) -> Condition:
    if not isinstance(value, bool):
        raise BadComparison("it must be true or false")
    return Condition(lambda look: look.state.recorded_now is value, frozenset({"room_recording"}))


def _quality_rank(name: object) -> int:
    if not isinstance(name, str) or name not in QUALITIES:
        raise BadComparison(f"a quality is one of {', '.join(QUALITIES)}")
    return QUALITIES.index(name)


_QUALITY_READS: Final = frozenset({"quality_changed"}) | PEOPLE_ENTRIES


def _quality(value: object) -> Condition:
    """`"poor"`: one person has it, or worse.  `{ at_most = "poor", share = ">= 50%" }`."""
    wanted = NumberComparison(">", 0.0)
    name: object = value
    if isinstance(value, Mapping):
        table: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        unknown = set(table) - {"at_most", "share"}
        if unknown or "at_most" not in table:
            raise BadComparison("it takes at_most and share")
        name = table["at_most"]
        if "share" in table:
            wanted = compare(table["share"], share)
    rank = _quality_rank(name)

    needs_some = wanted.is_lower_bound and (wanted.value > 0 or wanted.sign == ">")
    """It cannot hold where nobody's connection is bad, which is nearly always."""

    def holds(look: Look) -> bool:
        present = look.state.present.values()
        if needs_some and not any(_is_bad(one, rank) for one in present):
            return False
        people = [one for one in present if one.takes_part]
        bad = sum(_is_bad(one, rank) for one in people)
        return bool(people) and wanted.holds(bad / len(people))

    return Condition(holds, _QUALITY_READS)


_RANKS: Final[Mapping[Quality | None, int]] = {
    None: -1,
    **{level: rank for rank, level in enumerate(QUALITIES)},
}


def _is_bad(person: Participant, rank: int) -> bool:
    return _RANKS[person.quality.level] >= rank


def _person_quality(value: object) -> Condition:
    rank = _quality_rank(value)
    return Condition(
        lambda look: look.person is not None and _is_bad(look.person, rank), _QUALITY_READS
    )


AUDIO_CHANGED: Final = "audio_changed"
"""Comes only where tracks are measured."""
_AUDIO_READS: Final = (
    frozenset({AUDIO_CHANGED, "track_unpublished", "reconnected"}) | PEOPLE_ENTRIES
)


def _poor_audio(value: object) -> Condition:
    """`true`: one person's, `false`: nobody's, `">= 3"`: that of so many people."""
    if isinstance(value, bool):
        value = ">= 1" if value else "== 0"
    wanted = compare(value, count)

    def holds(look: Look) -> bool:
        poor = poor_microphones(look.state)
        return wanted.holds(sum(one.identity in poor for one in people_of(look.state)))

    return Condition(holds, _AUDIO_READS)


def _person_poor_audio(value: object) -> Condition:
    if not isinstance(value, bool):
        raise BadComparison("it must be true or false")

    def holds(look: Look) -> bool:
        return look.person is not None and value is (
            look.person.identity in poor_microphones(look.state)
        )

    return Condition(holds, _AUDIO_READS)


_AGENT_READS: Final = frozenset(name for name in ENTRY_KEYS if name.startswith("agent_"))


def _agent_problem(value: object) -> Condition:
    """`true`: any, `false`: none, `"missing"`: this one."""
    problems = ("missing", "dead", "stopped", "thinking", "silent")
    if not isinstance(value, bool) and value not in problems:
        raise BadComparison(f"it is true, false or one of {', '.join(problems)}")

    def holds(look: Look) -> bool:
        now = open_problems(look.state)
        return bool(now) is value if isinstance(value, bool) else value in now

    return Condition(holds, _AGENT_READS)


_TRACK_READS: Final = (
    frozenset({"track_published", "track_unpublished", "reconnected"}) | PEOPLE_ENTRIES
)


def _tracks(of_person: bool) -> Callable[[object], Condition]:
    """`">= 3"`, or `{ camera = ">= 1" }` by source."""

    def make(value: object) -> Condition:
        if isinstance(value, Mapping):
            table: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]
            wrong = set(table) - set(get_args(TrackSource))
            if wrong or not table:
                raise BadComparison(f"a source is one of {', '.join(get_args(TrackSource))}")
            wanted = {source: compare(one, count) for source, one in table.items()}
        else:
            wanted = {"": compare(value, count)}

        def holds(look: Look) -> bool:
            tracks = [
                track
                for track in look.state.tracks.values()
                if not of_person or (look.person and track.identity == look.person.identity)
            ]
            return all(
                one.holds(sum(not source or track.source == source for track in tracks))
                for source, one in wanted.items()
            )

        return Condition(holds, _TRACK_READS)

    return make


def _attribute(of_person: bool) -> Callable[[object], Condition]:
    """`{ role = "guest*" }`: a person has these attributes."""

    def make(value: object) -> Condition:
        if not isinstance(value, Mapping) or not value:
            raise BadComparison('it must be a table like { role = "guest" }')
        table: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        patterns = dict[str, str]()
        for key, pattern in table.items():
            if not isinstance(pattern, str):
                raise BadComparison("each value must be a text; * and ? stand for any characters")
            patterns[key] = pattern

        def fits(person: Participant) -> bool:
            has = person.attributes or {}
            return all(
                key in has and fnmatchcase(has[key], pattern) for key, pattern in patterns.items()
            )

        def holds(look: Look) -> bool:
            if of_person:
                return look.person is not None and fits(look.person)
            return any(fits(person) for person in look.state.present.values() if person.takes_part)

        return Condition(holds, PEOPLE_ENTRIES)

    return make


def _message_rate(value: object) -> Condition:
    wanted = compare(value, rate)

    def holds(look: Look) -> bool:
        return wanted.holds(look.history.rate(look.now))

    def turns(look: Look) -> float | None:
        # With time alone a rate only falls.
        if wanted.sign in (">", ">=") and not holds(look):
            return None
        ends = (at + WINDOW for at, _ in look.history.messages)
        return next((end for end in ends if end > look.now), None)

    return Condition(holds, frozenset({"data_message", "messages_thinned"}), turns)


def _talk(of_person: bool) -> Callable[[object], Condition]:
    def make(value: object) -> Condition:
        wanted = compare(value, seconds)

        def spoken(look: Look) -> float:
            people = (look.person,) if of_person else look.state.present.values()
            return sum(one.talk.total(look.now) for one in people if one is not None)

        def turns(look: Look) -> float | None:
            speaking = len(look.state.speaking)
            missing = wanted.value - spoken(look)
            return look.now + missing / speaking + 0.001 if speaking and missing >= 0 else None

        return Condition(
            lambda look: wanted.holds(spoken(look)), frozenset({"speakers_changed"}), turns
        )

    return make


def _joined(look: Look) -> float | None:
    return look.person.joins[-1].since if look.person and look.person.joins else None


ROOM: Final[Mapping[str, Callable[[object], Condition]]] = {
    "people": _number(lambda look: look.state.current, PEOPLE_ENTRIES),
    "joins": _number(lambda look: look.state.joins, PEOPLE_ENTRIES),
    "age": _elapsed(
        lambda look: look.state.created_at or look.state.started_at, frozenset({"session_started"})
    ),
    "alone_for": _elapsed(lambda look: look.history.alone_since, PEOPLE_ENTRIES),
    "empty_for": _elapsed(lambda look: look.history.empty_since, PEOPLE_ENTRIES),
    "silence_for": _elapsed(
        lambda look: look.history.silent_since, frozenset({"speakers_changed"}) | PEOPLE_ENTRIES
    ),
    "quality": _quality,
    "poor_audio": _poor_audio,
    "agent_problem": _agent_problem,
    "agent_thinking_for": _elapsed(lambda look: thinking_since(look.state), _AGENT_READS),
    "agent_quiet_for": _elapsed(lambda look: quiet_since(look.state), _AGENT_READS),
    "talk": _talk(of_person=False),
    "tracks": _tracks(of_person=False),
    "recording": _recording,
    "message_rate": _message_rate,
    "metadata": _pattern(
        lambda look: look.state.metadata, frozenset({"room_metadata", "session_started"})
    ),
    "attribute": _attribute(of_person=False),
}
"""Conditions of a room: what `when` and `any` take."""

PERSON: Final[Mapping[str, Callable[[object], Condition]]] = {
    "identity": _pattern(lambda look: look.person and look.person.identity, PEOPLE_ENTRIES),
    "kind": _pattern(lambda look: look.person and look.person.kind, PEOPLE_ENTRIES),
    "present_for": _elapsed(_joined, PEOPLE_ENTRIES),
    "quality": _person_quality,
    "poor_audio": _person_poor_audio,
    "talk": _talk(of_person=True),
    "tracks": _tracks(of_person=True),
    "attribute": _attribute(of_person=True),
}
"""Conditions of a person: what `person` takes.  Only people are looked at, never agents, egress or
ingress (`COUNTED_KINDS`)."""


def compiled(
    table: Mapping[str, Any], words: Mapping[str, Callable[[object], Condition]], where: str
) -> dict[str, Condition]:
    """The conditions of one table, by their key.  Raises `BadCondition`."""
    conditions = dict[str, Condition]()
    for key, value in table.items():
        make = words.get(key)
        if make is None:
            raise BadCondition(
                f"{where}.{key}", f"there is no such condition; there are: {', '.join(words)}"
            )
        try:
            conditions[key] = make(value)
        except BadComparison as error:
            raise BadCondition(f"{where}.{key}", str(error)) from None
    return conditions


def is_person(one: Participant) -> bool:
    """Somebody at whom a rule of persons looks, and on whom a rule may act."""
    return one.kind in COUNTED_KINDS and one.takes_part


def people_of(state: SessionState) -> list[Participant]:
    """Those at whom a rule of persons looks."""
    return [one for one in state.present.values() if is_person(one)]
