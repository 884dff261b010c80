"""The registration of a connection to `/agent`: what LiveKit is told about this worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import Factory, frozen
from livekit.protocol import agent, models

from bridge.livekit.worker.job_kinds import ROOM_JOBS, JobKind

PING_INTERVAL: Final = 5.0
"""Seconds between pings."""


@frozen
class Registration:
    """Our description of this worker for LiveKit."""

    agent_name: str
    """The name under which LiveKit dispatches the jobs."""
    version: str
    room_url: str
    """The URL with which rooms are joined.  The `url` of an assignment is always empty."""
    visible: bool = False
    """Whether participants see the agent."""
    attributes: Mapping[str, str] = Factory(dict[str, str])
    """Our participant's attributes in each room, `INSTANCE_ATTRIBUTE` among them."""
    kind: JobKind = ROOM_JOBS
    """The jobs for which this connection registers."""
    asks_first: bool = False
    """An offer that could be accepted is given as `JobOffered`, and `answer` answers it."""

    def as_message(self) -> agent.WorkerMessage:
        """The first message of a connection."""
        kind = self.kind
        return agent.WorkerMessage(
            register=agent.RegisterWorkerRequest(
                type=kind.type,  # pyright: ignore[reportArgumentType]  # its number
                agent_name=self.agent_name,
                version=self.version,
                ping_interval=round(PING_INTERVAL),
                # All fields are set: if one is set, the others count as false.
                allowed_permissions=models.ParticipantPermission(
                    can_subscribe=kind.grants.subscribe,
                    can_publish=kind.grants.publish,
                    can_publish_data=kind.grants.publish_data,
                    can_update_metadata=kind.grants.update_metadata,
                    hidden=not self.visible,
                    agent=True,
                ),
            )
        )

    def acceptance(self, job_id: str) -> agent.WorkerMessage:
        """The answer that we take an offered job."""
        return agent.WorkerMessage(
            availability=agent.AvailabilityResponse(
                job_id=job_id,
                available=True,
                participant_identity=self.kind.identity(job_id),
                participant_name=self.agent_name,
                participant_attributes=dict(self.attributes),
            )
        )
