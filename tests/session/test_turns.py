"""Activity of each person: turns, interruptions, camera and screen, the time to the first media."""

from __future__ import annotations

from typing import Any

from actors.session import ParticipantInfo, TrackInfo, WebhookJoinAborted
from actors.session.codec import decode_state, encode_state
from actors.session.turns import Turns
from tests.session.session_story import T0, Story, camera, microphone, person

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 0, microphone("TR_2"))
AGENT = person(
    "agent-AJ_7", "PA_3", 0, microphone("TR_3"), kind="agent", name="A. Gent",
    attributes={"lk.agent_name": "receptionist"},
)  # fmt: skip


def turns(story: Story, identity: str, now: float | None = None) -> tuple[Any, Any, Any]:
    """Turns, seconds of the longest, interruptions."""
    one = story.participant(identity, now=now)
    return one["turns"], one["longest_turn"], one["interruptions"]


def test_a_pause_of_a_second_is_within_a_turn_and_a_longer_one_ends_it() -> None:
    story = Story(ALICE)
    for at, speakers in ((1, "alice"), (3, ""), (4, "alice"), (5, ""), (6.1, "alice"), (7, "")):
        story.speaking(at, *filter(None, (speakers,)))
    assert turns(story, "alice") == (2, 4.0, 0)
    assert story.participant("alice")["talk_seconds"] == 3.9


def test_a_turn_that_goes_on_counts_until_now() -> None:
    story = Story(ALICE)
    story.speaking(1, "alice")
    assert turns(story, "alice", now=31) == (1, 30.0, 0)


def test_turns_are_unknown_until_a_microphone_is_heard_and_then_none() -> None:
    story = Story(ALICE)
    assert turns(story, "alice") == (None, None, None)
    story.subscribed(1, "alice", "TR_1")
    assert turns(story, "alice") == (0, 0.0, 0)


def test_who_talks_into_anothers_turn_for_half_a_second_interrupts() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(3, "alice", "bob")
    story.speaking(3.6, "bob")
    story.speaking(5)
    assert turns(story, "bob")[2] == 1
    assert turns(story, "alice")[2] == 0


def test_a_change_of_speakers_is_no_interruption_however_the_windows_fall() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(3, "alice", "bob")
    story.speaking(3.4, "bob")
    story.speaking(6, "alice")
    story.speaking(8)
    story.speaking(10, "alice", "bob")
    story.speaking(12)
    assert (turns(story, "alice")[2], turns(story, "bob")[2]) == (0, 0)


def test_who_goes_on_after_a_pause_does_not_interrupt() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(2, "bob")
    story.speaking(2.8, "alice", "bob")
    story.speaking(5)
    assert turns(story, "alice") == (1, 4.0, 0)
    assert turns(story, "bob") == (1, 3.0, 0)


def test_an_overlap_ends_with_the_leave_of_either() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(3, "alice", "bob")
    story.left(4, "bob", "PA_2")
    assert turns(story, "bob") == (1, 1.0, 1)


def test_an_agent_neither_interrupts_nor_is_interrupted_and_its_talk_is_apart() -> None:
    story = Story(ALICE, AGENT)
    story.speaking(1, "agent-AJ_7")
    assert story.state.people_talking == 0
    story.speaking(2, "agent-AJ_7", "alice")
    story.speaking(5, "alice")
    assert story.state.people_talking == 1
    story.speaking(6, "alice", "agent-AJ_7")
    assert story.state.people_talking == 1
    story.speaking(9)
    assert turns(story, "alice") == (1, 7.0, 0)
    assert turns(story, "agent-AJ_7") == (1, 8.0, 0)
    assert story.view()["talk"]["by_identity"] == {"alice": 7.0}
    assert story.participant("agent-AJ_7")["talk_seconds"] == 7.0


def test_an_agent_has_the_name_under_which_it_was_dispatched() -> None:
    story = Story(
        AGENT, person("a2", "PA_4", 0, kind="agent", name="Helper"), person("carol", "PA_5", 0)
    )
    assert story.participant("agent-AJ_7")["agent"]["name"] == "receptionist"
    assert story.participant("a2")["agent"]["name"] == "Helper"
    assert story.participant("carol")["agent"] is None


def test_camera_and_screen_count_while_they_are_published_and_not_muted() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.published(2, "alice", camera("TR_1"))
    story.muted(5, "alice", "TR_1")
    story.unmuted(7, "alice", "TR_1")
    story.published(8, "alice", TrackInfo("TR_2", "video", "screen", muted=False))
    story.published(8, "alice", TrackInfo("TR_3", "audio", "screen_audio", muted=False))
    story.unpublished(10, "alice", "TR_1")
    alice = story.participant("alice", now=12)
    assert (alice["camera_seconds"], alice["screen_seconds"]) == (6.0, 4.0)


def test_a_camera_that_was_there_before_us_counts_from_our_entry() -> None:
    story = Story(person("alice", "PA_1", -100, camera("TR_1")))
    alice = story.participant("alice", now=10)
    assert (alice["camera_seconds"], alice["first_media_after"]) == (10.0, None)


def test_the_time_to_the_first_media_is_that_of_the_join_in_which_it_came() -> None:
    story = Story()
    story.joined(1, person("alice", "PA_1", 1))
    assert story.participant("alice")["first_media_after"] is None
    story.left(3, "alice", "PA_1")
    story.joined(20, person("alice", "PA_2", 20))
    story.published(20.4, "alice", camera("TR_1"))
    story.published(25, "alice", microphone("TR_2"))
    assert story.participant("alice")["first_media_after"] == 0.4


def test_a_session_has_the_median_time_to_the_first_media() -> None:
    story = Story()
    assert story.view()["first_media_after"] is None
    for number, after in enumerate((0.5, 3.0, 1.0)):
        story.joined(10 * number, person(f"p{number}", f"PA_{number}", 10 * number))
        story.published(10 * number + after, f"p{number}", camera(f"TR_{number}"))
    story.joined(40, person("silent", "PA_9", 40))
    assert story.view()["first_media_after"] == 1.0


def failed(identity: str, sid: str, at: float) -> ParticipantInfo:
    return person(identity, sid, at, active=False)


def test_failed_joins_are_counted_by_their_reason() -> None:
    story = Story()
    for number, reason in enumerate(("join_failure", "signal_close", "join_failure", None)):
        who = failed("dora", f"PA_{number}", number)
        story.receive(WebhookJoinAborted(T0 + number + 1, T0 + number + 1, who, reason))
    people = story.view()["people"]
    assert people["aborted"] == 4
    assert people["aborted_by_reason"] == {"join_failure": 2, "signal_close": 1, "unknown": 1}


def test_a_stored_state_goes_on_with_its_turns() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(3, "alice", "bob")
    story.state = decode_state(encode_state(story.state))
    assert story.state.present["bob"].turns == Turns(1, T0 + 3, overlap_since=T0 + 3)
    story.speaking(6)
    assert turns(story, "bob") == (1, 3.0, 1)
