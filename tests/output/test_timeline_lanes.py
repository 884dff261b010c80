"""A session as lanes: what its timeline tells, person by person."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.session import ParticipantInfo, RoomEvent, SessionView, TracksMeasured
from actors.session.track_stats import TrackWindow
from bridge.output.timeline_lanes import Spans, TimelineLane, gaps, lanes, length, starts_late
from tests.session.session_story import T0, Story, camera, microphone, person
from tests.session.strategies import any_event, quick

ALICE = person("alice", "PA_1", 0.0, microphone("TR_1"), name="Alice")


def lane_of(session: SessionView, identity: str) -> TimelineLane:
    (found,) = [lane for lane in lanes(session) if lane.identity == identity]
    return found


def pairs(spans: Spans) -> list[tuple[float, float]]:
    return [(span.start, span.end) for span in spans]


def seconds(spans: Spans) -> float:
    return round(sum(span.end - span.start for span in spans), 3)


def full_story() -> Story:
    story = Story(ALICE)
    story.subscribed(0.0, "alice", "TR_1")
    story.quality(1.0, "alice", "PA_1", "excellent")
    story.joined(2.0, person("bob", "PA_2", 2.0))
    story.published(3.0, "bob", camera("TR_2"))
    story.speaking(4.0, "alice")
    story.data(5.0, "bob", "chat")
    story.quality(6.0, "alice", "PA_1", "poor")
    story.speaking(7.0)
    story.muted(8.0, "alice", "TR_1")
    story.speaking(9.0, "bob")
    story.unmuted(10.0, "alice", "TR_1")
    story.unpublished(11.0, "bob", "TR_2")
    story.left(12.0, "bob", "PA_2")
    story.data(13.0, "alice")
    story.ends(20.0)
    return story


def test_everything_somebody_did_is_in_their_lane() -> None:
    session = full_story().session()
    assert length(session) == 20.0
    alice, bob = lanes(session)
    assert (alice.identity, alice.name, alice.kind, alice.seconds) == (
        "alice", "Alice", "standard", 20.0,
    )  # fmt: skip
    assert pairs(alice.present) == [(0.0, 20.0)]
    assert pairs(alice.published["microphone"]) == [(0.0, 20.0)]
    assert pairs(alice.muted["microphone"]) == [(8.0, 10.0)]
    assert pairs(alice.talk) == [(4.0, 7.0)]
    assert pairs(alice.quality["excellent"]) == [(1.0, 6.0)]
    assert pairs(alice.quality["poor"]) == [(6.0, 20.0)]
    assert alice.data == (13.0,)
    assert pairs(bob.present) == [(2.0, 12.0)]
    assert pairs(bob.published["camera"]) == [(3.0, 11.0)]
    assert (bob.data, bob.quality) == ((5.0,), {})
    assert pairs(bob.talk) == [(9.0, 12.0)], "they are silent once they left"


def test_lanes_add_up_to_the_numbers_of_the_session() -> None:
    session = full_story().session()
    for one, lane in zip(session.participants, lanes(session), strict=True):
        assert seconds(lane.present) == one.seconds
        assert seconds(lane.talk) == (one.talk_seconds or 0.0)
        assert len(lane.data) == one.data_messages
        for level, with_quality in one.quality.seconds().items():
            assert seconds(lane.quality.get(level, ())) == (with_quality or 0.0)
    muted = [track.muted_seconds for track in session.tracks]
    assert muted == [seconds(lanes(session)[0].muted["microphone"]), 0.0]


def measure(story: Story, at: float, lost: int) -> None:
    window = TrackWindow("TR_1", 2.0, 100 - lost, lost, 4000, 0.003, 96_000, 0, codec="audio/opus")
    story.receive(TracksMeasured(T0 + at, (window,)))


def test_measured_audio_is_a_line_of_levels() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0.0, microphone("TR_2")))
    for at in (1, 2, 3):
        measure(story, at, lost=0)
    for at in (4, 5, 6, 7):
        measure(story, at, lost=20)
    story.unpublished(9, "alice", "TR_1")
    story.ends(12)
    session = story.session()
    alice, bob = lanes(session)
    assert {level: pairs(spans) for level, spans in alice.audio.items()} == {
        "clear": [(3.0, 4.0)],
        "impaired": [(4.0, 5.0)],
        "poor": [(5.0, 9.0)],
    }
    assert alice.audio_text == "loss 11.4 %, concealment 0.0 %, jitter 3 ms, MOS 2.0"
    assert (bob.audio, bob.audio_text) == ({}, "")
    later = lane_of(replace(session, timeline=None), "alice")
    assert {level: pairs(spans) for level, spans in later.audio.items()} == {
        "measured": [(0.0, 9.0)]
    }


def test_what_is_open_in_a_live_session_goes_on_until_now() -> None:
    story = Story(ALICE)
    story.speaking(4.0, "alice")
    story.muted(8.0, "alice", "TR_1")
    (alice,) = lanes(story.session(10.0))
    assert pairs(alice.present) == [(0.0, 10.0)]
    assert pairs(alice.talk) == [(4.0, 10.0)]
    assert pairs(alice.muted["microphone"]) == [(8.0, 10.0)]


def test_who_came_before_us_is_there_from_the_start_on() -> None:
    story = Story(person("alice", "PA_1", -60.0, microphone("TR_1", muted=True)))
    (alice,) = lanes(story.session(10.0))
    assert alice.seconds == 70.0
    assert pairs(alice.present) == [(0.0, 10.0)]
    assert pairs(alice.muted["microphone"]) == [(0.0, 10.0)]


def test_a_rejoin_is_two_stays_in_one_lane() -> None:
    story = Story(ALICE)
    story.left(5.0, "alice", "PA_1")
    story.joined(30.0, person("alice", "PA_9", 30.0))
    (alice,) = lanes(story.session(40.0))
    assert pairs(alice.present) == [(0.0, 5.0), (30.0, 40.0)]
    assert pairs(alice.published["microphone"]) == [(0.0, 5.0)]


def test_a_call_is_present_once_it_was_answered_and_its_ringing_is_not_drawn() -> None:
    def caller(sid: str, joined: float) -> ParticipantInfo:
        ringing = {"sip.callStatus": "ringing"}
        return person("phone", sid, joined, kind="sip", attributes=ringing)

    story = Story()
    for calls, (sid, begins) in enumerate((("PA_1", 2.0), ("PA_2", 32.0))):
        story.joined(begins, caller(sid, begins))
        assert len(lane_of(story.session(begins + 1), "phone").present) == calls
        story.attributes(begins + 6, "phone", **{"sip.callStatus": "active"})
        story.left(begins + 10, "phone", sid)
    story.joined(50.0, caller("PA_3", 50.0))
    story.ends(60.0)
    phone = lane_of(story.session(), "phone")
    assert pairs(phone.present) == [(8.0, 12.0), (38.0, 42.0)]
    assert phone.seconds == seconds(phone.present)
    without = replace(story.session(), timeline=None)
    assert pairs(lane_of(without, "phone").present)[-1][1] == 42.0, "the ends need no timeline"


def test_of_a_call_whose_timeline_is_not_kept_the_newest_answer_is_known() -> None:
    story = Story()
    ringing = {"sip.callStatus": "dialing"}
    story.joined(2.0, person("phone", "PA_1", 2.0, kind="sip", attributes=ringing))
    story.attributes(8.0, "phone", **{"sip.callStatus": "active"})
    phone = lane_of(replace(story.session(20.0), timeline=None), "phone")
    assert pairs(phone.present) == [(8.0, 20.0)]


def test_in_a_gap_nobody_is_heard_but_everybody_stays() -> None:
    story = Story(ALICE)
    story.speaking(2.0, "alice")
    story.quality(3.0, "alice", "PA_1", "good")
    story.reconnecting(5.0)
    assert pairs(gaps(story.session(7.0))) == [(5.0, 7.0)]
    story.reconnected(9.0, ALICE)
    session = story.session(20.0)
    assert pairs(gaps(session)) == [(5.0, 9.0)]
    (alice,) = lanes(session)
    assert pairs(alice.present) == [(0.0, 20.0)]
    assert pairs(alice.talk) == [(2.0, 5.0)]
    assert pairs(alice.quality["good"]) == [(3.0, 20.0)], "as the session counts it"
    assert session.participants[0].quality.good == 17.0


def test_a_worker_that_was_away_leaves_a_gap() -> None:
    story = Story(ALICE)
    story.quality(3.0, "alice", "PA_1", "good")
    story.ends(10.0, "worker_stopped")
    story.attach("AJ_2")
    story.watching(30.0, ALICE)
    story.quality(35.0, "alice", "PA_1", "good")
    session = story.session(40.0)
    assert pairs(gaps(session)) == [(10.0, 30.0)]
    assert pairs(lanes(session)[0].quality["good"]) == [(3.0, 10.0), (35.0, 40.0)]


def test_what_ended_unseen_was_not_watched_at_its_end() -> None:
    story = Story(ALICE)
    story.data(10.0, "alice")
    story.ends(60.0, "found_ended")
    assert pairs(gaps(story.session())) == [(10.0, 60.0)]


def test_without_its_timeline_a_session_still_has_people_and_tracks() -> None:
    session = full_story().session()
    assert not starts_late(session)
    pruned = replace(session, timeline=None)
    assert starts_late(pruned)
    assert gaps(pruned) == ()
    assert pairs(lane_of(pruned, "bob").published["camera"]) == [(3.0, 11.0)]
    assert lane_of(pruned, "alice").talk == ()
    assert starts_late(replace(session, timeline=tuple(session.timeline or ())[5:]))


@quick
@given(st.lists(any_event, max_size=20), st.booleans(), st.booleans())
def test_whatever_was_told_lanes_are_in_order_and_within_the_session(
    events: list[RoomEvent], in_order: bool, ended: bool
) -> None:
    story = Story(ALICE)
    for event in sorted(events, key=lambda event: event.at) if in_order else events:
        story.receive(event)
    if ended:
        story.ends(70.0)
    session = story.session(80.0)
    found = [gaps(session)]
    for lane in lanes(session):
        found += [lane.present, lane.talk]
        found += [*lane.published.values(), *lane.muted.values(), *lane.quality.values()]
    for spans in found:
        assert all(0.0 <= span.start < span.end <= length(session) for span in spans)
        assert all(one.end < other.start for one, other in pairwise(spans))
