"""What must hold at the end of a simulation, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from actors.rooms.connection import Refused
from actors.rooms.simulated import SimulatedRoom
from actors.session import SessionState, totals
from actors.testing import checks
from actors.testing.sabotage import Injected

if TYPE_CHECKING:
    from actors.testing.rooms.stage import Stage

POISON: Final = TypeError
"""What the fold raises on an event without a time."""

Law: TypeAlias = "Callable[[Stage], list[str]]"


def judge(stage: Stage, moment: str, *, tasks: tuple[int, int] = (0, 0)) -> None:
    """Look at every law of this moment: ``healed``, ``drained`` or ``over``."""
    for name, law in LAWS[moment].items():
        found = law(stage)
        stage.checked[name] += 1
        stage.violations.extend(f"{name}: {one}" for one in found)
    if moment == "over":
        stage.checked["tasks"] += 1
        stage.violations.extend(checks.tasks_at_baseline(*tasks))


def _agree(stage: Stage) -> list[str]:
    """After healing, every live room and its session agree on who and what is in it."""
    return [one for room in stage.rooms.live for one in _differences(stage, room)]


def _differences(stage: Stage, room: SimulatedRoom) -> Iterator[str]:
    held = stage.book.find_room(room.sid)
    if held is None:
        if room.sid not in stage.book.declined:
            yield f"{room.name} ({room.sid}) lives and is not watched"
        return
    state = held.journal.state
    people = {person.identity for person in room.people.values()}
    if set(state.present) != people:
        yield f"{room.name}: people {sorted(state.present)}, in truth {sorted(people)}"
    tracks = {track.sid: track.muted for p in room.people.values() for track in p.tracks.values()}
    told = {sid: track.muted.since is not None for sid, track in state.tracks.items()}
    if told != tracks:
        yield f"{room.name}: tracks {sorted(told.items())}, in truth {sorted(tracks.items())}"
    if state.metadata != room.metadata:
        yield f"{room.name}: metadata {state.metadata!r}, in truth {room.metadata!r}"


def _numbers(stage: Stage) -> list[str]:
    """A session never counts more than there was, and all of it where nothing was lost."""
    return [one for state in _sessions(stage) for one in _wrong_numbers(stage, state)]


def _sessions(stage: Stage) -> list[SessionState]:
    live = [held.journal.state for held in stage.book.held.values()]
    return [*live, *(journal.state for journal in stage.book.ended)]


def _wrong_numbers(stage: Stage, state: SessionState) -> Iterator[str]:
    truth = stage.truths.by_sid.get(state.room_sid)
    if truth is None:
        yield f"a session of {state.room_sid!r}, which never lived"
        return
    one = totals(state, stage.our_time())
    for what, told, real in (
        ("people", one.participants_total, len(truth.people)),
        ("tracks", one.tracks_total, len(truth.tracks)),
        ("messages", one.messages, truth.messages),
    ):
        if told > real or (truth.exact and told != real):
            yield f"{state.room} ({state.room_sid}): {told} {what}, in truth {real}"


def _one_session_a_life(stage: Stage) -> list[str]:
    sids = [state.room_sid for state in _sessions(stage)]
    return [
        f"{sid}: {sids.count(sid)} sessions" for sid in sorted(set(sids)) if sids.count(sid) > 1
    ]


def _jobs(stage: Stage) -> list[str]:
    """Each job ended exactly once."""
    jobs = stage.jobs
    found = [
        f"{job_id}: ended {jobs.ends.get(job_id, [])}"
        for job_id in jobs.given
        if len(jobs.ends.get(job_id, [])) != 1
    ]
    return found + [f"{job_id}: never given" for job_id in jobs.ends if job_id not in jobs.given]


def _all_ended(stage: Stage) -> list[str]:
    held = [f"{key} is still held" for key in stage.book.held]
    return held + [f"{state.room_sid}: not ended" for state in _sessions(stage) if not state.ended]


def _budgets(stage: Stage) -> dict[str, checks.Intensity]:
    return {path: spec.intensity for path, spec in stage.saboteur.specs.items()}


LAWS: Final[Mapping[str, Mapping[str, Law]]] = {
    "healed": {
        "agreement": _agree,
        "numbers": _numbers,
        "mailbox law": lambda stage: checks.counters_balance(stage.saboteur.counters()),
    },
    "drained": {"jobs": _jobs, "all ended": _all_ended},
    "over": {
        "numbers": _numbers,
        "one session a life": _one_session_a_life,
        "snapshot is the fold": lambda stage: stage.journals.differing(),
        "mailbox law": lambda stage: checks.counters_balance(stage.saboteur.counters()),
        "nothing queued": lambda stage: checks.nothing_queued(stage.saboteur.counters()),
        "raised is reported": lambda stage: checks.raised_is_reported(
            stage.saboteur.raised, stage.signals
        ),
        "crashes are expected": lambda stage: checks.crashes_are_expected(
            stage.signals, (Injected, Refused, POISON)
        ),
        "restarts within budget": lambda stage: checks.restarts_within_budget(
            stage.restarts, _budgets(stage)
        ),
        "asks end once": lambda stage: checks.asks_end_once(stage.questions),
        "ends once": lambda stage: checks.ends_once(stage.signals, stage.started),
    },
}
