"""The laws that must hold at the end of a simulation: one table, by moment.

The laws of the actors and their rooms are here, those of stored sessions in
`stored_session_laws`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from actors.rooms.connection_actor import EntryRefused
from actors.session import SessionEnded
from actors.session.end_reasons import DISPATCH_DELETED
from actors.simulation import stored_session_laws
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.testing import checks
from actors.testing.sabotage import Injected

if TYPE_CHECKING:
    from actors.simulation.simulated_program import SimulatedProgram
    from actors.simulation.world import World

POISON: Final = TypeError
"""The fold raises it on an event without a time."""

Law: TypeAlias = "Callable[[World], list[str]]"


def check_laws(world: World, moment: str, *, tasks: tuple[int, int] = (0, 0)) -> None:
    """Check every law of this moment: ``healed``, ``drained`` or ``over``."""
    for sid in world.journals.gave_up:
        world.truths.by_sid[sid].exact = world.truths.by_sid[sid].timed = False
    for name, law in LAWS[moment].items():
        broken = law(world)
        world.checked[name] += 1
        world.violations.extend(f"{name}: {one}" for one in broken)
    for name, broken in _laws_of_parts(world, moment):
        world.checked[name] += 1
        world.violations.extend(f"{name}: {one}" for one in broken)
    if moment == "over":
        world.checked["tasks"] += 1
        world.violations.extend(checks.tasks_at_baseline(*tasks))


def _laws_of_parts(world: World, moment: str) -> Iterator[tuple[str, list[str]]]:
    """The laws of what only some plans have."""
    over, acting = moment == "over", world.acting
    if over and world.outlets is not None:
        yield from world.outlets.broken_laws().items()
    if over and (acting.rules or acting.limits):
        yield from acting.broken_laws().items()
    yield from world.measurer.broken_laws().items()
    yield from world.agents.broken_laws().items()
    if world.monitoring is not None:
        yield from world.monitoring.broken_laws(moment).items()
    if acting.recordings is not None:
        yield from acting.recordings.broken_laws(moment).items()


def _agree(world: World) -> list[str]:
    """After healing, every live room and its session agree on who and what is in it."""
    return [one for room in world.rooms.live for one in _differences(world, room)]


def _differences(world: World, room: SimulatedRoom) -> Iterator[str]:
    table = world.program.table
    record = table.find_room(room.sid)
    if record is None or record.journal.ended:
        if room.sid not in table.declined or not _is_undispatched(world, room.sid):
            yield f"{room.name} ({room.sid}) is open and is not watched"
        return
    state = record.journal.state
    people = {person.identity for person in room.people.values()}
    if set(state.present) != people:
        yield f"{room.name}: people {sorted(state.present)}, in truth {sorted(people)}"
    tracks = {track.sid: track.muted for p in room.people.values() for track in p.tracks.values()}
    in_state = {sid: track.muted.since is not None for sid, track in state.tracks.items()}
    if in_state != tracks:
        yield f"{room.name}: tracks {sorted(in_state.items())}, in truth {sorted(tracks.items())}"
    encrypted = {t.sid: t.encrypted for p in room.people.values() for t in p.tracks.values()}
    shown = {sid: track.encrypted for sid, track in state.tracks.items()}
    if shown != encrypted or (any(encrypted.values()) and not state.encrypted):
        yield f"{room.name}: encrypted {shown}, in truth {encrypted}"
    permissions = {person.identity: person.info().permissions for person in room.people.values()}
    known = {person.identity: person.permissions for person in state.present.values()}
    if known != permissions:
        yield f"{room.name}: permissions {known}, in truth {permissions}"
    if state.recorded_now != room.recording:
        yield f"{room.name}: recorded {state.recorded_now}, in truth {room.recording}"
    if state.metadata != room.metadata:
        yield f"{room.name}: metadata {state.metadata!r}, in truth {room.metadata!r}"


def _is_undispatched(world: World, room_sid: str) -> bool:
    return room_sid in world.deleted_dispatches.values()


def _dispatches_are_honoured(world: World) -> list[str]:
    """A session ends because of a deleted dispatch only where one was deleted."""
    return [
        f"{sid}: ended because a dispatch was deleted, and none was"
        for watched in world.journals.all
        for record in watched.records
        if isinstance(record, SessionEnded) and record.reason == DISPATCH_DELETED
        for sid in [watched.journal.state.room_sid]
        if not _is_undispatched(world, sid)
    ]


def _no_room_of_ours(world: World) -> list[str]:
    """No room is open that only our own entry made.  A program that is killed at that moment
    cannot delete it."""
    return [
        f"{room.name} ({room.sid}) is open, and nobody but us made it"
        for room in world.rooms.live
        if room.made_by_watcher and room.sid not in world.rooms_left_by_kill
    ]


def _jobs(world: World) -> list[str]:
    """Each job ended exactly once; those of a run that was killed at most once."""
    return [one for program in world.programs for one in _wrong_ends(program)]


def _wrong_ends(program: SimulatedProgram) -> Iterator[str]:
    jobs = program.jobs
    for job_id in jobs.given:
        ends = jobs.ends.get(job_id, [])
        if len(ends) > 1 or (not ends and not program.killed):
            yield f"{job_id}: ended {ends}"
    for job_id in jobs.ends:
        if job_id not in jobs.given:
            yield f"{job_id}: never given"


def _all_ended(world: World) -> list[str]:
    table = world.program.table
    watched = [f"{key} is still watched" for key in table.records]
    return watched + [
        f"{one.state.room_sid}: not ended" for one in table.journals if not one.state.ended
    ]


def _limits_are_kept(world: World) -> list[str]:
    """No room that is watched has more people than its limit allows."""
    watched = (room for room in world.rooms.live if world.program.table.find_room(room.sid))
    return [*filter(None, map(world.acting.audit.excess, watched))]


def _of_actors(check: Callable[[SimulatedProgram], list[str]]) -> Law:
    """A law of the actors of each run."""
    return lambda world: [one for program in world.programs for one in check(program)]


def _subscriber_failures(program: SimulatedProgram) -> list[str]:
    counted = program.subscriber.failures["faulty"] if program.ready.is_set() else 0
    real = program.faulty.raised
    return [] if counted == real else [f"{counted} counted, in truth {real}"]


def _within_budget(program: SimulatedProgram) -> list[str]:
    budgets = {path: spec.intensity for path, spec in program.saboteur.specs.items()}
    return checks.restarts_within_budget(program.restarts, budgets)


_MAILBOX_LAW: Final = _of_actors(
    lambda program: checks.counters_balance(program.saboteur.counters())
)

LAWS: Final[Mapping[str, Mapping[str, Law]]] = {
    "healed": {
        "agreement": _agree,
        "no room of ours": _no_room_of_ours,
        "numbers": stored_session_laws.numbers,
        "mailbox law": _MAILBOX_LAW,
        "nothing waits": stored_session_laws.all_is_stored,
        "limits are kept": _limits_are_kept,
        "one open session per room instance": stored_session_laws.one_open_session_per_instance,
    },
    "drained": {
        "jobs": _jobs,
        "all ended": _all_ended,
        "nothing waits": stored_session_laws.all_is_stored,
    },
    "over": {
        "numbers": stored_session_laws.numbers,
        "one session per room instance": stored_session_laws.one_session_per_instance,
        "every room instance has its session": stored_session_laws.every_instance_has_its_session,
        "presence": stored_session_laws.presence,
        "coverage": stored_session_laws.coverage,
        "gaps": stored_session_laws.gaps,
        "end reasons": stored_session_laws.end_reasons,
        "dispatches are honoured": _dispatches_are_honoured,
        "webhooks alone": stored_session_laws.webhooks_alone,
        "rows": stored_session_laws.rows,
        "snapshot is the fold": lambda world: world.journals.differing(world.disk),
        "mailbox law": _MAILBOX_LAW,
        "nothing queued": _of_actors(lambda p: checks.nothing_queued(p.saboteur.counters())),
        "raised is reported": _of_actors(
            lambda p: checks.raised_is_reported(p.saboteur.raised, p.signals)
        ),
        "failures of subscribers are counted": _of_actors(_subscriber_failures),
        "crashes are expected": _of_actors(
            lambda p: checks.crashes_are_expected(p.signals, (Injected, EntryRefused, POISON))
        ),
        "restarts within budget": _of_actors(_within_budget),
        "asks end once": lambda world: checks.asks_end_once(world.questions),
        "limits: the oldest stay": lambda world: world.acting.audit.broken,
        "ends once": _of_actors(lambda p: checks.ends_once(p.signals, p.saboteur.lives())),
    },
}
