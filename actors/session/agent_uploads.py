"""The upload of an agent about one job, merged into its run: it fills gaps of the room."""

from __future__ import annotations

from actors.session.agent_counts import add_call, add_turn, with_final_usage
from actors.session.agent_reports import AgentReport
from actors.session.agent_run import JOB_PREFIX, AgentRun, RoomAgents
from actors.session.agents import add_run, put_run, run_key
from actors.session.changes import change
from actors.session.participant import AGENT_NAME, Join, Participant
from actors.session.participant_maps import text_size
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList


def on_report(state: SessionState, event: AgentReport, entries: EntryList) -> SessionState:
    """Merge an upload.  A run that was not watched is made of it."""
    agents = state.agents or RoomAgents()
    run = agents.runs.get(event.job_id)
    if run is None and (run := run_of_participant(state, event.participant_sid)) is not None:
        run = change(run, job_id=event.job_id)
        state = _with_job(state, run)
    if run is None:
        began = event.at if event.started_at is None else min(event.started_at, event.at)
        ended = None if event.ended_at is None else min(event.ended_at, event.at)
        identity = JOB_PREFIX + event.job_id
        run = AgentRun(
            agents.next_number, identity, event.job_id, event.agent_name or identity, began,
            ended_at=ended, end=None if ended is None else "left",
        )  # fmt: skip
        state = _with_participant(add_run(state, run), run)
    for turn in event.turns:
        run = add_turn(run, turn, event.at, entries)
    for call in event.calls:
        run = add_call(run, call, event.at, entries)
    run = with_final_usage(run, event.models)
    run = change(
        run,
        version=event.version or run.version,
        close_reason=event.close_reason or run.close_reason,
        errors=max(run.errors, event.errors),
        retries=run.retries + event.retries,
        log_errors=run.log_errors + event.log_errors,
        outcome=event.outcome or run.outcome,
    )
    return put_run(state, run)


def run_of_participant(state: SessionState, sid: str) -> AgentRun | None:
    """The run, of those whose job is not known, in which the agent had this participant SID."""
    if not sid:
        return None
    for run in runs_without_job(state):
        join = join_of(state, run)
        if join is not None and join.sid == sid:
            return run
    return None


def runs_without_job(state: SessionState) -> list[AgentRun]:
    """Runs of agents that chose an identity which does not name their job."""
    return [] if state.agents is None else [r for r in state.agents.runs.values() if not r.job_id]


def join_of(state: SessionState, run: AgentRun) -> Join | None:
    """The join with which a run began; None where it is not known any more."""
    person = state.present.get(run.identity) or state.past.get(run.identity)
    joins = () if person is None else person.joins
    return min(joins, key=lambda one: abs(one.joined_at - run.started_at), default=None)


def _with_job(state: SessionState, run: AgentRun) -> SessionState:
    """The state in which this run has got its job, by which it is known from now on."""
    agents = state.agents
    assert agents is not None
    keys = {key: run_key(run) for key, one in agents.runs.items() if one.number == run.number}
    runs = {keys.get(key, key): run if key in keys else one for key, one in agents.runs.items()}
    current = {who: keys.get(key, key) for who, key in agents.current.items()}
    return change(state, agents=change(agents, runs=runs, current=current))


def _with_participant(state: SessionState, run: AgentRun) -> SessionState:
    """The agent of a run that nobody watched is one of the participants."""
    if run.identity in state.present or state.past.get(run.identity) is not None:
        return state
    join = Join("", run.started_at, left_at=run.ended_at or run.started_at, kind="agent")
    person = Participant(
        state.next_number,
        run.identity,
        "agent",
        attributes={AGENT_NAME: run.name},
        joins=(join,),
    )
    past = state.past.put(run.identity, person)
    size = state.past_text_size + text_size(person)
    return change(state, past=past, past_text_size=size, next_number=state.next_number + 1)
