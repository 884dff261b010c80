"""One monitor as a function of the session's states: what it notes, and when."""

from __future__ import annotations

from math import inf
from typing import Any

from actors.monitoring.monitor_notes import LogNote, MonitorEnd, Note, PersonMessage
from actors.monitoring.monitor_state import Monitor, MonitorSettings, QualityChange
from actors.monitoring.monitoring_request import MonitoringRequest, parse_request
from actors.monitoring.participant_monitor import (
    LONG_SESSION,
    MOST_CHANGES,
    ROOM_TIMEOUT,
    SPEECH_DELAY,
    Observation,
    check,
    next_deadline,
    observe,
    pass_time,
    terminate,
)
from actors.monitoring.video_watch import with_frames
from tests.session.session_story import T0, Story, camera, microphone, person

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 0)
CONNECTED = ("monitored_connected", {})


class Watched:
    """A monitor of alice beside a session, and everything that it noted."""

    def __init__(
        self,
        story: Story,
        request: MonitoringRequest | None = None,
        settings: MonitorSettings | None = None,
        sid: str = "PA_1",
    ) -> None:
        self.story = story
        self.monitor = Monitor(
            "room", "alice", sid, request or MonitoringRequest(), settings or MonitorSettings(), T0
        )
        self.notes: list[Note] = []

    def take(self, observation: Observation) -> list[Note]:
        self.monitor, notes = observation
        self.notes += notes
        return list(notes)

    def look(self, at: float) -> list[Note]:
        return self.take(observe(self.monitor, self.story.state, T0 + at))

    def wait(self, at: float) -> list[Note]:
        return self.take(pass_time(self.monitor, T0 + at))

    def check(self, at: float) -> list[Note]:
        return self.take(check(self.monitor, T0 + at))

    @property
    def due(self) -> float:
        return round(next_deadline(self.monitor) - T0, 3)


def logged(notes: list[Note]) -> list[tuple[str, dict[str, Any]]]:
    return [(note.event, dict(note.fields)) for note in notes if isinstance(note, LogNote)]


def events(notes: list[Note]) -> list[str]:
    return [event for event, _ in logged(notes)]


def sent(notes: list[Note]) -> list[tuple[str, dict[str, Any]]]:
    return [(note.to, dict(note.payload)) for note in notes if isinstance(note, PersonMessage)]


def ends(notes: list[Note]) -> list[MonitorEnd]:
    return [note for note in notes if isinstance(note, MonitorEnd)]


# -- who is there


def test_somebody_who_is_there_is_connected_at_once_with_their_tracks() -> None:
    watched = Watched(Story(ALICE))
    assert logged(watched.look(0)) == [
        CONNECTED,
        ("monitored_track_published", {"sid": "TR_1", "kind": "audio"}),
        ("monitored_audio_started", {}),
    ]
    assert watched.look(1) == []


def test_somebody_who_comes_later_is_waited_for_until_the_inactivity_timeout() -> None:
    watched = Watched(Story(BOB))
    assert watched.look(0) == []
    assert watched.due == 300.0
    (end,) = ends(watched.wait(300))
    assert end.error == "the participant did not come within 300 s"
    assert watched.due == inf


def test_a_join_that_is_not_active_is_nobody_yet() -> None:
    story = Story(person("alice", "PA_1", 0, active=False))
    watched = Watched(story)
    assert watched.look(0) == []
    story.active(2, "alice", "PA_1")
    assert logged(watched.look(2)) == [CONNECTED]


def test_a_room_that_is_not_watched_fails_the_job() -> None:
    watched = Watched(Story())
    assert watched.due == ROOM_TIMEOUT
    (end,) = ends(watched.wait(30))
    assert end.error is not None
    assert "not watched" in end.error


def test_a_session_of_before_is_waited_for_until_the_room_is_watched_again() -> None:
    story = Story(ALICE)
    story.disconnected(5)
    unwatched = Watched(story)
    assert unwatched.look(6) == []
    story.ends(8, "worker_stopped")
    ended = Watched(story)
    assert ended.look(9) == []
    assert (unwatched.due, ended.due) == (ROOM_TIMEOUT, ROOM_TIMEOUT)


