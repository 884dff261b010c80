"""Finds the run of a session of which an upload tells.

An upload names its job, and LiveKit's identity of an agent does so too.  An agent with an identity
of its own is found by what else both know, the surest first: the participant SID (in spans), ids
of turns and calls (in reports and logs), then its name and its time, if only one run fits.
"""

from __future__ import annotations

from typing import Final

from actors.session import SessionState
from actors.session.agent_run import CLOCK_TOLERANCE, AgentRun
from actors.session.agent_uploads import join_of, run_of_participant, runs_without_job
from bridge.uploads.upload_facts import RunFacts

LONGER: Final = 30.0
"""Seconds by which a job may begin before its agent joins, and end after its leave."""


def run_of_upload(state: SessionState, run_facts: RunFacts) -> AgentRun | None:
    """The run in the session; None where the session has none of this job, or several may be it."""
    run = None if state.agents is None else state.agents.runs.get(run_facts.run.job_id)
    unknown = runs_without_job(state) if run is None else []
    if run is not None or not unknown:
        return run
    if (run := run_of_participant(state, run_facts.participant_sid)) is not None:
        return run
    items = [one.item_id for one in (*run_facts.turns, *run_facts.tool_calls) if one.item_id]
    fitting = [one for one in unknown if any(map(one.has_item, items))]
    if not fitting and not run_facts.participant_sid:
        fitting = [one for one in unknown if _fits(one, run_facts)]
    return fitting[0] if len(fitting) == 1 else None


def participant_sid_of(state: SessionState, run: AgentRun) -> str:
    """The SID in the room with which the run began; empty where it is not known."""
    join = join_of(state, run)
    return "" if join is None else join.sid


def _fits(run: AgentRun, run_facts: RunFacts) -> bool:
    """True if the run has the upload's name and is within its time."""
    if run_facts.agent_name not in (run.name, "") and run.name != run.identity:
        return False
    begin, end = run_facts.started_at, run_facts.ended_at
    if begin is None or end is None:
        return False
    offset = run.clock_offset or 0.0
    if abs(offset) > CLOCK_TOLERANCE:
        begin, end = begin + offset, end + offset
    over = run.started_at if run.ended_at is None else run.ended_at
    return begin - LONGER <= run.started_at <= end and over <= end + LONGER
