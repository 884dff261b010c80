"""The worker protocol as bytes, without a socket."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
from livekit.protocol import agent

from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from bridge.livekit.worker import worker_protocol as p
from bridge.livekit.worker.job_kinds import ROOM_JOBS
from bridge.livekit.worker.job_refusals import OUR_DISPATCH, offer_of
from bridge.livekit.worker.jobs import JobBook, Verb
from tests.livekit.worker import server_messages as m

ROOM = agent.JobType.JT_ROOM


class Line:
    """A protocol with a clock that the test moves."""

    def __init__(
        self, book: JobBook | None = None, *, visible: bool = False, asks_first: bool = False
    ) -> None:
        self.now = 100.0
        self.book = book if book is not None else JobBook(max_rooms=2)
        self.protocol = p.WorkerProtocol(
            registration=p.Registration(
                agent_name="simple-room-agent",
                version="1.2.3",
                room_url="ws://server",
                visible=visible,
                asks_first=asks_first,
                attributes={INSTANCE_ATTRIBUTE: "here"},
            ),
            book=self.book,
            now=self.now,
            seq=itertools.count(1),
        )

    def hear(self, data: bytes | str) -> list[p.Event]:
        return self.protocol.receive(data, self.now)

    def wait(self, seconds: float) -> list[p.Event]:
        self.now += seconds
        return self.protocol.tick(self.now)

    def says(self) -> list[agent.WorkerMessage]:
        return m.parse(self.protocol.data_to_send())

    def register(self) -> Line:
        self.hear(m.registered())
        self.says()
        return self

    def take(self, job_id: str, room: str = "standup") -> None:
        """Be offered a job, accept it and get it."""
        self.hear(m.offer(m.job(job_id, room)))
        self.hear(m.assignment(m.job(job_id, room)))


def statuses(sent: list[agent.WorkerMessage]) -> list[agent.UpdateWorkerStatus]:
    return [message.update_worker for message in sent if message.HasField("update_worker")]


def job_statuses(sent: list[agent.WorkerMessage]) -> list[tuple[str, int, str]]:
    return [
        (message.update_job.job_id, message.update_job.status, message.update_job.error)
        for message in sent
        if message.HasField("update_job")
    ]


# ------------------------------------------------------------------- registration


def test_the_first_word_is_the_registration_for_room_jobs_as_a_hidden_silent_watcher() -> None:
    (message,) = Line().says()
    register = message.register
    assert register.type == ROOM
    assert register.agent_name == "simple-room-agent"
    assert register.version == "1.2.3"
    permissions = register.allowed_permissions
    assert permissions.hidden
    assert permissions.can_subscribe
    assert not permissions.can_publish
    assert not permissions.can_publish_data
    assert not permissions.can_update_metadata


def test_a_visible_worker_registers_so() -> None:
    (message,) = Line(visible=True).says()
    assert not message.register.allowed_permissions.hidden


def test_nothing_but_the_registration_is_said_before_it_is_answered() -> None:
    line = Line()
    line.book.accept(offer_of(m.job(), ROOM_JOBS), 200)
    line.book.move("AJ_1", Verb.ASSIGN)
    line.book.move("AJ_1", Verb.RUN)
    assert m.kinds(line.says()) == ["register"]
    assert line.hear(m.registered()) == [p.Registered("AW_1", "1.13.5")]
    assert m.kinds(line.says()) == ["update_job", "update_worker"]


def test_a_server_that_does_not_answer_the_registration_is_given_up() -> None:
    line = Line()
    line.hear(m.pong())
    assert line.protocol.deadline == 105.0
    assert line.wait(4.5) == []
    assert line.wait(0.5) == [p.Silent(5.0)]


def test_a_second_job_for_a_room_takes_no_second_place() -> None:
    book = JobBook(10)
    for number in range(2):
        book.accept(offer_of(m.job(f"AJ_{number}"), ROOM_JOBS), 200)
        book.move(f"AJ_{number}", Verb.ASSIGN)
    assert (book.used, len(book.active())) == (1, 2)


def test_a_job_offered_before_the_registration_is_reported_and_not_answered() -> None:
    line = Line()
    line.says()
    assert line.hear(m.offer(m.job())) == [p.Unexpected("availability", "registering")]
    assert line.says() == []
    assert line.book.used == 0


def test_a_second_registration_changes_nothing() -> None:
    line = Line().register()
    assert line.hear(m.registered("AW_2")) == [p.Unexpected("register", "registered")]
    assert line.protocol.worker_id == "AW_1"


# ----------------------------------------------------------------------- offers


def test_a_registration_that_asks_first_keeps_a_place_and_answers_later() -> None:
    line = Line(asks_first=True).register()
    for job_id in ("AJ_1", "AJ_2"):
        (offered,) = line.hear(m.offer(m.job(job_id, job_id)))
        assert isinstance(offered, p.JobOffered)
        assert offered.offer.job_id == job_id
    assert "availability" not in m.kinds(line.says())
    assert line.book.used == 2
    assert line.protocol.answer("AJ_1", available=False) == []
    assert line.protocol.answer("AJ_2", available=True) == [p.JobAccepted("AJ_2", "AJ_2")]
    answers = [one.availability for one in line.says() if one.HasField("availability")]
    assert [(one.job_id, one.available, one.terminate) for one in answers] == [
        ("AJ_1", False, False),
        ("AJ_2", True, False),
    ]
    assert line.book.used == 1
    line.wait(p.ASSIGNMENT_TIMEOUT)
    assert line.protocol.answer("AJ_2", available=True) == [], "it is not waited for any more"


def test_an_offer_is_answered_in_the_same_step_with_the_identity_we_choose() -> None:
    line = Line().register()
    assert line.hear(m.offer(m.job())) == [p.JobAccepted("AJ_1", "standup")]
    status, answer = line.says()
    assert answer.availability.available
    assert answer.availability.job_id == "AJ_1"
    assert answer.availability.participant_identity == "agent-AJ_1"
    assert dict(answer.availability.participant_attributes) == {INSTANCE_ATTRIBUTE: "here"}
    assert status.update_worker.job_count == 1


@pytest.mark.parametrize(
    "offered, job_type, reason",
    [
        (m.job(kind=agent.JobType.JT_PARTICIPANT), "JT_PARTICIPANT", "not a room job"),
        (m.job(kind=agent.JobType.JT_PUBLISHER), "JT_PUBLISHER", "not a room job"),
        (m.job(kind=cast("agent.JobType", 77)), "77", "not a room job"),
        (m.job(room=""), "JT_ROOM", "the job has no room"),
        (agent.Job(id="AJ_1", type=ROOM), "JT_ROOM", "the job has no room"),
        (m.job(job_id=""), "JT_ROOM", "the job has no id"),
    ],
)
def test_an_offer_we_cannot_take_is_refused_at_once(
    offered: agent.Job, job_type: str, reason: str
) -> None:
    line = Line().register()
    expected = p.JobRefused(offered.id, offered.room.name, job_type, reason)
    assert line.hear(m.offer(offered)) == [expected]
    (answer,) = line.says()
    assert not answer.availability.available
    assert answer.availability.job_id == offered.id
    assert line.book.used == 0


def test_an_offer_beyond_capacity_is_refused_and_a_freed_place_is_offered_again() -> None:
    line = Line().register()
    line.take("AJ_1", "retro")
    line.take("AJ_2", "review")
    (event,) = line.hear(m.offer(m.job("AJ_3")))
    assert isinstance(event, p.JobRefused)
    assert event.reason == "all places are taken"
    line.book.move("AJ_1", Verb.SUCCEED)
    assert line.hear(m.offer(m.job("AJ_3"))) == [p.JobAccepted("AJ_3", "standup")]


def test_a_place_that_is_only_promised_counts() -> None:
    line = Line(JobBook(max_rooms=1)).register()
    line.hear(m.offer(m.job("AJ_1")))
    (event,) = line.hear(m.offer(m.job("AJ_2")))
    assert isinstance(event, p.JobRefused)


def test_the_same_offer_again_gets_the_same_yes_and_takes_one_place() -> None:
    line = Line(JobBook(max_rooms=1)).register()
    line.hear(m.offer(m.job()))
    assert line.hear(m.offer(m.job())) == [p.JobAccepted("AJ_1", "standup")]
    assert line.book.used == 1


def test_an_offer_of_a_job_we_hold_is_refused() -> None:
    line = Line().register()
    line.take("AJ_1")
    (event,) = line.hear(m.offer(m.job()))
    assert isinstance(event, p.JobRefused)
    assert event.reason == "we already have it"
    assert line.book.active() == ("AJ_1",)


def test_a_second_dispatch_of_a_reconciler_for_a_room_we_watch_is_done_with() -> None:
    line = Line(JobBook(max_rooms=9)).register()
    line.take("AJ_1")
    line.says()
    again = m.job("AJ_2")
    again.metadata = OUR_DISPATCH
    (event,) = line.hear(m.offer(again))
    assert isinstance(event, p.JobRefused)
    assert event.reason == "its room is watched already"
    (answer,) = line.says()
    assert answer.availability.terminate, "and is offered to no other worker"
    again.room.sid = "RM_another_life"
    assert line.hear(m.offer(again)) == [p.JobAccepted("AJ_2", "standup")]


def test_a_second_dispatch_of_somebody_for_a_room_we_watch_is_taken() -> None:
    line = Line(JobBook(max_rooms=9)).register()
    line.take("AJ_1")
    assert line.hear(m.offer(m.job("AJ_2"))) == [p.JobAccepted("AJ_2", "standup")]


def test_a_draining_worker_refuses() -> None:
    line = Line().register()
    line.book.draining = True
    (event,) = line.hear(m.offer(m.job()))
    assert isinstance(event, p.JobRefused)
    assert event.reason == "the worker is draining"


# ------------------------------------------------------------------- assignments


def test_an_assignment_is_a_room_job_with_our_url_because_its_own_is_empty() -> None:
    line = Line().register()
    line.hear(m.offer(m.job()))
    (event,) = line.hear(m.assignment(m.job()))
    assert isinstance(event, p.JobAssigned)
    job = event.job
    assert (job.job_id, job.room, job.room_sid, job.url, job.token, job.identity) == (
        "AJ_1", "standup", "RM_1", "ws://server", "room-token", "agent-AJ_1",
    )  # fmt: skip
    assert job.created_at == 1_700_000_000.25
    assert job.dispatch_id == "AD_1"
    assert "room-token" not in repr(event)


def test_an_assignment_that_does_not_come_frees_its_place_after_five_seconds() -> None:
    line = Line(JobBook(max_rooms=1)).register()
    line.hear(m.offer(m.job()))
    line.says()
    line.now += 4
    line.hear(m.pong())
    assert line.wait(0.9) == []
    assert line.wait(0.1) == [p.AssignmentOverdue("AJ_1", "standup")]
    assert line.book.free == 1
    (status,) = statuses(line.says())
    assert status.job_count == 0


def test_an_assignment_for_a_job_we_did_not_accept_is_failed() -> None:
    line = Line().register()
    (event,) = line.hear(m.assignment(m.job("AJ_9")))
    assert event == p.AssignmentRejected("AJ_9", "we did not accept it, or too long ago")
    ((job_id, status, error),) = job_statuses(line.says())
    assert (job_id, status) == ("AJ_9", agent.JobStatus.JS_FAILED)
    assert "bad assignment" in error
    assert line.book.used == 0


def test_an_assignment_without_a_token_is_failed_and_frees_its_place() -> None:
    line = Line().register()
    line.hear(m.offer(m.job()))
    (event,) = line.hear(m.assignment(m.job(), token=""))
    assert event == p.AssignmentRejected("AJ_1", "its token is missing")
    assert [status for _, status, _ in job_statuses(line.says())] == [agent.JobStatus.JS_FAILED]
    assert line.book.used == 0


def test_an_assignment_that_comes_twice_is_one_job_and_the_first_goes_on() -> None:
    line = Line().register()
    line.take("AJ_1")
    (event,) = line.hear(m.assignment(m.job()))
    assert isinstance(event, p.AssignmentRejected)
    assert job_statuses(line.says()) == []
    assert line.book.active() == ("AJ_1",)


# ------------------------------------------------------------------- terminations


def test_a_termination_of_a_job_we_hold_is_passed_on_and_ends_nothing_by_itself() -> None:
    line = Line().register()
    line.take("AJ_1")
    assert line.hear(m.termination("AJ_1")) == [p.JobTerminated("AJ_1", "standup")]
    assert line.book.active() == ("AJ_1",)


def test_a_termination_of_an_unknown_job_is_only_reported() -> None:
    (event,) = Line().register().hear(m.termination("AJ_9"))
    assert isinstance(event, p.Unexpected)


def test_a_termination_before_the_assignment_gives_the_place_back() -> None:
    line = Line().register()
    line.hear(m.offer(m.job()))
    (event,) = line.hear(m.termination("AJ_1"))
    assert isinstance(event, p.Unexpected)
    assert line.book.used == 0


# ------------------------------------------------------------------- job statuses


def test_running_and_success_are_told_once_each() -> None:
    line = Line().register()
    line.take("AJ_1")
    line.says()
    assert line.book.move("AJ_1", Verb.RUN)
    assert job_statuses(line.says()) == [("AJ_1", agent.JobStatus.JS_RUNNING, "")]
    assert line.book.move("AJ_1", Verb.SUCCEED)
    assert job_statuses(line.says()) == [("AJ_1", agent.JobStatus.JS_SUCCESS, "")]
    assert job_statuses(line.says()) == []


@pytest.mark.parametrize("first", [Verb.SUCCEED, Verb.FAIL])
@pytest.mark.parametrize("then", [Verb.SUCCEED, Verb.FAIL, Verb.RUN])
@pytest.mark.parametrize("sent_between", [True, False])
def test_an_end_is_told_once_and_never_both_ways(
    first: Verb, then: Verb, sent_between: bool
) -> None:
    line = Line().register()
    line.take("AJ_1")
    line.says()
    assert line.book.move("AJ_1", first, "boom" if first is Verb.FAIL else "")
    messages = line.says() if sent_between else []
    assert not line.book.move("AJ_1", then)
    messages += line.says()
    expected = agent.JobStatus.JS_SUCCESS if first is Verb.SUCCEED else agent.JobStatus.JS_FAILED
    assert [status for _, status, _ in job_statuses(messages)] == [expected]


def test_a_failure_is_told_with_its_reason() -> None:
    line = Line().register()
    line.take("AJ_1")
    line.book.move("AJ_1", Verb.FAIL, "the room could not be entered")
    assert job_statuses(line.says()) == [
        ("AJ_1", agent.JobStatus.JS_FAILED, "the room could not be entered")
    ]


def test_a_new_connection_tells_again_what_runs_and_what_ended_meanwhile() -> None:
    line = Line(JobBook(max_rooms=9)).register()
    for job_id in ("AJ_1", "AJ_2", "AJ_3"):
        line.take(job_id)
        line.book.move(job_id, Verb.RUN)
    line.book.move("AJ_3", Verb.SUCCEED)
    line.says()
    line.hear(m.offer(m.job("AJ_4")))
    line.book.disconnected()
    line.book.move("AJ_2", Verb.FAIL, "boom")

    fresh = Line(line.book)
    fresh.hear(m.registered("AW_2"))
    messages = fresh.says()
    assert sorted(job_statuses(messages)) == [
        ("AJ_1", agent.JobStatus.JS_RUNNING, ""),
        ("AJ_2", agent.JobStatus.JS_FAILED, "boom"),
    ]
    (status,) = statuses(messages)
    assert status.job_count == 1, "what was only promised went with the connection"


# ---------------------------------------------------------------- worker statuses


def test_load_stays_below_the_limit_while_there_is_a_place_then_the_worker_is_full() -> None:
    line = Line(JobBook(max_rooms=100)).register()
    loads: list[float] = []
    for number in range(100):
        line.take(f"AJ_{number}", f"room-{number}")
        (status,) = statuses(line.says())[-1:]
        loads.append(status.load)
        expected = agent.WorkerStatus.WS_FULL if number == 99 else agent.WorkerStatus.WS_AVAILABLE
        assert status.status == expected
        assert status.job_count == number + 1
    assert loads == sorted(loads)
    assert loads[-2] < 0.7
    assert loads[-1] == 1.0


def test_the_status_is_told_on_change_and_every_two_and_a_half_seconds() -> None:
    line = Line().register()
    assert statuses(line.says()) == []
    line.wait(2.4)
    assert statuses(line.says()) == []
    line.wait(0.2)
    assert len(statuses(line.says())) == 1
    line.take("AJ_1")
    assert len(statuses(line.says())) == 1
    assert line.protocol.deadline <= line.now + 2.5


def test_seq_rises_with_each_status_and_over_connections() -> None:
    line = Line()
    line.hear(m.registered())
    messages = statuses(line.says())
    line.wait(3)
    messages += statuses(line.says())
    again = Line(line.book)
    again.protocol.seq = line.protocol.seq
    again.hear(m.registered())
    messages += statuses(again.says())
    assert [status.seq for status in messages] == [1, 2, 3]


def test_draining_is_told_as_full_and_as_draining() -> None:
    line = Line().register()
    line.book.draining = True
    (status,) = statuses(line.says())
    assert status.status == agent.WorkerStatus.WS_FULL
    assert status.draining
    assert status.load == 1.0


def test_places_that_are_taken_without_a_job_count() -> None:
    line = Line().register()
    line.book.count_watched(2)
    (status,) = statuses(line.says())
    assert status.status == agent.WorkerStatus.WS_FULL
    assert line.book.free == 0


# -------------------------------------------------------------- pings and silence


def test_a_registered_server_is_pinged_every_five_seconds() -> None:
    line = Line().register()
    line.wait(5)
    assert "ping" in m.kinds(line.says())
    line.hear(m.pong())
    line.wait(4)
    assert "ping" not in m.kinds(line.says())
    line.wait(1)
    assert "ping" in m.kinds(line.says())


def test_a_server_that_says_nothing_for_ten_seconds_is_given_up() -> None:
    line = Line().register()
    assert line.wait(9.5) == []
    assert line.wait(0.5) == [p.Silent(10.0)]


def test_a_pong_keeps_the_connection() -> None:
    line = Line().register()
    line.now += 9
    assert line.hear(m.pong()) == []
    assert line.wait(9.9) == []


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        m.offer(m.job())[:-3],
        m.assignment(m.job())[:7],
        "a text frame",
    ],
)
def test_a_cut_or_garbled_frame_is_reported_and_changes_nothing(frame: bytes | str) -> None:
    line = Line().register()
    line.take("AJ_1")
    line.says()
    (event,) = line.hear(frame)
    assert isinstance(event, p.Malformed)
    assert event.size == len(frame)
    assert line.says() == []
    assert line.book.active() == ("AJ_1",)
    line.hear(m.offer(m.job("AJ_2")))
    assert line.says()[-1].availability.available


@pytest.mark.parametrize("frame", [b"", b"\xba\x06\x03abc"])
def test_an_unknown_message_is_reported_and_changes_nothing(frame: bytes) -> None:
    line = Line().register()
    assert line.hear(frame) == [p.Unexpected("unknown", "registered")]
    assert line.says() == []


def test_go_away_is_reported_and_the_connection_stays_until_the_server_closes_it() -> None:
    line = Line().register()
    assert line.hear(m.go_away("deploy")) == [p.GoingAway("deploy")]
    line.hear(m.offer(m.job()))
    assert line.says()[-1].availability.available
