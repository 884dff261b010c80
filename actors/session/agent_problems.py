"""Problems of agents, found by time: it never came, died, stopped, hangs or says nothing.

| problem | when |
|---|---|
| ``missing`` | none has joined `MISSING_AFTER` a dispatch, or `JOB_WAIT` if it has a job |
| ``late`` | it came after it was missing |
| ``dead`` | it speaks by its own word, and is no active speaker for `DEAD_AFTER` |
| ``stopped`` | it reported an error, and says nothing for `STOPPED_AFTER` |
| ``thinking`` | it thinks for `THINKING_AFTER` |
| ``silent`` | a turn of its user is over, and it neither thinks nor speaks for `SILENT_AFTER` |

A run has one problem at a time, the first.  It is over when the agent is heard, speaks, or does
something else; the entry ``agent_recovered`` says so.  Where nobody watches the room nothing is
found, and all waits begin anew afterwards.

LiveKit notices a killed process 20 s late.  Its speakers fall silent after about a second, so
``dead`` comes 4 s after the kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.session.agent_run import (
    AgentDispatch,
    AgentProblem,
    AgentRun,
    RoomAgents,
    on_behalf_of,
)
from actors.session.changes import change
from actors.session.events import RoomEvent, Suspended
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList

MISSING_AFTER: Final = 8.0
"""Seconds after the dispatch.  A worker that has room joins within a second or two."""
JOB_WAIT: Final = 20.0
"""The same if LiveKit has a job of it: the worker's process may start slowly."""
DEAD_AFTER: Final = 3.0
"""LiveKit's speakers are up to 0.7 s late."""
STOPPED_AFTER: Final = 10.0
THINKING_AFTER: Final = 10.0
SILENT_AFTER: Final = 10.0
LONGEST_WAIT: Final = JOB_WAIT
"""Seconds of the longest of these."""
EARLY: Final = 1.0
"""Seconds by which an agent may have joined before its dispatch, by the clocks."""


def find_due(state: SessionState, event: RoomEvent, entries: EntryList) -> SessionState:
    """Make a problem of everything that is due by the time of `event`."""
    agents, at = state.agents, event.at
    if agents is None or agents.due is None or at < agents.due or isinstance(event, Suspended):
        return state
    if not _is_certain(state):
        return change(state, agents=change(agents, due=None))
    runs, dispatches = {**agents.runs}, {**agents.dispatches}
    for key, run in agents.runs.items():
        due = min(_deadlines(state, run), default=None)
        if due is not None and due[0] <= at:
            when, problem, since = due
            runs[key] = change(run, problem=problem, problem_since=since)
            _add_problem(entries, when, run.identity, run.name, problem, when - since)
    for key, one in agents.dispatches.items():
        due = _dispatch_due(one)
        if due is not None and due <= at:
            dispatches[key] = change(one, missing_since=due)
            _add_problem(entries, due, None, one.agent_name, "missing", due - one.created_at)
    agents = change(agents, runs=runs, dispatches=dispatches)
    return with_due(change(state, agents=agents))


def with_due(state: SessionState) -> SessionState:
    """The state with the moment at which time alone may make a problem."""
    agents = state.agents
    if agents is None:
        return state
    due: float | None = None
    if _is_certain(state):
        times = [when for run in agents.runs.values() for when, _, _ in _deadlines(state, run)]
        times += [when for one in agents.dispatches.values() if (when := _dispatch_due(one))]
        due = min(times, default=None)
    return state if due == agents.due else change(state, agents=change(agents, due=due))


def _is_certain(state: SessionState) -> bool:
    return state.watching and not state.reconnecting and state.ended_at is None


def _deadlines(state: SessionState, run: AgentRun) -> Iterator[tuple[float, AgentProblem, float]]:
    """When which problem of a run is due, and since when it goes on."""
    if run.ended_at is not None or run.problem is not None:
        return
    if run.soundless_since is not None and _is_audible(state, run):
        yield run.soundless_since + DEAD_AFTER, "dead", run.soundless_since
    if run.error_since is not None:
        yield run.error_since + STOPPED_AFTER, "stopped", run.error_since
    if run.activity == "thinking":
        yield run.activity_since + THINKING_AFTER, "thinking", run.activity_since
    elif run.unanswered_since is not None and run.activity != "speaking":
        yield run.unanswered_since + SILENT_AFTER, "silent", run.unanswered_since


def _dispatch_due(dispatch: AgentDispatch) -> float | None:
    if dispatch.joined_at is not None or dispatch.missing_since is not None:
        return None
    return dispatch.created_at + (JOB_WAIT if dispatch.job_ids else MISSING_AFTER)


def agent_deadline(state: SessionState) -> float | None:
    """Unix seconds when a `Tick` may find a problem of an agent; None where none can."""
    return None if state.agents is None or state.ended_at is not None else state.agents.due


def open_problems(state: SessionState) -> frozenset[AgentProblem]:
    """The problems of a session's agents now."""
    agents = state.agents
    if agents is None:
        return frozenset()
    problems = set[AgentProblem]()
    problems.update(run.problem for run in agents.runs.values() if run.problem is not None)
    if any(one.missing_since is not None and one.joined_at is None
           for one in agents.dispatches.values()):  # fmt: skip
        problems.add("missing")
    return frozenset(problems)


