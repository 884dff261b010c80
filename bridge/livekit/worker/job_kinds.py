"""The kinds of jobs that a worker takes: a row for each of LiveKit's job types that we serve.

A websocket registers for one job type.  So each row has a `Worker` and a connection of its own,
and all of them share one `JobBook`.  An offered job of another type than the connection's row is
refused with its reason.

What the rows must respect (measured on livekit-server 1.13.5):

* A job needs no connection to its room: jobs that were accepted under an empty identity, and
  never joined, ran on without a complaint.  Jobs about participants can therefore all be served
  from the one room connection that a worker has anyway.
* The identity of a job about a participant must not be the identity of our agent in that room.
  If such a job is taken back, LiveKit removes the participant of this identity after 3 s.
* `JT_PUBLISHER` means that somebody began to publish.  It does not mean that the agent is to
  publish: an agent that publishes registers for room jobs.
* A job about a participant does not end when the participant leaves.  Only a deleted dispatch
  ends it, so our view of the room has to.
* `JS_SUCCESS` of a job about a participant makes the deletion of its dispatch a second longer:
  LiveKit ends the jobs one after another and waits a second for each that has ended already.  So
  only their failures are reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen
from livekit.protocol import agent

from bridge.livekit.tokens import WATCHER_GRANTS, RoomGrants

JobTarget: TypeAlias = Literal["room", "participant"]
"""What a job is about: a room instance, or one participant in it."""


def agent_identity(job_id: str) -> str:
    """The identity of our agent in the room of a job."""
    return f"agent-{job_id}"


@frozen
class JobKind:
    """One row: how jobs of one type are registered for, counted and served."""

    name: str
    """For log lines and reasons, as in "not a room job"."""
    type: int
    """LiveKit's number of the type (`agent.JobType`)."""
    target: JobTarget
    """What a job of this kind attaches to.  A job without it is refused."""
    key: Callable[[str, str], str]
    """From the room's key and the participant's SID: under which key the book counts a job.
    Several jobs with one key share one place."""
    identity: Callable[[str], str]
    """From the job's id: the identity in the token of its assignment."""
    grants: RoomGrants
    """What that token allows."""
    agent_name: str | None = None
    """The name under which LiveKit dispatches such jobs; None for the name in the settings."""
    max_jobs: int | None = None
    """Jobs of this kind at once.  None where each key takes one of the worker's places."""
    reports_success: bool = True
    """Whether LiveKit gets the report that a job of this kind succeeded."""
    takes_jobs: bool = True
    """False for a placeholder: its worker is always full (`placeholders`)."""

    def dispatched_as(self, agent_name: str) -> str:
        """The name under which LiveKit dispatches such jobs; `agent_name` is that in the
        settings."""
        return agent_name if self.agent_name is None else self.agent_name

    @property
    def log_level(self) -> int:
        """Of the lines about its connection.  That of a placeholder is lost with the others."""
        return logging.INFO if self.takes_jobs else logging.DEBUG

    @property
    def takes_place(self) -> bool:
        """True if a job of this kind takes one of the worker's places."""
        return self.max_jobs is None


ROOM_JOBS: Final = JobKind(
    name="room",
    type=agent.JobType.JT_ROOM,
    target="room",
    key=lambda room_key, _participant_sid: room_key,
    identity=agent_identity,
    grants=WATCHER_GRANTS,
)
"""One job for each room that is watched."""

MAX_PARTICIPANT_JOBS: Final = 5_000
"""Jobs about participants at once, of each kind.  Each takes some kilobytes and no connection."""


def _participant_kind(name: str, job_type: int, agent_name: str) -> JobKind:
    return JobKind(
        name=name,
        type=job_type,
        target="participant",
        key=lambda _room_key, participant_sid: participant_sid,
        # Not the identity of our agent: LiveKit would remove it with the job.
        identity=lambda _job_id: "",
        grants=WATCHER_GRANTS,
        agent_name=agent_name,
        max_jobs=MAX_PARTICIPANT_JOBS,
        reports_success=False,
    )


PARTICIPANT_JOBS: Final = _participant_kind(
    "participant", agent.JobType.JT_PARTICIPANT, "participant-monitor"
)
"""One job for each person who is monitored."""

PUBLISHER_JOBS: Final = _participant_kind(
    "publisher", agent.JobType.JT_PUBLISHER, "publisher-monitor"
)
"""The same, from the first track that a person publishes."""

MAX_MEDIA_JOBS: Final = 50
"""Jobs of the media publisher at once.  Each has a participant, an encoder and threads."""

MEDIA_JOBS: Final = JobKind(
    name="media",
    type=agent.JobType.JT_ROOM,
    target="room",
    key=lambda room_key, _participant_sid: room_key,
    identity=agent_identity,
    grants=RoomGrants(subscribe=True, publish=True, publish_data=True),
    agent_name="media-publisher",
    max_jobs=MAX_MEDIA_JOBS,
)
"""One job for each dispatch of the media publisher, which enters as a participant of its own."""

JOB_KINDS: Final[Mapping[str, JobKind]] = {
    kind.name: kind for kind in (ROOM_JOBS, PARTICIPANT_JOBS, PUBLISHER_JOBS, MEDIA_JOBS)
}
"""By the name in `--job-types`."""