def test_a_room_that_was_seen_to_end_is_no_room_to_wait_for() -> None:
    story = Story(ALICE)
    story.disconnected(5, "room_closed")
    story.ends(5, "room_closed")
    assert [end.reason for end in ends(Watched(story).look(6))] == ["the session ended"]


def test_a_leave_is_waited_out_and_the_return_goes_on_with_the_same_numbers() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.left(10, "alice", "PA_1")
    assert logged(watched.look(10)) == [("monitored_disconnected", {})]
    assert watched.due == 310.0
    story.joined(20, person("alice", "PA_9", 20))
    assert logged(watched.look(20)) == [CONNECTED]
    assert watched.monitor.duration(T0 + 25) == 15.0
    assert watched.monitor.tracks_total == 1


def test_without_a_return_the_monitor_ends_well() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.left(10, "alice", "PA_1")
    watched.look(10)
    (end,) = ends(watched.wait(310))
    assert (end.reason, end.error) == ("the participant did not come back", None)


def test_end_on_disconnect_ends_with_the_leave_and_is_about_the_join_of_the_job_only() -> None:
    story = Story(ALICE)
    first = Watched(story, parse_request('{"end_on_disconnect": true}'))
    later = Watched(story, parse_request('{"end_on_disconnect": true}'), sid="PA_9")
    assert events(first.look(0))[0] == "monitored_connected"
    assert later.look(0) == [], "its join is announced later than its job came"
    story.left(10, "alice", "PA_1")
    assert [end.error for end in ends(first.look(10))] == [None]
    story.joined(11, person("alice", "PA_9", 11))
    assert logged(later.look(11)) == [CONNECTED]


def test_the_end_of_the_session_is_the_end_of_the_monitor() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.ends(30)
    assert [end.reason for end in ends(watched.look(30))] == ["the session ended"]
    assert watched.monitor.duration(T0 + 99) == 30.0
    assert watched.look(31) == []


def test_a_deleted_dispatch_ends_it_once() -> None:
    watched = Watched(Story(ALICE))
    watched.look(0)
    assert len(ends(watched.take(terminate(watched.monitor, T0 + 5)))) == 1
    assert watched.take(terminate(watched.monitor, T0 + 6)) == []


# -- speech


def test_speech_is_dated_back_and_ends_after_a_second_without_it() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.speaking(5, "alice")
    assert logged(watched.look(5)) == [("monitored_speaking", {"since": T0 + 5 - SPEECH_DELAY})]
    story.speaking(8)
    assert watched.look(8) == []
    assert watched.due == 9.0
    (note,) = logged(watched.wait(9))
    assert note == ("monitored_silent", {"since": T0 + 8 - SPEECH_DELAY, "seconds": 3.0})
    assert watched.monitor.speaking_total(T0 + 99) == 3.0


def test_a_short_pause_is_within_the_speech() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    for at, speakers in ((5.0, ("alice",)), (8.0, ()), (8.9, ("alice",)), (10.0, ())):
        story.speaking(at, *speakers)
        watched.look(at)
    watched.wait(11)
    assert events(watched.notes).count("monitored_speaking") == 1
    assert watched.monitor.speaking_total(T0 + 11) == 5.0


def test_the_speech_of_somebody_who_leaves_is_counted_until_then() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.speaking(5, "alice")
    watched.look(5)
    story.left(8, "alice", "PA_1")
    assert events(watched.look(8)) == ["monitored_silent", "monitored_disconnected"]
    assert round(watched.monitor.speaking_seconds, 3) == 3.6


