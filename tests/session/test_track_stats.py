"""What was measured of tracks: sums of windows, the score, the level of the sound, the JSON."""

from __future__ import annotations

from math import inf, nan

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.session import RoomEvent, TracksMeasured, apply
from actors.session.codec import decode_record, decode_state, encode_record, encode_state
from actors.session.measurement import poor_microphones, stats_of
from actors.session.opinion_score import opinion_score
from actors.session.track_stats import TrackStats, TrackWindow
from tests.session.session_story import T0, Story, camera, microphone, person
from tests.session.strategies import any_event, quick, track_windows
from tests.session.test_properties import started

SECONDS = 1.7


def sound(
    sid: str = "TR_1", lost: int = 0, *, packets: int = 100, concealed: int = 0
) -> TrackWindow:
    """A window of a microphone, of which 100 packets should have come."""
    return TrackWindow(
        sid, SECONDS, packets - lost, lost, (packets - lost) * 40, 0.01, 80_000, concealed,
        codec="audio/red",
    )  # fmt: skip


def story() -> Story:
    return Story(
        person("alice", "PA_1", 0.0, microphone("TR_1"), camera("TR_2")),
        person("bob", "PA_2", 0.0, microphone("TR_3")),
    )


def measure(one: Story, at: float, *windows: TrackWindow) -> list[tuple[str, str]]:
    """The levels that were entered: identity and sound."""
    entries = one.receive(TracksMeasured(T0 + at, windows))
    assert {entry.event for entry in entries} <= {"audio_changed"}
    return [(entry.data["identity"], entry.data["audio"]) for entry in entries]


@pytest.mark.parametrize(
    "loss, codec, score",
    [
        # R = 100 - percent x weight, MOS = 1 + 0.035 R + 0.000007 R (R - 60) (100 - R)
        (0.0, "audio/red", 4.5),
        (0.075, "audio/red", 4.02),  # R = 80: LiveKit's level is EXCELLENT until here
        (0.10, "audio/red", 3.75),
        (0.10, "audio/opus", 2.40),
        (0.10, "video/VP8", 1.0),
        (0.225, "audio/red", 2.06),
        (1.0, "audio/opus", 1.0),
    ],
)
def test_the_score_is_the_formula_of_livekits_own(loss: float, codec: str, score: float) -> None:
    assert opinion_score(loss, 0.0, codec) == pytest.approx(score, abs=0.005)


def test_the_score_hears_jitter() -> None:
    clean, some, much = (opinion_score(0.0, jitter, "audio/red") for jitter in (0.0, 0.03, 0.2))
    assert clean > some > much
    assert clean - some < 0.1


def test_what_nobody_measured_is_null_and_takes_no_byte() -> None:
    one = story()
    assert [track["stats"] for track in one.view()["tracks"]] == [None] * 3
    assert b"track_stats" not in encode_state(one.state)


def test_windows_add_up() -> None:
    one = story()
    measure(one, 10, sound(lost=5, concealed=800), sound("TR_3"))
    measure(one, 40, sound(lost=0, concealed=0))
    tracks = {track["sid"]: track["stats"] for track in one.view()["tracks"]}
    assert tracks["TR_1"] == {
        "measured_seconds": 3.4,
        "packets": 195,
        "packets_lost": 5,
        "loss": 0.025,
        "jitter": 0.01,
        "jitter_max": 0.01,
        "concealment": 0.005,
        "bitrate": round(8 * 195 * 40 / 3.4, 1),
        "mos": round(opinion_score(0.025, 0.01, "audio/red"), 2),
        "audio": None,
        "codec": "audio/red",
        "frames_per_second": None,
        "width": None,
        "height": None,
        "freezes": None,
    }
    assert tracks["TR_2"] is None
    assert tracks["TR_3"]["loss"] == 0.0


def test_a_video_has_pictures_and_no_sound() -> None:
    one = story()
    video = TrackWindow(
        "TR_2", 10.0, 300, 0, 90_000, 0.004, 0, 0, 200, 640, 360, 1, codec="video/VP8"
    )
    measure(one, 10, video)
    last = TrackWindow("TR_2", 10.0, 100, 0, 30_000, 0.004, 0, 0, 100, 8, 8, 0, codec="video/VP8")
    measure(one, 20, last)
    stats = one.view()["tracks"][1]["stats"]
    assert (stats["frames_per_second"], stats["width"], stats["height"]) == (15.0, 640, 360)
    assert (stats["freezes"], stats["bitrate"], stats["mos"]) == (1, 48_000.0, 4.5)
    assert (stats["concealment"], stats["audio"]) == (None, None)


