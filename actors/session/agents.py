"""The fold of agents: their runs, turns, calls of tools, errors and usage.

A run begins when an agent joins and ends when it leaves; a job that comes back goes on with its
run.  Messages of somebody who is no agent change nothing.  The last messages of an agent may come
after its leave, since LiveKit sends messages and leaves on different ways; they still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, get_args

from actors.session.agent_counts import (
    add_call,
    add_error,
    add_turn,
    add_usage,
    closed_run,
    note_user,
    rounded_delay,
)
from actors.session.agent_problems import (
    after_speakers,
    settle_dispatches,
    speaks,
    with_due,
    without_timers,
)
from actors.session.agent_reports import (
    AGENT_ACTIVITIES,
    AgentActivity,
    AgentActivityReported,
    AgentCallReported,
    AgentDispatchListed,
    AgentErrorReported,
    AgentMessage,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
)
from actors.session.agent_run import (
    AGENT_STATE,
    MAX_DISPATCHES,
    MAX_RUNS,
    AgentDispatch,
    AgentEnd,
    AgentRun,
    RoomAgents,
    delay_or_none,
    is_agent,
    job_of,
    on_behalf_of,
)
from actors.session.changes import change
from actors.session.pending import defer
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList, TimelineEntry

_JOINS: Final = frozenset({"participant_found", "participant_connected"})
_LEAVES: Final = frozenset({"participant_disconnected", "participant_connection_aborted"})
_LOST_VIEW: Final = frozenset({"reconnecting", "reconnected", "suspended"})
_FOLLOWED: Final = _LEAVES | _LOST_VIEW | {"participant_attributes", "speakers_changed"}

UNSEEN_AFTER: Final = 5.0
"""Seconds between a dispatch and our entry from which on its agent may have left before."""

_CountedMessage: TypeAlias = (
    AgentUserReported
    | AgentTurnReported
    | AgentCallReported
    | AgentErrorReported
    | AgentUsageReported
)

_ENDS: Final[dict[str | None, AgentEnd]] = {
    "client_initiated": "left",
    "participant_removed": "removed",
    "duplicate_identity": "removed",
    "room_deleted": "room_closed",
    "room_closed": "room_closed",
    "server_shutdown": "unknown",
    "migration": "unknown",
    None: "unknown",
}
"""How a run ended, by LiveKit's reason of the leave.  All others are of a lost connection."""


# ---------------------------------------------------------------- who comes and goes


def follow(state: SessionState, at: float, entries: EntryList) -> SessionState:
    """Follow the entries of one event.  Entries about agents are added to them."""
    if state.agents is None and not any(map(_is_join, entries)):
        return state
    for entry in tuple(entries):
        if _is_join(entry):
            state = _begin_run(state, entry.data["identity"], entry.data["joined_at"], entries)
        elif entry.event in _FOLLOWED and state.agents is not None:
            state = _follow_known(state, at, entry, entries)
    return state


def _is_join(entry: TimelineEntry) -> bool:
    return entry.event in _JOINS and entry.data["kind"] == "agent"


def _follow_known(
    state: SessionState, at: float, entry: TimelineEntry, entries: EntryList
) -> SessionState:
    event, agents = entry.event, state.agents
    assert agents is not None
    if event == "speakers_changed":
        return after_speakers(state, entry.at, entries)
    if event in _LOST_VIEW:
        return _reopened(without_timers(state, at))
    run = agents.run_of(entry.data["identity"])
    if run is None:
        return state
    if event in _LEAVES:
        end = _ENDS.get(entry.data["reason"], "crashed")
        if run.problem == "dead" and end in ("unknown", "left"):
            end = "crashed"
        return _end_run(state, run, entry.at, end, entries)
    return _take_attributes(state, run, at, entries)


def _begin_run(
    state: SessionState, identity: str, joined_at: float, entries: EntryList
) -> SessionState:
    person = state.present.get(identity) or state.past.get(identity)
    if person is None or not is_agent(person) or on_behalf_of(person):
        return state
    agents = state.agents or RoomAgents()
    run, job = agents.run_of(identity), job_of(identity)
    if run is not None and (run.ended_at is None or job):
        state = put_run(state, change(run, ended_at=None, end=None))
        return _take_attributes(state, change(run, ended_at=None, end=None), joined_at, entries)
    name = person.agent_name or identity
    run = AgentRun(agents.next_number, identity, job, name, joined_at)
    state = add_run(state, run)
    state = settle_dispatches(state, run, entries)
    run = _run(state, identity)
    entries.add(
        joined_at,
        "agent_joined",
        identity=identity,
        agent=name,
        job=job,
        after=None if run.dispatched_at is None else rounded_delay(joined_at - run.dispatched_at),
    )
    return _take_attributes(state, run, joined_at, entries)