def spoken(settings: MonitorSettings, metadata: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The messages to people from the arrival of alice to the end of her speech."""
    story = Story(ALICE, BOB)
    watched = Watched(story, parse_request(metadata), settings)
    watched.look(0)
    story.speaking(5, "alice")
    watched.look(5)
    story.speaking(8)
    watched.look(8)
    watched.wait(9)
    return sent(watched.notes)


def test_people_get_no_message_unless_they_may_be_notified() -> None:
    assert spoken(MonitorSettings()) == []


def test_the_person_is_welcomed_and_the_others_get_a_message_of_each_speech() -> None:
    (to, hello), *alerts = spoken(MonitorSettings(notify_people=True))
    assert (to, hello["type"], hello["action"]) == ("person", "participant_monitoring", "welcome")
    assert hello["message"].startswith("Hello alice!")
    assert hello["features"] == ["connection_quality", "speaking_detection", "activity_tracking"]
    speaking = {"type": "speaking_detection", "participant": "alice"}
    assert alerts == [
        ("others", {**speaking, "speaking": True, "timestamp": int(T0 + 4.4)}),
        ("others", {**speaking, "speaking": False, "timestamp": int(T0 + 7.4)}),
    ]


def test_speaking_alerts_can_be_declined() -> None:
    declined = '{"notification_preferences": {"speaking_alerts": false}}'
    messages = spoken(MonitorSettings(notify_people=True), declined)
    assert [payload["type"] for _, payload in messages] == ["participant_monitoring"]


def test_the_welcome_comes_once_also_after_a_return() -> None:
    story = Story(ALICE)
    watched = Watched(story, settings=MonitorSettings(notify_people=True))
    watched.look(0)
    story.left(10, "alice", "PA_1")
    watched.look(10)
    story.joined(20, person("alice", "PA_9", 20))
    watched.look(20)
    assert len(sent(watched.notes)) == 1


# -- quality


def test_a_quality_below_the_threshold_is_warned_of_and_again_at_each_check() -> None:
    story = Story(ALICE)
    watched = Watched(story, settings=MonitorSettings(notify_people=True))
    watched.look(0)
    story.quality(5, "alice", "PA_1", "good")
    assert watched.look(5) == []
    story.quality(6, "alice", "PA_1", "poor")
    notes = watched.look(6)
    assert logged(notes) == [("monitored_quality_poor", {"quality": "poor"})]
    assert sent(notes) == [
        ("person", {"type": "connection_quality", "quality": "poor", "timestamp": int(T0 + 6)})
    ]
    assert events(watched.check(30)) == events(watched.check(60)) == ["monitored_quality_poor"]
    story.quality(61, "alice", "PA_1", "lost")
    assert watched.look(61) == []
    story.quality(70, "alice", "PA_1", "excellent")
    assert events(watched.look(70)) == ["monitored_quality_recovered"]
    assert watched.check(90) == []
    assert watched.monitor.changes[0] == QualityChange(None, "good", T0 + 5, "reported")
    assert watched.monitor.quality_changes == 4


def test_the_threshold_of_a_job_is_stronger_than_that_of_the_settings() -> None:
    story = Story(ALICE)
    request = parse_request('{"custom_settings": {"quality_threshold": 0.9}}')
    watched = Watched(story, request)
    watched.look(0)
    story.quality(5, "alice", "PA_1", "good")
    assert events(watched.look(5)) == ["monitored_quality_poor"]


def test_of_many_changes_of_the_quality_the_newest_are_remembered() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    for number in range(60):
        story.quality(1 + number, "alice", "PA_1", "good" if number % 2 else "excellent")
        watched.look(1 + number)
    assert len(watched.monitor.changes) == MOST_CHANGES
    assert watched.monitor.quality_changes == 60


# -- activity


def test_who_does_nothing_is_inactive_once_and_active_again_with_a_message() -> None:
    story = Story(ALICE)
    watched = Watched(story, settings=MonitorSettings(inactivity_timeout=60))
    watched.look(0)
    assert watched.due == 60.0
    assert logged(watched.wait(60)) == [("monitored_inactive", {"seconds": 60.0})]
    assert watched.due == inf
    story.data(70, "alice")
    assert logged(watched.look(70)) == [("monitored_active_again", {"seconds": 70.0})]
    assert watched.due == 130.0


def test_speech_tracks_mutes_names_and_metadata_are_activity() -> None:
    story = Story(ALICE)
    watched = Watched(story, settings=MonitorSettings(inactivity_timeout=60))
    watched.look(0)
    story.muted(10, "alice", "TR_1")
    watched.look(10)
    assert watched.due == 70.0
    story.published(20, "alice", camera("TR_2"))
    watched.look(20)
    assert watched.due == 80.0
    story.metadata(30, "alice", "{}")
    watched.look(30)
    assert watched.due == 90.0
    story.speaking(40, "alice")
    watched.look(40)
    assert watched.due == inf, "who speaks is active for as long as that"
    story.speaking(100)
    watched.look(100)
    watched.wait(101)
    assert watched.due == 160.0
    story.quality(110, "alice", "PA_1", "good")
    watched.look(110)
    assert watched.due == 160.0, "a quality is nothing that they do"


def test_without_activity_tracking_nobody_is_inactive() -> None:
    request = MonitoringRequest(features=frozenset({"connection_quality"}))
    watched = Watched(Story(ALICE), request)
    watched.look(0)
    assert watched.due == inf


def test_a_session_of_more_than_four_hours_is_noted_once() -> None:
    watched = Watched(Story(ALICE))
    watched.look(0)
    assert watched.check(LONG_SESSION) == []
    assert events(watched.check(LONG_SESSION + 1)) == ["monitored_long_session"]
    assert watched.check(LONG_SESSION + 31) == []


def test_a_track_that_ends_is_noted_and_does_not_count_again() -> None:
    story = Story(ALICE)
    watched = Watched(story)
    watched.look(0)
    story.unpublished(5, "alice", "TR_1")
    assert logged(watched.look(5)) == [("monitored_track_unpublished", {"sid": "TR_1"})]
    assert (watched.monitor.tracks, watched.monitor.tracks_total) == (frozenset(), 1)


# -- video


class Filmed(Watched):
    """A monitor of alice, who has a camera from the start."""

    def __init__(self) -> None:
        super().__init__(Story(person("alice", "PA_1", 0, camera("TR_1"))))
        self.look(0)

    def measure(self, at: float, **frames: int) -> list[tuple[str, dict[str, Any]]]:
        return logged(self.take(with_frames(self.monitor, frames, T0 + at)))


def test_a_video_that_moves_has_a_rate_at_each_check() -> None:
    filmed = Filmed()
    for number in range(4):
        assert filmed.measure(5.0 * number, TR_1=100 * number) == []
    assert logged(filmed.check(30)) == [("monitored_video_rate", {"fps": 20.0})]
    assert filmed.monitor.frames_total == 300


def test_a_video_that_stands_still_for_more_than_ten_seconds_is_warned_of_until_it_moves() -> None:
    filmed = Filmed()
    filmed.measure(0, TR_1=10)
    assert filmed.measure(5, TR_1=10) == filmed.measure(10, TR_1=10) == []
    assert filmed.measure(15, TR_1=10) == [("monitored_video_still", {"seconds": 15.0})]
    assert filmed.measure(20, TR_1=10) == []
    assert logged(filmed.check(30)) == [("monitored_video_still", {"seconds": 30.0})]
    assert filmed.measure(35, TR_1=40) == [("monitored_video_moves", {"seconds": 35.0})]
    assert filmed.monitor.watched_videos["TR_1"].still is False


def test_a_camera_that_never_sends_anything_stands_still() -> None:
    filmed = Filmed()
    for at in (0, 5, 10):
        assert filmed.measure(at, TR_1=0) == []
    assert filmed.measure(15, TR_1=0) == [("monitored_video_still", {"seconds": 15.0})]


def test_what_was_not_measured_and_a_new_subscription_are_no_stillness() -> None:
    filmed = Filmed()
    filmed.measure(0, TR_1=1000)
    for at in (5, 10, 15, 20):
        assert filmed.measure(at) == []
    assert filmed.measure(25, TR_1=3) == []
    assert filmed.measure(30, TR_1=103) == []
    assert filmed.monitor.watched_videos["TR_1"].fps == 20.0


def test_a_muted_camera_is_not_measured() -> None:
    filmed = Filmed()
    filmed.measure(0, TR_1=10)
    filmed.story.muted(2, "alice", "TR_1")
    filmed.look(2)
    assert filmed.monitor.videos == frozenset()
    assert filmed.measure(20, TR_1=10) == []
    filmed.story.unmuted(21, "alice", "TR_1")
    filmed.look(21)
    assert filmed.measure(22, TR_1=10) == []
    assert filmed.monitor.videos == {"TR_1"}


def test_without_video_activity_no_video_is_measured() -> None:
    request = parse_request('{"monitoring_type": "basic"}')
    watched = Watched(Story(person("alice", "PA_1", 0, camera("TR_1"))), request)
    watched.look(0)
    assert watched.monitor.videos == frozenset()