def test_the_level_of_the_sound_follows_the_last_windows_and_is_entered_when_it_changes() -> None:
    one = story()
    levels = [measure(one, 30.0 * n, sound()) for n in range(4)]
    assert levels == [[], [], [("alice", "clear")], []]
    levels = [measure(one, 200 + 30.0 * n, sound(lost=12, concealed=2700)) for n in range(6)]
    assert [level for entered in levels for level in entered] == [
        ("alice", "impaired"),
        ("alice", "poor"),
    ]
    assert poor_microphones(one.state) == {"alice"}
    levels = [measure(one, 500 + 30.0 * n, sound()) for n in range(6)]
    assert [level for entered in levels for level in entered][-1] == ("alice", "clear")
    assert poor_microphones(one.state) == frozenset()


def test_loss_that_is_repaired_is_not_heard_and_made_up_sound_is() -> None:
    one = story()
    for n in range(6):
        measure(one, 30.0 * n, sound(lost=3), sound("TR_3", concealed=2000))
    repaired = stats_of(one.state, "TR_1")
    assert repaired is not None
    assert repaired.audio == "clear"
    assert poor_microphones(one.state) == {"bob"}


def test_a_track_that_ended_keeps_its_stats_and_has_no_poor_sound_now() -> None:
    one = story()
    for n in range(4):
        measure(one, n, sound("TR_3", lost=30))
    one.left(10, "bob", "PA_2", "client_initiated")
    assert not measure(one, 11, sound("TR_3", lost=30))
    assert one.view()["tracks"][2]["stats"]["packets_lost"] == 150
    assert poor_microphones(one.state) == frozenset()


def test_a_window_of_an_unknown_track_changes_nothing() -> None:
    one = story()
    before = one.state
    measure(one, 0, sound("TR_9"))
    assert one.state.track_stats is None
    assert one.state.anomalies == before.anomalies


def test_counters_that_cannot_be_do_no_harm() -> None:
    wrong = TrackWindow("TR_1", nan, -3, -4, -5, inf, 10, 50, -1, -1, -1, -1, "x" * 500)
    stats = TrackStats().add(wrong)
    assert (stats.seconds, stats.packets, stats.lost, stats.jitter_max) == (0.0, 0, 0, 0.0)
    assert (stats.concealment, stats.loss, stats.score) == (1.0, None, None)
    assert len(stats.codec) == 32


@quick
@given(st.lists(track_windows, max_size=12))
def test_sums_never_shrink_and_shares_are_shares(windows: list[TrackWindow]) -> None:
    stats = TrackStats()
    for window in windows:
        after = stats.add(window)
        for name in ("windows", "seconds", "packets", "lost", "bytes", "samples", "concealed"):
            assert getattr(after, name) >= getattr(stats, name)
        stats = after
        assert stats.loss is None or 0.0 <= stats.loss <= 1.0
        assert stats.concealment is None or 0.0 <= stats.concealment <= 1.0
        assert stats.score is None or 1.0 <= stats.score <= 4.5


def test_a_record_of_windows_is_small_and_a_later_field_has_its_default() -> None:
    event = TracksMeasured(T0, (sound(lost=3, concealed=100),))
    tag, body = encode_record(event)
    assert decode_record(tag, body) == event
    more = encode_record(TracksMeasured(T0, (event.windows[0], event.windows[0])))[1]
    assert len(more) - len(body) < 64
    short = msgspec.msgpack.encode({"at": T0, "windows": [["TR_1", 1.0, 5]]})
    assert decode_record(tag, short) == TracksMeasured(T0, (TrackWindow("TR_1", 1.0, 5),))


@quick
@given(st.lists(any_event, max_size=30))
def test_a_state_with_stats_is_read_as_it_was_written(events: list[RoomEvent]) -> None:
    state, _ = apply(started(), TracksMeasured(T0, (sound(lost=1),)))
    for event in events:
        state, _ = apply(state, event)
    assert decode_state(encode_state(state)) == state