def add_run(state: SessionState, run: AgentRun) -> SessionState:
    """The state with a new run, the newest of its identity."""
    agents = state.agents or RoomAgents()
    key = run_key(run)
    runs, older = {**agents.runs, key: run}, agents.older_runs
    if len(runs) > MAX_RUNS:
        del runs[next(iter(runs))]
        older += 1
    current = {who: one for who, one in agents.current.items() if one in runs}
    return with_due(
        change(
            state,
            agents=change(
                agents,
                runs=runs,
                current={**current, run.identity: key},
                next_number=agents.next_number + 1,
                older_runs=older,
            ),
        )
    )


def _end_run(
    state: SessionState, run: AgentRun, at: float, end: AgentEnd, entries: EntryList
) -> SessionState:
    if run.ended_at is not None:
        return state
    run = closed_run(run, at, end)
    entries.add(at, "agent_ended", identity=run.identity, agent=run.name, end=end)
    return put_run(state, run)


def close_runs(state: SessionState, at: float, *, room_ended: bool) -> SessionState:
    """The session ends at `at`.  There are no entries, as for people who are in the room then."""
    agents = state.agents
    if agents is None:
        return state
    end: AgentEnd = "room_closed" if room_ended else "unknown"
    runs = {
        key: run
        if run.ended_at is not None
        else closed_run(run, at, "crashed" if run.problem == "dead" else end)
        for key, run in agents.runs.items()
    }
    return change(state, agents=change(agents, runs=runs, due=None))


def _reopened(state: SessionState) -> SessionState:
    """Runs that the end of a watch had closed go on if their agents are still there."""
    agents = state.agents
    assert agents is not None
    runs = {**agents.runs}
    for identity, key in agents.current.items():
        run, person = agents.runs.get(key), state.present.get(identity)
        if run is not None and run.ended_at is not None and person is not None and is_agent(person):
            runs[key] = change(run, ended_at=None, end=None)
    return with_due(change(state, agents=change(agents, runs=runs)))


def run_key(run: AgentRun) -> str:
    """The job; where the identity does not have it, the identity and the run's number."""
    return run.job_id or f"{run.identity}\n{run.number}"


def _take_attributes(
    state: SessionState, run: AgentRun, at: float, entries: EntryList
) -> SessionState:
    """An agent's state is in its messages too, which come first, and in order."""
    person = state.present.get(run.identity)
    if person is None:
        return state
    name = person.agent_name
    if name and name != run.name:
        run = change(run, name=name)
        state = put_run(state, run)
    activity = (person.attributes or {}).get(AGENT_STATE)
    if run.reports or activity not in AGENT_ACTIVITIES:
        return state
    return _activity(state, run, activity, at, None, entries)


# ---------------------------------------------------------------- what an agent reports


def on_message(state: SessionState, event: AgentMessage, entries: EntryList) -> SessionState:
    """One message of an agent."""
    known = _sender(state, event, entries)
    run = None if known is None or known.agents is None else known.agents.run_of(event.identity)
    if known is None or run is None:
        unknown = event.identity not in state.present
        return defer(state, event) if unknown and state.reconnecting else state
    state = known
    if isinstance(event, AgentVersionReported):
        return put_run(state, change(run, version=event.version))
    delay = event.at - event.sent_at
    offset = delay if run.clock_offset is None else min(run.clock_offset, delay)
    run = change(run, reports=True, clock_offset=offset)
    if isinstance(event, AgentActivityReported):
        if run.ended_at is not None:
            return put_run(state, run)
        since = run.to_our_clock(event.sent_at, event.at)
        return _activity(state, run, event.activity, since, event.sent_at, entries)
    return put_run(state, _counted(run, event, entries))


