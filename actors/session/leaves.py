"""Leaves: the end of a join, of which we are certain.

`actors.session.provisional_leaves` has those that may be untrue.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import evolve, frozen

from actors.session.bounds import ANNOUNCE_INTERVAL
from actors.session.changes import change
from actors.session.estimate import Estimate
from actors.session.events import ParticipantLeft
from actors.session.gaps import was_suspended
from actors.session.intervals import stretch
from actors.session.participant import Join, Participant
from actors.session.participant_maps import (
    KnownJoin,
    find_join,
    move_to_past,
    replace_participant,
)
from actors.session.pending import with_provisional_leaves
from actors.session.people_counts import recounted, with_join
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList, TimelineEntry
from actors.session.tracks import finish_all_of

MIN_CORRECTION: Final = 0.5
"""Seconds by which a corrected leave must differ to get an entry: half of a second, which is the
resolution of a webhook's clock."""


@frozen
class JoinEnd:
    """When and why a join ended."""

    at: float
    """Unix seconds."""
    within: float | None = None
    """Seconds by which `at` may be wrong; None where nobody knows."""
    reason: str | None = None
    """LiveKit's DisconnectReason in lower case, None where it gave none."""
    observed: bool = True
    """False where it was in a gap."""
    from_webhook: bool = False


def announce_delay(join: Join, at: float) -> float:
    """Seconds by which the server may have been late when it announced this leave at `at`."""
    return 0.0 if join.publisher else min(ANNOUNCE_INTERVAL, stretch(join.joined_at, at))


def record_leave(
    state: SessionState, identity: str, end: JoinEnd, entries: EntryList
) -> SessionState:
    """Somebody present left for certain."""
    state, person = end_open_join(state, identity, end, entries)
    return move_to_past(state, person)


def end_open_join(
    state: SessionState, identity: str, end: JoinEnd, entries: EntryList
) -> tuple[SessionState, Participant]:
    """End the open join and the tracks of somebody present.  They are not archived yet."""
    state = finish_all_of(state, identity, end.at, entries)
    state, person = _close_join(state, identity, end)
    join = person.joins[-1]
    if end.observed or join.effective:  # Else nothing of it is known.
        entries.append(leave_entry(person, join))
    return state, person


def close_without_entry(
    state: SessionState, identity: str, at: float, within: float | None
) -> SessionState:
    """Close the join of somebody present because the session ends, not because they left.

    `within` is None where the room may live on.
    """
    end = JoinEnd(at, within, observed=within is not None)
    state, person = _close_join(state, identity, end)
    return move_to_past(state, person)


def _close_join(
    state: SessionState, identity: str, end: JoinEnd
) -> tuple[SessionState, Participant]:
    """Take somebody out of `present`; all that is measured of them stops."""
    was = person = state.present[identity]
    join = person.joins[-1]
    left_at = max(end.at, join.joined_at)
    join = change(
        join,
        left_at=left_at,
        left_within=end.within,
        reason=end.reason,
        end_from_webhook=end.from_webhook,
        end_observed=end.observed,
    )
    person = stop_measuring(person, left_at)
    person = change(person, joins=(*person.joins[:-1], join), pending_leave_since=None)
    present = {other: one for other, one in state.present.items() if other != identity}
    state = recounted(without_speaker(state, identity), was, person)
    state = change(state, present=present)
    if identity in state.provisional_leaves:
        state = with_provisional_leaves(
            state,
            {one: leave for one, leave in state.provisional_leaves.items() if one != identity},
        )
    return state, person


def bound_unobserved_leaves(state: SessionState, at: float) -> SessionState:
    """Joins that were closed because a session ended, and whose people were not there any more
    when it went on at `at`: they left between the two, or before they joined again."""
    past = state.past
    for person in past.values():
        bounded = _with_bounds(person, inf if person.identity in state.present else at)
        if bounded is not person:
            past = past.put(person.identity, bounded)
    present = {
        identity: _with_bounds(person, inf) if len(person.joins) > 1 else person
        for identity, person in state.present.items()
    }
    if past is state.past and all(present[one] is state.present[one] for one in present):
        return state
    return change(state, past=past, present=present)


def _with_bounds(person: Participant, at: float) -> Participant:
    begins = (*(join.joined_at for join in person.joins[1:]), at)
    joins = tuple(
        change(join, left_within=stretch(join.left_at, begin))
        if join.left_at is not None
        and join.left_within is None
        and not join.end_observed
        and begin != inf
        else join
        for join, begin in zip(person.joins, begins, strict=True)
    )
    return person if joins == person.joins else change(person, joins=joins)


def stop_measuring(person: Participant, at: float) -> Participant:
    """Quality and talk are not measured from `at` on."""
    return change(person.stops_talking(at), quality=person.quality.to(None, at))


def without_speaker(state: SessionState, identity: str) -> SessionState:
    if identity not in state.speaking:
        return state
    return change(state, speaking=state.speaking - {identity})


def with_late_leave(person: Participant, event: ParticipantLeft) -> Participant:
    """The leave of a join that is over arrived: it may tell the reason and a latest time."""
    index = find_join(person, event.sid)
    if index is None or event.reason is None:
        return person
    join = person.joins[index]
    if join.left_at is None:
        return person
    if join.end_from_webhook and event.at < join.left_at:
        within = announce_delay(join, event.at)
        join = change(join, left_at=max(event.at, join.joined_at), left_within=within)
    join = change(join, reason=join.reason or event.reason)
    return with_join(person, index, join)


def correct_leave(
    state: SessionState,
    known: KnownJoin,
    reported: Estimate,
    reason: str | None,
    entries: EntryList,
) -> SessionState:
    """A webhook says when and why a join that is over ended.

    The time is not after the next join began, and not after we received the leave.  A leave
    that has a reason was received.  One without was only concluded, maybe too early; the same
    holds for one that counts from the beginning of a suspension.  Where both times may be
    right, the result is one that both allow.
    """
    person, index, join = known.person, known.index, known.join
    after = person.joins[index + 1 :]
    believed = join.joined_at if join.left_at is None else join.left_at
    if join.reason is None or was_suspended(state, believed):
        best = reported
    else:
        received = Estimate(believed, believed - (join.left_within or 0.0), believed)
        best = received.agreeing_with(reported) or Estimate(
            min(reported.at, believed), reported.low, reported.high
        )
    left_at = min(best.at, after[0].joined_at) if after else best.at
    corrected = change(
        join,
        left_at=max(left_at, join.joined_at),
        left_within=best.within,
        reason=reason or join.reason,
        end_from_webhook=True,
        end_observed=True,
    )
    differs = abs(left_at - believed) > MIN_CORRECTION or corrected.reason != join.reason
    if join.effective and differs:
        entries.append(evolve(leave_entry(person, corrected), event="participant_left_at"))
    elif not join.effective and not join.end_observed:
        entries.append(leave_entry(person, corrected))
    was, person = person, with_join(person, index, corrected)
    return replace_participant(recounted(state, was, person), person)


def leave_entry(person: Participant, join: Join) -> TimelineEntry:
    """The end of a join.  An aborted join has no entry before this one."""
    left_at = join.joined_at if join.left_at is None else join.left_at
    data: dict[str, object] = {
        "identity": person.identity,
        "sid": join.sid,
        "kind": join.kind or person.kind,
        "reason": join.reason,
    }
    if not join.effective:
        return TimelineEntry(left_at, "participant_connection_aborted", data)
    data["seconds"] = round(join.seconds(left_at), 3)
    return TimelineEntry(left_at, "participant_disconnected", data)
