"""The messages of a LiveKit server to a worker, for tests that take the server's place."""

from __future__ import annotations

from livekit.protocol import agent, models


def registered(worker_id: str = "AW_1", version: str = "1.13.5") -> bytes:
    return agent.ServerMessage(
        register=agent.RegisterWorkerResponse(
            worker_id=worker_id, server_info=models.ServerInfo(version=version)
        )
    ).SerializeToString()


def job(
    job_id: str = "AJ_1",
    room: str = "standup",
    kind: agent.JobType = agent.JobType.JT_ROOM,
    participant_sid: str = "",
) -> agent.Job:
    sid = "RM_1" if room == "standup" else f"RM_{room}"
    return agent.Job(
        id=job_id,
        type=kind,
        dispatch_id="AD_1",
        room=models.Room(name=room, sid=sid, creation_time_ms=1_700_000_000_250),
        participant=(
            models.ParticipantInfo(sid=participant_sid, identity="alice")
            if participant_sid
            else None
        ),
    )


def offer(offered: agent.Job) -> bytes:
    return agent.ServerMessage(
        availability=agent.AvailabilityRequest(job=offered)
    ).SerializeToString()


def assignment(assigned: agent.Job, token: str = "room-token") -> bytes:
    return agent.ServerMessage(
        assignment=agent.JobAssignment(job=assigned, token=token)
    ).SerializeToString()


def termination(job_id: str) -> bytes:
    return agent.ServerMessage(termination=agent.JobTermination(job_id=job_id)).SerializeToString()


def pong() -> bytes:
    return agent.ServerMessage(pong=agent.WorkerPong(timestamp=1)).SerializeToString()


def go_away(reason: str) -> bytes:
    return agent.ServerMessage(go_away=agent.AgentHttp.GoAway(reason=reason)).SerializeToString()


def parse(data: list[bytes]) -> list[agent.WorkerMessage]:
    """The messages that a worker sent."""
    return [agent.WorkerMessage.FromString(each) for each in data]


def kinds(messages: list[agent.WorkerMessage]) -> list[str]:
    return [message.WhichOneof("message") or "" for message in messages]
