"""The laws of the stored sessions: they are compared with what really happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Final

from actors.journal.archive import StoredSession
from actors.runtime import Failed
from actors.session import SessionEnded, SessionState, totals
from actors.session.intervals import stretch
from actors.session.view import coverage as coverage_of
from actors.session.view import every_gap, everyone
from actors.simulation.ground_truth import Truth

if TYPE_CHECKING:
    from actors.simulation.world import World

ENTERED: Final = 3.0
"""Seconds after which a watched room instance must have a stored session."""
EXACTLY: Final = 0.05
"""Seconds by which times may differ without a fault."""
BY_WEBHOOK: Final = 1.0
"""Seconds by which they may differ with webhooks, whose times are whole seconds."""
ROOM_MAY_GO_ON: Final = frozenset({"worker_stopped", "removed", "dispatch_deleted", "server_lost"})
"""End reasons of sessions whose room may still be open."""


def _all(world: World) -> Iterator[tuple[StoredSession, Truth | None]]:
    for number in world.disk.numbers:
        stored = world.disk.session(number)
        yield stored, world.truths.by_sid.get(stored.state.room_sid)


def all_is_stored(world: World) -> list[str]:
    """The disk has all records, and the store reports no trouble."""
    backlog, table = world.program.backlog, world.program.table
    problems = [f"{backlog.waiting} rows wait"] if backlog.waiting else []
    if backlog.health.trouble:
        problems.append(f"still in trouble: {backlog.health.trouble}")
    for journal in table.journals:
        stored = world.disk.seq(journal.number)
        if stored != journal.seq:
            problems.append(
                f"{journal.state.room_sid} is on the disk to {stored}, not {journal.seq}"
            )
    return problems


def one_open_session_per_instance(world: World) -> list[str]:
    sids = Counter(stored.state.room_sid for stored, _ in _all(world) if not stored.state.ended)
    return [f"{sid}: {count} open sessions" for sid, count in sids.items() if count > 1]


def one_session_per_instance(world: World) -> list[str]:
    sids = Counter(stored.state.room_sid for stored, _ in _all(world))
    return [
        f"{sid}: {count} sessions"
        for sid, count in sids.items()
        if count > 1 and not _ended_long_ago(world, sid)
    ]


def _ended_long_ago(world: World, sid: str) -> bool:
    """True if a new run may not have recovered its session.  A late webhook then begins another."""
    truth = world.truths.by_sid.get(sid)
    return truth is not None and truth.ended_long_ago and len(world.programs) > 1


def every_instance_has_its_session(world: World) -> list[str]:
    """A room instance that was watched, and could be stored, has a session."""
    there = {stored.state.room_sid for stored, _ in _all(world)}
    return [
        f"{sid} ({truth.room}) was watched for {truth.watched:g} s and has no session"
        for sid, truth in world.truths.by_sid.items()
        if sid not in there and truth.watched - truth.unsaved_seconds > ENTERED
    ]


def numbers(world: World) -> list[str]:
    """A session never counts more than there was, and all of it where nothing was lost."""
    return [one for stored, truth in _all(world) for one in _wrong_numbers(world, stored, truth)]


def _wrong_numbers(world: World, stored: StoredSession, truth: Truth | None) -> Iterator[str]:
    state = stored.state
    if truth is None:
        yield f"a session of {state.room_sid!r}, which never lived"
        return
    one = totals(state, world.our_time())
    most_aborted = truth.aborted
    if state.room_sid in world.disordered:  # That somebody is active came before their join.
        most_aborted += sum(visit.active_late for visit in truth.visits.values())
    for what, shown, real, most in (
        ("people", one.participants_total, len(truth.people), None),
        ("joins", state.joins, truth.joins, None),
        ("aborted joins", state.aborted_joins, truth.aborted, most_aborted),
        ("tracks", one.tracks_total, len(truth.tracks), None),
        ("messages", state.messages.total, truth.messages, None),
        ("attachments", state.messages.attachments, truth.attachments, None),
    ):
        if shown > (real if most is None else most) or (truth.exact and shown != real):
            yield f"{state.room} ({state.room_sid}): {shown} {what}, in truth {real}"


def presence(world: World) -> list[str]:
    """Joins are those of the people in the room, with the right times."""
    return [
        one
        for stored, truth in _all(world)
        if truth is not None
        for one in _wrong_visits(world, stored.state, truth)
    ]


def _wrong_visits(world: World, state: SessionState, truth: Truth) -> Iterator[str]:
    bound = BY_WEBHOOK if world.plan.webhooks else EXACTLY
    for person in everyone(state):
        for join in person.joins:
            where = f"{state.room_sid}: {person.identity} ({join.sid})"
            real = truth.visits.get(join.sid)
            if real is None or real.identity != person.identity:
                yield f"{where} never joined"
            elif abs(join.joined_at - real.joined_at) > EXACTLY:
                yield f"{where} joined at {join.joined_at}, in truth at {real.joined_at}"
            elif join.left_at is None or join.left_at < join.joined_at:
                yield f"{where} is there from {join.joined_at} to {join.left_at}"
            elif (
                truth.exact
                and truth.timed
                and real.left_at is not None
                and abs(join.left_at - real.left_at) > bound
            ):
                yield f"{where} left at {join.left_at}, in truth at {real.left_at}"


def coverage(world: World) -> list[str]:
    """The watched time is the true one, less what a killed program could not store; never more."""
    return [
        one
        for stored, truth in _all(world)
        if truth is not None
        for one in _wrong_coverage(world, stored.state, truth)
    ]


def _wrong_coverage(world: World, state: SessionState, truth: Truth) -> Iterator[str]:
    now = world.our_time()
    share, watched = coverage_of(state, now), totals(state, now).watched
    if not 0.0 <= share <= 1.0:
        yield f"{state.room_sid}: coverage {share}"
    if truth.timed:
        least = truth.watched - truth.unsaved_seconds - EXACTLY
        if not least <= watched <= truth.watched + EXACTLY:
            yield (
                f"{state.room_sid}: watched for {watched:.2f} s, in truth {truth.watched:.2f} s"
                f" of which {truth.unsaved_seconds:.2f} s may be missing"
            )


def gaps(world: World) -> list[str]:
    """Watched time and gaps add up to the time since our first entry."""
    return [
        one
        for stored, truth in _all(world)
        if truth is not None and truth.timed
        for one in _wrong_gaps(world, stored.state)
    ]


def _wrong_gaps(world: World, state: SessionState) -> Iterator[str]:
    now = world.our_time()
    if state.watched_from is None:
        return
    until = now if state.ended_at is None else state.ended_at
    gap_list, watched = every_gap(state, now), totals(state, now).watched
    unwatched = sum(gap.until - gap.since for gap in gap_list) + state.truncated.gap_seconds
    if abs(watched + unwatched - stretch(state.watched_from, until)) > EXACTLY:
        yield (
            f"{state.room_sid}: watched for {watched:.2f} s, gaps of {unwatched:.2f} s, of"
            f" {until - state.watched_from:.2f} s"
        )
    times = [state.watched_from, *(at for gap in gap_list for at in (gap.since, gap.until)), until]
    if times != sorted(times):
        yield f"{state.room_sid}: gaps are not one after the other: {gap_list}"


def end_reasons(world: World) -> list[str]:
    """A session does not end before its room or our program.

    A room whose actors crash too often leaves "the worker stopped" as the reason.
    """
    drained_at = {
        id(program.backlog): program.drained_at
        for program in world.programs
        if not any(isinstance(signal, Failed) for signal in program.signals)
    }
    stopped = [
        f"{watched.journal.state.room_sid}: ended as if the worker had stopped"
        for watched in world.journals.all
        for record, time in zip(watched.records, watched.times, strict=True)
        if isinstance(record, SessionEnded) and record.reason == "worker_stopped"
        if time < drained_at.get(id(watched.journal._backlog), -inf)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    ]
    return stopped + [
        f"{watched.journal.state.room_sid}: ended for {record.reason}, and the room"
        f" {'lives' if truth.ended_at is None else f'ended at {truth.ended_at}'}"
        for watched in world.journals.all
        for record in watched.records
        if isinstance(record, SessionEnded) and record.reason not in ROOM_MAY_GO_ON
        for truth in [world.truths.by_sid.get(watched.journal.state.room_sid, Truth())]
        if truth.ended_at is None or (truth.timed and truth.ended_at > record.at + EXACTLY)
    ]


def webhooks_alone(world: World) -> list[str]:
    """A room instance that no agent watched has a session if all of its webhooks came."""
    if not world.plan.webhooks:
        return []
    stored = {one.state.room_sid: one.state for one, _ in _all(world)}
    problems: list[str] = []
    for sid, truth in world.truths.by_sid.items():
        if truth.watched or truth.webhooks_missed or None in (truth.ended_at, truth.webhook_at):
            continue
        state = stored.get(sid)
        if state is None:
            problems.append(f"{sid}: its webhooks came, and it has no session")
        elif (state.unique, state.tracks_total) != (len(truth.people), len(truth.tracks)):
            problems.append(
                f"{sid}: {state.unique} people and {state.tracks_total} tracks, in truth"
                f" {len(truth.people)} and {len(truth.tracks)}"
            )
    return problems


def rows(world: World) -> list[str]:
    """Each row of a session is stored, or counted as lost."""
    problems: list[str] = []
    for stored, _ in _all(world):
        missing = stored.seq + 1 - len(world.disk.rows.get(stored.session, {}))
        if missing != stored.lost:
            problems.append(
                f"{stored.state.room_sid}: {missing} rows missing, {stored.lost} counted"
            )
    return problems
