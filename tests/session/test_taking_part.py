"""Who counts as a person, since when, and how exactly each leave is known."""

from __future__ import annotations

from typing import Any

import pytest

from actors.session import ParticipantInfo, Tick, WebhookJoinAborted, WebhookJoined, WebhookLeft
from tests.session.session_story import LEFT, T0, Story, camera, clock, microphone, names, person


def half(identity: str = "dora", sid: str = "PA_9", joined: float = 5) -> ParticipantInfo:
    return person(identity, sid, joined, active=False)


def counts(story: Story) -> dict[str, Any]:
    return {key: n for key, n in story.view()["people"].items() if key != "aborted_by_reason"}


def of(current: int, peak: int, unique: int, joins: int, aborted: int) -> dict[str, Any]:
    return {
        "current": current,
        "peak": peak,
        "unique": unique,
        "joins": joins,
        "aborted": aborted,
    }


def joins(story: Story, identity: str) -> list[dict[str, Any]]:
    return story.participant(identity)["joins"]


# -- media that connects late or never


def test_who_never_becomes_active_is_there_and_counts_as_aborted_only() -> None:
    story = Story()
    assert story.joined(5, half()) == []
    assert counts(story) == of(0, 0, 0, 0, 0)
    assert set(story.state.present) == {"dora"}
    assert names(story.left(20, "dora", "PA_9", "join_failure")) == [
        "participant_connection_aborted"
    ]
    assert counts(story) == of(0, 0, 0, 0, 1)
    assert story.view()["people"]["aborted_by_reason"] == {"join_failure": 1}
    (join,) = joins(story, "dora")
    assert (join["active"], join["leave_reason"]) == (False, "join_failure")
    assert (story.participant("dora")["seconds"], story.view()["people_seconds"]) == (0, 0)


def test_who_becomes_active_is_told_then_and_there_since_they_joined() -> None:
    story = Story()
    story.joined(5, half())
    (new_entry,) = story.active(6, "dora", "PA_9")
    assert (new_entry.event, new_entry.at) == ("participant_connected", T0 + 6)
    assert (new_entry.data["joined_at"], new_entry.data["rejoin"]) == (T0 + 5, False)
    assert counts(story) == of(1, 1, 1, 1, 0)
    assert story.active(7, "dora", "PA_9") == []
    assert story.state.anomalies == 0
    story.left(15, "dora", "PA_9")
    assert counts(story) == of(0, 1, 1, 1, 0)
    assert story.participant("dora")["seconds"] == 10


@pytest.mark.parametrize("back", [False, True])
def test_who_is_said_to_be_active_after_they_left_took_part(back: bool) -> None:
    story = Story()
    story.joined(5, half())
    story.left(8, "dora", "PA_9")
    assert counts(story) == of(0, 0, 0, 0, 1)
    if back:
        story.joined(9, person("dora", "PA_10", 9))
    new_entries = story.active(9, "dora", "PA_9")
    assert names(new_entries) == ["participant_connected", "participant_disconnected"]
    assert counts(story) == of(back, 1, 1, 1 + back, 0)
    assert story.participant("dora", 9)["seconds"] == 3
    assert story.active(9, "dora", "PA_9") == []


def test_a_roster_says_who_is_active_as_well_and_never_takes_it_back() -> None:
    story = Story(half(joined=-1))
    assert counts(story) == of(0, 0, 0, 0, 0)
    story.reconnecting(2)
    story.reconnected(3, person("dora", "PA_9", -1))
    assert counts(story) == of(1, 1, 1, 1, 0)
    story.reconnecting(4)
    story.reconnected(5, half(joined=-1))
    assert counts(story) == of(1, 1, 1, 1, 0)


def test_the_second_try_of_the_same_person_counts_and_is_no_rejoin() -> None:
    story = Story()
    story.joined(5, half())
    story.left(6, "dora", "PA_9", "signal_close")
    (new_entry,) = story.joined(7, person("dora", "PA_10", 7))
    assert (new_entry.data["rejoin"], new_entry.data["reconnect"]) == (False, False)
    assert counts(story) == of(1, 1, 1, 1, 1)


def test_what_the_halfway_do_is_still_theirs() -> None:
    story = Story()
    story.joined(5, half())
    story.published(5, "dora", camera("TR_1"))
    story.data(5, "dora", "t")
    assert story.track("TR_1")["identity"] == "dora"
    assert story.participant("dora")["data_messages"] == 1