def _sender(state: SessionState, event: AgentMessage, entries: EntryList) -> SessionState | None:
    """The state in which the sender has a run; None where it is no agent that we know."""
    person = state.present.get(event.identity)
    if person is None or is_agent(person):
        if state.agents is not None and state.agents.run_of(event.identity) is not None:
            return state
        if person is not None:
            return _begin_run(state, event.identity, person.joins[-1].joined_at, entries)
    return None


def _counted(run: AgentRun, event: _CountedMessage, entries: EntryList) -> AgentRun:
    match event:
        case AgentUserReported():
            return note_user(run, event)
        case AgentTurnReported():
            if event.turn.role == "user" and run.activity != "speaking" and run.ended_at is None:
                run = change(run, unanswered_since=event.at)
            return add_turn(run, event.turn, event.at, entries)
        case AgentCallReported():
            return add_call(run, event.call, event.at, entries)
        case AgentErrorReported():
            return add_error(run, event, entries)
        case AgentUsageReported():
            return add_usage(run, event.models)


def _activity(
    state: SessionState,
    run: AgentRun,
    activity: AgentActivity,
    since: float,
    sent_at: float | None,
    entries: EntryList,
) -> SessionState:
    """The agent does something else since `since`.  `sent_at`: by its own clock, if it sent it."""
    if activity == run.activity:
        return put_run(state, run)
    since = max(since, run.activity_since, run.started_at)
    if run.activity == "speaking":
        run = change(run, spoke_until=since)
    run = change(run, seconds=run.activity_seconds(since), activity=activity, activity_since=since)
    entries.add(since, "agent_state", identity=run.identity, state=activity)
    if activity == "speaking":
        delay = None
        if sent_at is not None and run.user_stopped_at is not None:
            delay = delay_or_none(sent_at - run.user_stopped_at)
        first = since if run.first_word_at is None else run.first_word_at
        run = change(run, computed_delay=delay, user_stopped_at=None, first_word_at=first)
    return speaks(put_run(state, run), run, since, entries)


# ---------------------------------------------------------------- dispatches


def on_dispatch(
    state: SessionState, event: AgentDispatchListed, entries: EntryList
) -> SessionState:
    """LiveKit's list of dispatches has this one."""
    agents = state.agents or RoomAgents()
    before = agents.dispatches.get(event.dispatch_id)
    if not event.agent_name or (before is None and len(agents.dispatches) >= MAX_DISPATCHES):
        return state
    if before is not None and (before.job_ids == event.job_ids or before.joined_at is not None):
        return state
    dispatch = AgentDispatch(
        event.dispatch_id, event.agent_name, event.created_at, job_ids=event.job_ids
    )
    if before is not None:
        dispatch = change(before, job_ids=event.job_ids)
    agents = change(agents, dispatches={**agents.dispatches, dispatch.id: dispatch})
    state = change(state, agents=agents)
    for run in agents.runs.values():
        if run.dispatched_at is None:
            state = settle_dispatches(state, run, entries)
    return with_due(_without_unseen(state, dispatch.id))


HANDLERS: Final[Mapping[Any, Callable[[SessionState, Any, EntryList], SessionState]]] = {
    **dict.fromkeys(get_args(AgentMessage), on_message),
    AgentDispatchListed: on_dispatch,
}
"""Handlers of the events of a room, by class."""


def _without_unseen(state: SessionState, key: str) -> SessionState:
    """A dispatch with a job is not awaited any more if its agent may have joined and left while
    nobody watched the room."""
    agents = state.agents
    assert agents is not None
    dispatch = agents.dispatches[key]
    since = dispatch.created_at
    late = state.watched_from is None or state.watched_from > since + UNSEEN_AFTER
    unseen = late or any(gap.until > since for gap in state.gaps)
    if not dispatch.job_ids or dispatch.joined_at is not None or not unseen:
        return state
    settled = change(dispatch, joined_at=since)
    return change(state, agents=change(agents, dispatches={**agents.dispatches, key: settled}))


# ---------------------------------------------------------------- small parts


def _run(state: SessionState, identity: str) -> AgentRun:
    run = None if state.agents is None else state.agents.run_of(identity)
    assert run is not None
    return run


def put_run(state: SessionState, run: AgentRun) -> SessionState:
    """The state with another value of a run."""
    agents = state.agents
    assert agents is not None
    return with_due(change(state, agents=change(agents, runs={**agents.runs, run_key(run): run})))
