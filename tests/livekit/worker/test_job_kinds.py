"""A kind of jobs is a row: registration, refusals, book and assignment follow it."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from livekit.protocol import agent

from actors.rooms.room_port import RoomJob
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.livekit.worker.job_kinds import (
    JOB_KINDS,
    PARTICIPANT_JOBS,
    PUBLISHER_JOBS,
    ROOM_JOBS,
    JobKind,
)
from bridge.livekit.worker.jobs import JobBook, Verb
from bridge.livekit.worker.protocol_events import (
    AssignmentRejected,
    Event,
    JobAccepted,
    JobAssigned,
    JobRefused,
)
from bridge.livekit.worker.registration import Registration
from bridge.livekit.worker.worker_protocol import WorkerProtocol
from tests.livekit.conftest import key_of
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.worker_harness import logged, make_worker, running, wait_for_dispatches

FEW_JOBS = evolve(PARTICIPANT_JOBS, max_jobs=3)


def connect(kind: JobKind, book: JobBook) -> WorkerProtocol:
    """A registered connection for jobs of one kind."""
    name = kind.dispatched_as("watcher")
    registration = Registration(name, "1", "ws://server", kind=kind)
    protocol = WorkerProtocol(registration, book, now=0.0, seq=itertools.count(1))
    protocol.receive(m.registered(), 0.0)
    return protocol


def participant_job(job_id: str, participant_sid: str) -> agent.Job:
    return m.job(job_id, kind=agent.JobType.JT_PARTICIPANT, participant_sid=participant_sid)


def take(protocol: WorkerProtocol, job: agent.Job) -> list[Event]:
    """Offer a job and assign it."""
    events = protocol.receive(m.offer(job), 1.0)
    return [*events, *protocol.receive(m.assignment(job), 1.0)]


def test_jobs_of_rooms_participants_and_publishers_are_taken_each_under_its_agent_name() -> None:
    names = {name: (kind.type, kind.agent_name) for name, kind in JOB_KINDS.items()}
    assert names == {
        "room": (agent.JobType.JT_ROOM, None),
        "participant": (agent.JobType.JT_PARTICIPANT, "participant-monitor"),
        "publisher": (agent.JobType.JT_PUBLISHER, "publisher-monitor"),
        "media": (agent.JobType.JT_ROOM, "media-publisher"),
    }


@pytest.mark.parametrize("kind", JOB_KINDS.values(), ids=lambda kind: kind.name)
def test_a_connection_registers_with_the_type_the_name_and_the_grants_of_its_row(
    kind: JobKind,
) -> None:
    sent = m.parse(connect(kind, JobBook(2)).data_to_send())
    (register,) = [message.register for message in sent if message.HasField("register")]
    permissions = register.allowed_permissions
    assert register.type == kind.type
    assert register.agent_name == (kind.agent_name or "watcher")
    assert permissions.can_subscribe == kind.grants.subscribe
    assert permissions.can_publish_data == kind.grants.publish_data
    assert permissions.can_publish == kind.grants.publish


@pytest.mark.parametrize(
    "kind, others",
    [
        (ROOM_JOBS, [agent.JobType.JT_PARTICIPANT, agent.JobType.JT_PUBLISHER]),
        (PARTICIPANT_JOBS, [agent.JobType.JT_ROOM, agent.JobType.JT_PUBLISHER]),
        (PUBLISHER_JOBS, [agent.JobType.JT_ROOM, agent.JobType.JT_PARTICIPANT]),
    ],
    ids=lambda value: value.name if isinstance(value, JobKind) else "",
)
def test_a_job_of_another_type_is_refused_with_the_name_of_the_row(
    kind: JobKind, others: list[agent.JobType]
) -> None:
    protocol = connect(kind, JobBook(9))
    for number, other in enumerate(others):
        job = m.job(f"AJ_{number}", kind=other, participant_sid="PA_1")
        (event,) = protocol.receive(m.offer(job), 1.0)
        assert isinstance(event, JobRefused)
        assert event.reason == f"not a {kind.name} job"


@pytest.mark.parametrize("sid", ["", "P" * 2_000])
def test_a_participant_job_without_a_participant_is_refused(sid: str) -> None:
    protocol = connect(PARTICIPANT_JOBS, JobBook(9))
    (event,) = protocol.receive(m.offer(participant_job("AJ_1", sid)), 1.0)
    assert isinstance(event, JobRefused)
    assert "participant" in event.reason


def test_a_participant_job_is_attached_to_its_participant_and_takes_no_place() -> None:
    book = JobBook(max_rooms=1)
    rooms, participants = connect(ROOM_JOBS, book), connect(PARTICIPANT_JOBS, book)
    take(rooms, m.job("AJ_room"))
    assert book.full
    accepted, assigned = take(participants, participant_job("AJ_1", "PA_1"))
    assert accepted == JobAccepted("AJ_1", "standup")
    assert isinstance(assigned, JobAssigned)
    assert (assigned.job.participant_sid, assigned.job.identity) == ("PA_1", "")
    assert (book.used, book.active(), book.active(PARTICIPANT_JOBS)) == (
        1,
        ("AJ_room",),
        ("AJ_1",),
    )
    assert (book.keys(), book.keys(PARTICIPANT_JOBS)) == ({"RM_1"}, {"PA_1"})


def test_a_kind_that_takes_no_places_has_a_bound_of_its_own() -> None:
    protocol = connect(FEW_JOBS, JobBook(max_rooms=1))
    events = [
        event
        for number in range(4)
        for event in take(protocol, participant_job(f"AJ_{number}", f"PA_{number}"))
    ]
    refused = [event for event in events if isinstance(event, JobRefused)]
    assert [event.reason for event in refused] == ["the worker has too many participant jobs"]
    assert isinstance(events[-1], AssignmentRejected)


def test_each_kind_reports_its_jobs_on_its_own_connection() -> None:
    book = JobBook(max_rooms=9)
    rooms, participants = connect(ROOM_JOBS, book), connect(PARTICIPANT_JOBS, book)
    take(rooms, m.job("AJ_room"))
    take(participants, participant_job("AJ_1", "PA_1"))
    for protocol in (rooms, participants):
        protocol.data_to_send()
    for job_id in ("AJ_room", "AJ_1"):
        book.move(job_id, Verb.RUN)
    assert reported(rooms) == ["AJ_room"]
    assert reported(participants) == ["AJ_1"]
    book.disconnected(PARTICIPANT_JOBS)
    assert reported(rooms) == []
    assert reported(connect(PARTICIPANT_JOBS, book)) == ["AJ_1"]


def reported(protocol: WorkerProtocol) -> list[str]:
    messages = m.parse(protocol.data_to_send())
    return [x.update_job.job_id for x in messages if x.HasField("update_job")]


def statuses(protocol: WorkerProtocol) -> list[agent.UpdateJobStatus]:
    messages = m.parse(protocol.data_to_send())
    return [x.update_job for x in messages if x.HasField("update_job")]


def test_the_success_of_a_participant_s_job_is_not_reported_and_its_failure_is() -> None:
    book = JobBook(max_rooms=9)
    protocol = connect(PARTICIPANT_JOBS, book)
    for number in (1, 2):
        take(protocol, participant_job(f"AJ_{number}", f"PA_{number}"))
        book.move(f"AJ_{number}", Verb.RUN)
    assert [one.status for one in statuses(protocol)] == [agent.JobStatus.JS_RUNNING] * 2
    book.move("AJ_1", Verb.SUCCEED)
    book.move("AJ_2", Verb.FAIL, "why")
    (failed,) = statuses(protocol)
    assert (failed.job_id, failed.status, failed.error) == (
        "AJ_2",
        agent.JobStatus.JS_FAILED,
        "why",
    )
    assert book.active(PARTICIPANT_JOBS) == ()
    assert protocol.receive(m.termination("AJ_1"), 2.0) == [], "LiveKit does not know that it ended"


def test_jobs_about_participants_are_no_load_and_do_not_make_a_worker_full() -> None:
    book = JobBook(max_rooms=1)
    take(connect(ROOM_JOBS, book), m.job("AJ_room"))
    protocol = connect(PARTICIPANT_JOBS, book)
    take(protocol, participant_job("AJ_1", "PA_1"))
    messages = m.parse(protocol.data_to_send())
    status = [x.update_worker for x in messages if x.HasField("update_worker")][-1]
    assert (status.status, status.load, status.job_count) == (agent.WorkerStatus.WS_AVAILABLE, 0, 1)
    assert book.pending_entries == 1, "only rooms are entered"


@pytest.mark.parametrize(
    "metadata, taken",
    [
        ('{"participant_identity": "alice"}', True),
        ('{"participant_identity": "bob"}', False),
        ("{", True),
        ("", True),
    ],
)
def test_a_job_is_refused_in_silence_where_its_metadata_asks_for_somebody_else(
    metadata: str, taken: bool
) -> None:
    protocol = connect(PARTICIPANT_JOBS, JobBook(max_rooms=1))
    job = participant_job("AJ_1", "PA_1")
    job.metadata = metadata
    events = protocol.receive(m.offer(job), 1.0)
    assert events == ([JobAccepted("AJ_1", "standup")] if taken else [])
    (answer,) = [
        x.availability for x in m.parse(protocol.data_to_send()) if x.HasField("availability")
    ]
    assert (answer.available, answer.participant_identity, answer.terminate) == (taken, "", False)


def test_an_assignment_has_the_participant_and_the_metadata() -> None:
    protocol = connect(PARTICIPANT_JOBS, JobBook(max_rooms=1))
    job = participant_job("AJ_1", "PA_1")
    job.metadata = '{"monitoring_type": "basic"}'
    _, assigned = take(protocol, job)
    assert isinstance(assigned, JobAssigned)
    assert (assigned.job.participant_identity, assigned.job.metadata) == ("alice", job.metadata)
    assert "monitoring_type" not in repr(assigned.job)


async def test_one_dispatch_at_a_real_server_is_a_room_job_and_a_job_for_each_participant(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    book, key = JobBook(max_rooms=10), key_of(livekit_server)
    kind = evolve(PARTICIPANT_JOBS, agent_name=name)
    room_worker, rooms = make_worker(livekit_server.url, key, agent_name=name, book=book)
    other, participants = make_worker(
        livekit_server.url, key, agent_name=name, book=book, kind=kind
    )
    for identity in ("alice", "bob"):
        await people.join(name, identity)
    sids = {who.identity: who.sid for who in await api.list_participants(name)}
    async with running(room_worker):
        await wait_for_dispatches(room_worker, rooms, api)
        async with running(other):
            with logged() as log:
                await api.create_dispatch(name, name)
                await rooms.until(lambda: bool(rooms.assigned))
                await participants.until(lambda: len(participants.assigned) == 2)
            assert [line for line in log.lines if line["event"] == "job_refused"] == []
            jobs: list[RoomJob] = participants.assigned
            assert {job.participant_sid for job in jobs} == set(sids.values())
            assert {job.room for job in (*jobs, *rooms.assigned)} == {name}
            assert rooms.assigned[0].participant_sid == ""
            assert room_worker.free == 9, "participants take no place"
            assert len(other.jobs) == 2