def test_an_aborted_agent_is_no_persons_aborted_join() -> None:
    story = Story()
    story.joined(5, person("bot", "PA_9", 5, kind="agent", active=False))
    story.left(6, "bot", "PA_9", "signal_close")
    assert counts(story) == of(0, 0, 0, 0, 0)


@pytest.mark.parametrize("told", ["never", "before", "after", "alone"])
def test_an_aborted_join_is_one_with_and_without_webhooks(told: str) -> None:
    story = Story()
    said = WebhookJoinAborted(T0 + 20.1, T0 + 20, half(), "signal_close")
    if told == "alone":
        story.receive(said)
    else:
        story.joined(5, half())
        if told == "before":
            story.receive(said)
        story.left(20, "dora", "PA_9", "signal_close")
        if told == "after":
            story.receive(said)
    story.joined(22, half())  # late
    story.tick(40)
    assert counts(story) == of(0, 0, 0, 0, 1)
    assert [entry.event for entry in story.entries].count("participant_connection_aborted") == 1
    assert [join["active"] for join in joins(story, "dora")] == [False]


@pytest.mark.parametrize(
    "reason, aborted",
    [("worker_stopped", 0), ("dispatch_deleted", 0), ("server_lost", 0), ("room_closed", 1)],
)
def test_who_is_still_connecting_when_we_leave_may_take_part_later(
    reason: str, aborted: int
) -> None:
    story = Story()
    story.joined(5, half())
    story.ends(6, reason)
    assert counts(story) == of(0, 0, 0, 0, aborted)
    story.attach("AJ_2")
    story.watching(8, person("dora", "PA_9", 5))
    assert counts(story) == of(1, 1, 1, 1, 0)


@pytest.mark.parametrize("came_back_as", [(), (half(sid="PA_10", joined=7),)])
@pytest.mark.parametrize("heard", ["nothing", "before", "while"])
def test_who_was_connecting_before_a_gap_and_left_in_it_may_have_taken_part(
    heard: str, came_back_as: tuple[ParticipantInfo, ...]
) -> None:
    story = Story()
    story.joined(5, half())
    if heard == "before":
        story.left(6, "dora", "PA_9", None)
    story.reconnecting(6)
    if heard == "while":
        story.left(6.5, "dora", "PA_9", None)
    story.reconnected(10, *came_back_as)
    story.tick(20)
    assert counts(story) == of(0, 0, 0, 0, 0)
    assert story.entries[-1].event == "reconnected"
    story.receive(WebhookJoinAborted(T0 + 20.1, T0 + 8, half(), "signal_close"))
    assert counts(story) == of(0, 0, 0, 0, 1)
    (new_entry,) = [one for one in story.entries if one.event == "participant_connection_aborted"]
    assert new_entry.data["reason"] == "signal_close"


def test_who_left_in_a_gap_took_part_where_the_server_says_so() -> None:
    story = Story()
    story.joined(5, half())
    story.reconnecting(6)
    story.reconnected(10)
    story.tick(20)
    story.receive(WebhookLeft(T0 + 20.1, T0 + 8, person("dora", "PA_9", 5), LEFT))
    assert counts(story) == of(0, 1, 1, 1, 0)


@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_a_webhook_of_a_join_says_that_it_became_active(when: str) -> None:
    story = Story()
    said = WebhookJoined(T0 + 6.1, T0 + 6, person("dora", "PA_9", 5))
    if when == "before":
        story.receive(said)
    story.joined(6.5, half())
    if when == "while":
        story.receive(said)
    story.left(8, "dora", "PA_9")
    if when == "after":
        story.receive(WebhookLeft(T0 + 8.1, T0 + 8, person("dora", "PA_9", 5), LEFT))
    assert counts(story) == of(0, 1, 1, 1, 0)
    assert story.view()["people_seconds"] == 3
    assert [join["active"] for join in joins(story, "dora")] == [True]


# -- kinds


def test_a_kind_belongs_to_a_join_and_one_join_of_a_person_is_enough() -> None:
    story = Story()
    story.joined(1, person("alice", "PA_1", 1, kind="ingress"))
    story.left(11, "alice", "PA_1")
    assert counts(story) == of(0, 0, 0, 0, 0)
    story.joined(20, person("alice", "PA_2", 20))
    story.left(24, "alice", "PA_2")
    story.joined(30, person("alice", "PA_3", 30, kind="ingress"))
    assert counts(story) == of(0, 1, 1, 1, 0)
    assert [join["kind"] for join in joins(story, "alice")] == ["ingress", "standard", "ingress"]
    assert story.participant("alice")["kind"] == "standard"
    assert (story.participant("alice")["seconds"], story.view()["people_seconds"]) == (4, 4)