def thinking_since(state: SessionState) -> float | None:
    """Unix seconds since when an agent thinks; of several the longest.  None where none does."""
    return min((run.activity_since for run in _present(state) if run.activity == "thinking"),
               default=None)  # fmt: skip


def quiet_since(state: SessionState) -> float | None:
    """Unix seconds since when an agent that is there has not spoken; of several the longest."""
    return min(
        (
            run.started_at if run.spoke_until is None else run.spoke_until
            for run in _present(state)
            if run.activity != "speaking"
        ),
        default=None,
    )


def _present(state: SessionState) -> Iterator[AgentRun]:
    if state.agents is not None:
        yield from (run for run in state.agents.runs.values() if run.ended_at is None)


# ---------------------------------------------------------------- what the agent does


def speaks(state: SessionState, run: AgentRun, at: float, entries: EntryList) -> SessionState:
    """The agent's activity is another one since `at`."""
    if run.activity == "speaking":
        sounds = _sounds(state, run)
        run = change(
            run,
            soundless_since=None if sounds else at,
            error_since=None,
            unanswered_since=None,
        )
    else:
        run = change(run, soundless_since=None)
    over = run.problem == "thinking" or (
        run.activity == "speaking" and run.problem in ("stopped", "silent")
    )
    return _replace(state, _recovered(run, at, entries) if over else run)


def after_speakers(state: SessionState, at: float, entries: EntryList) -> SessionState:
    """Others speak now: of each agent that speaks by its own word, whether it is heard."""
    agents = state.agents
    assert agents is not None
    for run in agents.runs.values():
        if run.activity != "speaking":
            continue
        if _sounds(state, run):
            after = change(run, soundless_since=None)
            if run.problem == "dead":
                after = _recovered(after, at, entries)
        elif run.soundless_since is None:
            after = change(run, soundless_since=at)
        else:
            continue
        state = _replace(state, after)
    return state


def without_timers(state: SessionState, at: float) -> SessionState:
    """The room was not watched until `at`: nothing is known of the time before."""
    agents = state.agents
    assert agents is not None
    runs = {
        key: change(
            run,
            soundless_since=at if run.activity == "speaking" else None,
            error_since=None,
            unanswered_since=None,
            user_stopped_at=None,
        )
        if run.ended_at is None
        else run
        for key, run in agents.runs.items()
    }
    return with_due(change(state, agents=change(agents, runs=runs)))


def _voices(state: SessionState, run: AgentRun) -> Iterator[str]:
    """Identities that may be heard for a run: the agent, and its avatars."""
    yield run.identity
    for person in state.present.values():
        if on_behalf_of(person) == run.identity:
            yield person.identity


def _sounds(state: SessionState, run: AgentRun) -> bool:
    return bool(state.speaking) and any(one in state.speaking for one in _voices(state, run))


def _is_audible(state: SessionState, run: AgentRun) -> bool:
    """True if LiveKit would tell when the agent speaks: a microphone of it is subscribed."""
    people = state.present
    return any(one in people and people[one].audible for one in _voices(state, run))


# ---------------------------------------------------------------- dispatches


def settle_dispatches(state: SessionState, run: AgentRun, entries: EntryList) -> SessionState:
    """Give a run the dispatch that it is of: by its job, else the first one of its name."""
    agents = state.agents
    assert agents is not None
    dispatch = _dispatch_of(agents, run)
    if dispatch is None:
        return state
    settled = change(dispatch, joined_at=run.started_at)
    missing = dispatch.missing_since is not None
    if missing:
        seconds = run.started_at - dispatch.created_at
        _add_problem(entries, run.started_at, run.identity, run.name, "late", seconds)
    agents = change(agents, dispatches={**agents.dispatches, dispatch.id: settled})
    run = change(run, dispatched_at=dispatch.created_at, late=missing)
    return _replace(change(state, agents=agents), run)


def _dispatch_of(agents: RoomAgents, run: AgentRun) -> AgentDispatch | None:
    open_ones = [one for one in agents.dispatches.values() if one.joined_at is None]
    for one in open_ones:
        if run.job_id and run.job_id in one.job_ids:
            return one
    for one in open_ones:
        if one.agent_name == run.name and one.created_at <= run.started_at + EARLY:
            return one
    return None


# ---------------------------------------------------------------- small parts


def _recovered(run: AgentRun, at: float, entries: EntryList) -> AgentRun:
    if run.problem is None:
        return run
    seconds = round(max(0.0, at - run.problem_since), 3)
    entries.add(
        at, "agent_recovered",
        identity=run.identity, agent=run.name, problem=run.problem, seconds=seconds,
    )  # fmt: skip
    return change(run, problem=None)


def _add_problem(
    entries: EntryList,
    at: float,
    identity: str | None,
    agent: str,
    problem: AgentProblem,
    seconds: float,
) -> None:
    seconds = round(max(0.0, seconds), 3)
    entries.add(
        at, "agent_problem", identity=identity, agent=agent, problem=problem, seconds=seconds
    )


def _replace(state: SessionState, run: AgentRun) -> SessionState:
    agents = state.agents
    assert agents is not None
    key = agents.current.get(run.identity)
    if key is None or key not in agents.runs:
        return state
    return with_due(change(state, agents=change(agents, runs={**agents.runs, key: run})))
