"""The counts of people: how many there are and were, each counted once.

Only `recounted` changes the counts of a session.  With a person key one
person may have several identities, also at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from actors.session.bounds import MAX_JOINS, MAX_PERSONS, RECONNECT_WINDOW
from actors.session.changes import change
from actors.session.participant import COUNTED_KINDS, Join, Participant
from actors.session.person_key import person_of
from actors.session.state import SessionState


def with_joins(
    state: SessionState, person: Participant, joins: tuple[Join, ...], at: float
) -> tuple[SessionState, Participant]:
    """The participant with these joins.  If there is one too many, the oldest is only added up."""
    if len(joins) <= MAX_JOINS:
        return state, change(person, joins=joins)
    truncated = change(state.truncated, joins=state.truncated.joins + 1)
    person = change(
        person,
        joins=joins[1:],
        older_joins=person.older_joins + 1,
        older_seconds=person.older_seconds + joins[0].seconds(at),
        older_visits=person.older_visits + person.is_visit(joins[0]),
        older_aborted=person.older_aborted + person.is_aborted(joins[0]),
    )
    return change(state, truncated=truncated), person


def recounted(state: SessionState, was: Participant, person: Participant) -> SessionState:
    """The state with the counts of people after `was` became `person`."""
    first, visits, visits_before = state.first_person_at, person.visits, was.visits
    if visits > visits_before:
        known = () if first is None else (first,)
        came = (join.joined_at for join in person.joins if person.is_visit(join))
        first = min((*known, *came), default=None)
    # Somebody with a visit is counted: `counted` would look at all joins once more.
    counted_before, counted = int(visits_before > 0), int(visits > 0)
    here_before, here = int(was.takes_part), int(person.takes_part)
    changes = {
        "first_person_at": first,
        "joins": state.joins + visits - visits_before,
        "aborted_joins": state.aborted_joins + person.aborted_joins - was.aborted_joins,
    }
    if state.person_key is None:
        current, unique = (
            state.current + here - here_before,
            state.unique + counted - counted_before,
        )
        return change(state, **changes, current=current, unique=unique)
    state = change(state, **changes)
    state = _counted(state, was.person, -counted_before, -here_before)
    return _counted(state, person.person, counted, here)


def _counted(state: SessionState, person: str, counted: int, here: int) -> SessionState:
    """The person has `counted` identities more that took part, and `here` more that are present.
    Only with a person key."""
    if not (counted or here):
        return state
    persons = state.persons
    if person in persons or len(persons) < MAX_PERSONS:
        before = persons.get(person, (0, 0))
        after = before[0] + counted, before[1] + here
        state = change(state, persons={**persons, person: after})
        counted, here = ((now > 0) - (was > 0) for was, now in zip(before, after, strict=True))
    return change(state, current=state.current + here, unique=state.unique + counted)


def with_key(state: SessionState, person: Participant) -> Participant:
    if state.person_key is None or person.key is not None:
        return person
    key = person_of(state.person_key, person.metadata, person.attributes)
    return person if key is None else change(person, key=key)


def with_join(person: Participant, index: int, join: Join) -> Participant:
    """The participant with this join in the place of the one at `index`."""
    return change(person, joins=(*person.joins[:index], join, *person.joins[index + 1 :]))


def with_kind(person: Participant) -> Participant:
    """The kind of an identity: of its first join that is a person's, else of its first."""
    kinds = [person.kind] if person.older_visits else []
    kinds += [join.kind or person.kind for join in person.joins]
    kind = next((kind for kind in kinds if kind in COUNTED_KINDS), kinds[0])
    if kind == person.kind:
        return person
    # Joins of old stores have the kind that their person had.
    joins = tuple(change(join, kind=join.kind or person.kind) for join in person.joins)
    return change(person, kind=kind, joins=joins)


def rejoin_data(
    state: SessionState, person: Participant, before: tuple[Join, ...], back: float
) -> dict[str, bool]:
    """Data of an entry: whether somebody who came at `back` had taken part before, and whether they
    left at most `RECONNECT_WINDOW` seconds ago."""
    last = next((join for join in reversed(before) if join.effective), None)
    left_at = None
    if last is not None:
        left_at = last.joined_at if last.left_at is None else last.left_at
    if person.key is not None:
        # Under other identities too.  One that is still present is another device of theirs.
        ends = [
            join.left_at
            for other in _everyone(state)
            if other.key == person.key and other.identity != person.identity
            for join in other.joins
            if other.is_visit(join) and join.left_at is not None
        ]
        left_at = max((*ends, *(() if left_at is None else (left_at,))), default=None)
    if left_at is None:
        return {"rejoin": person.older_visits > 0, "reconnect": False}
    return {"rejoin": True, "reconnect": back - left_at <= RECONNECT_WINDOW}


def with_peak(state: SessionState, at: float) -> SessionState:
    """Somebody came at `at`, or turned out to be present: the peak may be higher now.

    People with a provisional leave before `at` do not count.  If the leave was untrue, they count
    once that is known.
    """
    leaving = Counter(
        state.present[identity].person
        for identity, leave in state.provisional_leaves.items()
        if leave.at <= at and state.present[identity].takes_part
    )
    left = len(leaving)
    if state.person_key is not None and leaving:
        # Somebody who stays under another identity did not leave.
        left = sum(count >= state.persons.get(one, (0, 0))[1] for one, count in leaving.items())
    return change(state, peak=max(state.peak, state.current - left))


def people_at(state: SessionState, person: Participant, at: float) -> int:
    """Number of people in the room at `at`, when `person` came for an unobserved join."""
    past = (other for other in state.past.values() if other.identity not in state.present)
    leaving = state.provisional_leaves
    here = (
        other
        for other in state.present.values()
        if other.identity not in leaving or at < leaving[other.identity].at
    )
    others = {other.person for other in (*past, *here) if other.took_part_at(at)}
    return 1 + len(others - {person.person})


def peak_of_joins(state: SessionState) -> int:
    """The peak, computed anew from all joins, since one of them no longer counts.

    It stays as it is if participants or joins were truncated.
    """
    if state.truncated.people or state.truncated.joins:
        return state.peak
    steps = sorted(step for person in _everyone(state) for step in _steps(state, person))
    there, highest = Counter[str](), 0
    for _, _, step, person in steps:
        there[person] += step
        if not there[person]:
            del there[person]
        highest = max(highest, len(there))
    return highest


def _everyone(state: SessionState) -> Iterator[Participant]:
    yield from state.present.values()
    yield from (one for one in state.past.values() if one.identity not in state.present)


def _steps(state: SessionState, person: Participant) -> Iterator[tuple[float, int, int, str]]:
    """The steps of each visit: time, order among steps of that time, +1 or -1, person."""
    for join in filter(person.is_visit, person.joins):
        yield join.since, 1, 1, person.person
        left_at, leave = join.left_at, state.provisional_leaves.get(person.identity)
        if left_at is None and leave is not None:
            left_at = max(leave.at, join.since)
        if left_at is not None:
            yield left_at, 0 if left_at > join.since else 2, -1, person.person