@pytest.mark.parametrize("there", [True, False])
def test_a_recorder_was_no_person_from_the_beginning(there: bool) -> None:
    story = Story(person("alice", "PA_1", -5))
    story.joined(1, person("bot", "PA_9", 1))
    assert counts(story) == of(2, 2, 2, 2, 0)
    if not there:
        story.left(5, "bot", "PA_9")
    story.recorder(6, "bot", "PA_9")
    assert counts(story) == of(1, 1, 1, 1, 0)
    assert story.participant("bot")["kind"] == "egress"
    story.reconnecting(7)
    story.reconnected(8, person("alice", "PA_1", -5), *([person("bot", "PA_9", 1)] * there))
    story.left(9, "bot", "PA_9")
    assert counts(story) == of(1, 1, 1, 1, 0)


def test_the_peak_without_the_recorder_is_that_of_the_others() -> None:
    story = Story()
    story.joined(1, person("bot", "PA_9", 1))
    story.joined(2, person("alice", "PA_1", 2))
    story.joined(3, person("bob", "PA_2", 3))
    story.left(4, "alice", "PA_1")
    story.joined(4, person("carol", "PA_3", 4))
    assert counts(story)["peak"] == 3
    story.recorder(5, "bot", "PA_9")
    assert counts(story) == of(2, 2, 3, 3, 0)


def test_a_webhook_says_that_it_is_a_recorder_too() -> None:
    story = Story()
    story.joined(1, person("bot", "PA_9", 1))
    story.receive(WebhookJoined(T0 + 1.2, T0 + 1, person("bot", "PA_9", 1, kind="egress")))
    assert counts(story) == of(0, 0, 0, 0, 0)


# -- telephone calls


def caller(status: str, joined: float = 10, more: dict[str, str] | None = None) -> ParticipantInfo:
    attributes = {"sip.callStatus": status, "sip.callID": "SCL_1", **(more or {})}
    return person("sip_1", "PA_1", joined, kind="sip", attributes=attributes)


def test_ringing_is_not_presence_and_its_time_stands_apart() -> None:
    story = Story()
    numbers = {"sip.phoneNumber": "+49 30 1", "sip.trunkPhoneNumber": "+49 30 2"}
    story.joined(10, caller("dialing", more={**numbers, "sip.trunkID": "ST_1"}))
    assert counts(story) == of(0, 0, 0, 0, 0)
    assert story.participant("sip_1")["sip"]["ringing_seconds"] == 0
    story.tick(15)
    assert story.participant("sip_1")["sip"]["ringing_seconds"] == 5
    new_entries = story.attributes(22, "sip_1", **{"sip.callStatus": "active"})
    assert names(new_entries) == ["participant_attributes", "participant_connected"]
    assert counts(story) == of(1, 1, 1, 1, 0)
    story.attributes(40, "sip_1", **{"sip.callStatus": "hangup"})
    story.left(42, "sip_1", "PA_1")
    line = story.participant("sip_1")
    assert (line["seconds"], story.view()["people_seconds"]) == (20, 20)
    answered_at = line["sip"].pop("answered_at")
    assert clock(answered_at) == 22
    assert line["sip"] == {
        "call_id": "SCL_1",
        "status": "hangup",
        "from": "+49 30 2",
        "to": "+49 30 1",
        "trunk": "ST_1",
        "ringing_seconds": 12,
        "hangup_cause": LEFT,
    }


def test_of_a_call_from_outside_the_numbers_are_the_other_way_round() -> None:
    story = Story()
    numbers = {"sip.phoneNumber": "caller", "sip.trunkPhoneNumber": "called"}
    story.joined(10, caller("ringing", more={**numbers, "sip.ruleID": "SDR_1"}))
    call = story.participant("sip_1")["sip"]
    assert (call["from"], call["to"]) == ("caller", "called")


@pytest.mark.parametrize("reason", ["user_unavailable", "user_rejected"])
def test_a_call_that_nobody_answers_is_aborted_and_says_why(reason: str) -> None:
    story = Story()
    story.joined(10, caller("dialing"))
    story.left(30, "sip_1", "PA_1", reason)
    assert counts(story) == of(0, 0, 0, 0, 1)
    call = story.participant("sip_1")["sip"]
    assert (call["ringing_seconds"], call["answered_at"], call["hangup_cause"]) == (
        20,
        None,
        reason,
    )


