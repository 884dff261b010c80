"""The lines of a session in the log, and those that it leaves out."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from structlog.testing import capture_logs

from actors.session import SessionState, TimelineEntry, begin
from bridge.log.session_log import MOST_LINES, SessionLog

NOW = 1_700_000_000.0
STANDUP = begin("standup", "RM_1", (), "worker", "agent", NOW)
RETRO = begin("retro", "RM_2", (), "worker", "agent", NOW)


def message(at: float, size: int = 1) -> TimelineEntry:
    return TimelineEntry(at, "data_message", {"identity": "alice", "topic": "", "size": size})


def logged(*entries: tuple[SessionState, TimelineEntry]) -> list[Any]:
    """Name and number of what is in the log."""
    say = SessionLog()
    with capture_logs() as logs:
        for state, entry in entries:
            say.offer(state, entry)
    assert say._seconds.keys() <= {"RM_1", "RM_2"}
    return [(line["event"], line.get("count"), line["room"]) for line in logs]


def test_a_session_that_only_webhooks_told_of_is_logged_without_a_job() -> None:
    """LiveKit's webhook of a new room is often here before the job."""
    with capture_logs() as logs:
        SessionLog().offer(STANDUP, TimelineEntry(NOW, "reconnecting"))
    assert [(line["room_sid"], line["job_id"]) for line in logs] == [("RM_1", None)]


def test_a_flood_of_messages_is_logged_as_their_number_once_the_second_is_over() -> None:
    flood = [(STANDUP, message(NOW + n / 2_000)) for n in range(1_000)]
    lines = logged(*flood, (STANDUP, message(NOW + 1)))
    shown = ("data_message", None, "standup")
    left_out = ("messages_not_logged", 1_000 - MOST_LINES, "standup")
    assert lines == [*[shown] * MOST_LINES, left_out, shown]


def test_a_flood_takes_no_line_from_another_room_and_no_other_line_from_its_own() -> None:
    flood = [(STANDUP, message(NOW)) for _ in range(MOST_LINES + 1)]
    joined = TimelineEntry(NOW, "participant_connected", {"identity": "bob", "sid": "PA_2"})
    lines = logged(*flood, (RETRO, message(NOW)), (STANDUP, joined))
    assert lines[MOST_LINES:] == [
        ("data_message", None, "retro"),
        ("participant_connected", None, "standup"),
    ]


def test_changes_are_spared_as_messages_are_and_each_have_lines_of_their_own() -> None:
    changes = [
        TimelineEntry(NOW, "participant_metadata", {"identity": "alice", "metadata": f"{n}"})
        for n in range(MOST_LINES)
    ]
    more = ("track_muted", "track_unmuted", "data_track_published", "data_track_unpublished")
    mutes = [TimelineEntry(NOW, event, {"identity": "alice"}) for event in more]
    entries = [*changes, *mutes, *[message(NOW)] * (MOST_LINES + 1), message(NOW + 1)]
    lines = logged(*((STANDUP, one) for one in entries))
    assert lines == [
        *[("participant_metadata", None, "standup")] * MOST_LINES,
        *[("data_message", None, "standup")] * MOST_LINES,
        ("changes_not_logged", 4, "standup"),
        ("messages_not_logged", 1, "standup"),
        ("data_message", None, "standup"),
    ]


def test_what_was_left_out_is_said_before_the_end_of_the_session_and_nothing_is_kept() -> None:
    say = SessionLog()
    ended = evolve(STANDUP, ended_at=NOW, end_reason="room_closed")
    with capture_logs() as logs:
        for _ in range(MOST_LINES + 7):
            say.offer(STANDUP, message(NOW))
        say.offer(ended, TimelineEntry(NOW, "session_ended", {"reason": "room_closed"}))
    assert [(line["event"], line.get("count")) for line in logs[-2:]] == [
        ("messages_not_logged", 7),
        ("session_ended", None),
    ]
    assert say._seconds == {}
    # JSON has it as an object, with the keys of the API.
    assert logs[-1]["session"]["people"].keys() >= {"unique", "joins"}


def test_a_room_that_says_much_but_not_too_much_is_logged_whole() -> None:
    entries = [(STANDUP, message(NOW + n / MOST_LINES)) for n in range(3 * MOST_LINES)]
    assert logged(*entries) == [("data_message", None, "standup")] * 3 * MOST_LINES