def test_of_a_call_that_was_answered_before_us_the_ringing_is_not_known() -> None:
    story = Story(caller("active", joined=-60))
    assert counts(story) == of(1, 1, 1, 1, 0)
    call = story.participant("sip_1")["sip"]
    assert (call["ringing_seconds"], call["answered_at"]) == (None, None)


def test_a_call_that_comes_answered_did_not_ring() -> None:
    story = Story()
    story.joined(10, caller("active"))
    assert story.participant("sip_1")["sip"]["ringing_seconds"] == 0
    assert counts(story) == of(1, 1, 1, 1, 0)


def test_who_never_called_has_no_call() -> None:
    story = Story(person("alice", "PA_1", 0, attributes={"sip.callStatus": "ringing"}))
    assert story.participant("alice")["sip"] is None
    assert counts(story)["current"] == 1


# -- how exactly leaves are known


def within(story: Story, identity: str = "alice") -> float | None:
    return joins(story, identity)[-1]["left_within"]


def test_the_leave_of_a_publisher_is_exact_and_that_of_others_within_the_tick() -> None:
    story = Story(
        person("alice", "PA_1", -5, microphone("TR_1")),
        person("bob", "PA_2", -5),
        person("carol", "PA_3", 4),
    )
    assert within(story) is None
    story.unpublished(4, "alice", "TR_1")
    for identity, sid in (("alice", "PA_1"), ("bob", "PA_2"), ("carol", "PA_3")):
        story.left(5, identity, sid)
    assert (within(story), within(story, "bob"), within(story, "carol")) == (0, 3, 1)


def test_a_leave_in_a_gap_was_sometime_in_it() -> None:
    story = Story(person("alice", "PA_1", -5, microphone("TR_1")))
    story.reconnecting(10)
    story.reconnected(18)
    story.tick(30)
    assert (clock(joins(story, "alice")[0]["left_at"]), within(story)) == (10, 8)


def test_a_webhook_narrows_the_leave_of_somebody_silent() -> None:
    story = Story(person("alice", "PA_1", -5))
    story.left(8.9, "alice", "PA_1")
    story.receive(WebhookLeft(T0 + 20, T0 + 7, person("alice", "PA_1", -5), LEFT))
    assert (clock(joins(story, "alice")[0]["left_at"]), within(story)) == (7.5, 0.5)


def test_a_webhook_does_not_make_an_observed_leave_less_exact() -> None:
    story = Story(person("alice", "PA_1", -5, microphone("TR_1")))
    story.left(8.9, "alice", "PA_1")
    story.receive(WebhookLeft(T0 + 20, T0 + 8, person("alice", "PA_1", -5), LEFT))
    assert (clock(joins(story, "alice")[0]["left_at"]), within(story)) == (8.9, 0)


def test_a_leave_that_only_a_webhook_told_is_known_to_the_second() -> None:
    story = Story()
    story.receive(WebhookLeft(T0 + 8.25, T0 + 8, person("alice", "PA_1", 2), LEFT))
    assert (clock(joins(story, "alice")[0]["left_at"]), within(story)) == (8.25, 0.25)


def test_where_the_watch_ended_the_leave_is_not_known_and_where_the_room_ended_it_is() -> None:
    story = Story(person("alice", "PA_1", -5))
    story.ends(10, "worker_stopped")
    assert within(story) is None
    story = Story(person("alice", "PA_1", -5))
    story.ends(10, "room_deleted")
    assert within(story) == 0


def test_who_left_while_the_worker_was_ended_left_within_that_time() -> None:
    """Also who came back meanwhile, in another join."""
    people = [person(name, f"PA_{name}", -5) for name in ("alice", "bob", "carol")]
    story = Story(*people)
    story.ends(60, "worker_stopped")
    story.attach("AJ_2")
    again = person("bob", "PA_again", 80)
    story.watching(100, people[0], again)
    story.tick(120)
    assert within(story) is None  # Alice is there.
    assert [join["left_within"] for join in joins(story, "bob")] == [20.0, None]
    assert (clock(joins(story, "carol")[0]["left_at"]), within(story, "carol")) == (60, 40)


def test_a_visit_that_was_too_short_to_be_announced_took_less_than_a_tick() -> None:
    story = Story()
    story.receive(WebhookJoined(T0 + 5.1, T0 + 5, person("alice", "PA_1", 5)))
    story.receive(Tick(T0 + 10))
    assert (clock(joins(story, "alice")[0]["left_at"]), within(story)) == (5, 3)
