"""The comparison finds a single wrong number, whichever it is.

The story is told in simulated rooms on a virtual clock, so the sessions are right to
begin with; then one number is changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import pytest
import trio
from attrs import evolve, frozen
from msgspec.structs import replace
from rich.console import Console
from trio.testing import MockClock

from actors.session import SessionView
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.demo.chapters import Chapters
from bridge.lab.demo.compare import Comparison, FinalTotals, compare
from bridge.lab.demo.differences import Near, OneOf
from bridge.lab.demo.last_page import closing_page
from bridge.lab.demo.play_script import RoomStory, open_early, tell_story
from bridge.lab.demo.script import draw
from bridge.lab.demo.simulated_people import SimulatedCrowd
from tests.lab.demo.watcher import start_simulated
from tests.session.session_story import as_json

Session: TypeAlias = dict[str, Any]

BEGIN = 1_800_000_000.0


@frozen
class PlayedDemo:
    stories: tuple[RoomStory, ...]
    sessions: Sequence[SessionView]
    totals: FinalTotals

    def compare(self, sessions: Sequence[SessionView] | None = None) -> Comparison:
        return compare(self.stories, sessions or self.sessions, self.totals)


async def tell(people: int = 12) -> PlayedDemo:
    rooms = SimulatedRooms(lambda: BEGIN + trio.current_time())
    crowd = SimulatedCrowd(rooms)
    plan = draw(4, people, 40, seed=2, limit=False)  # The small worker keeps none.
    early = await open_early(plan, crowd, crowd)
    async with start_simulated(rooms) as worker:
        crowd.dispatch_to(worker.assign)
        stories = await tell_story(plan, crowd, crowd, worker, early)
        totals = await worker.stop()
        return PlayedDemo(stories, await worker.sessions(), totals)


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


def test_a_story_that_was_seen_right_has_no_difference(demo: PlayedDemo):
    comparison = demo.compare()
    assert comparison.differences == ()
    assert comparison.numbers > 400


def test_a_limit_that_was_not_kept_is_a_difference(demo: PlayedDemo):
    first_story, *others = demo.stories
    story = evolve(first_story, plan=evolve(first_story.plan, places=3))
    comparison = compare((story, *others), demo.sessions, demo.totals)
    assert [(one.path, one.actual) for one in comparison.differences] == [
        ("acts.act_done full house remove gatecrasher", "nothing")
    ]


def first(session: Session, table: str, **wanted: object) -> dict[str, Any]:
    return next(
        row for row in session[table] if all(row[key] == value for key, value in wanted.items())
    )


def later(time: str, seconds: int) -> str:
    """The same RFC 3339 time, `seconds` on; within the minute is good enough here."""
    from datetime import datetime, timedelta

    at = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person(session: Session) -> dict[str, Any]:
    return session["participants"][0]


def track(session: Session) -> dict[str, Any]:
    return session["tracks"][0]


def add(row: dict[str, Any], key: str, number: float) -> None:
    row[key] += number


MUTATIONS: dict[str, Callable[[Session], object]] = {
    "room": lambda s: s.update(room="another"),
    "status": lambda s: s.update(status="active"),
    "end_reason": lambda s: s.update(end_reason="server_lost"),
    "metadata": lambda s: s.update(metadata=""),
    "people.current": lambda s: add(s["people"], "current", 1),
    "people.peak": lambda s: add(s["people"], "peak", -1),
    "people.unique": lambda s: add(s["people"], "unique", 1),
    "people.joins": lambda s: add(s["people"], "joins", 1),
    "people_seconds": lambda s: add(s, "people_seconds", 60),
    "track_counts.current": lambda s: add(s["track_counts"], "current", 1),
    "track_counts.total": lambda s: add(s["track_counts"], "total", -1),
    "track_counts.by_source.microphone": lambda s: add(
        s["track_counts"]["by_source"], "microphone", 1
    ),
    "track_counts.by_source.unknown": lambda s: s["track_counts"]["by_source"].update(unknown=1),
    "data_messages.total": lambda s: add(s["data_messages"], "total", 1),
    "data_messages.bytes": lambda s: add(s["data_messages"], "bytes", -1),
    "data_messages.by_topic.poll": lambda s: add(s["data_messages"]["by_topic"], "poll", 1),
    "data_messages.by_topic.more": lambda s: s["data_messages"]["by_topic"].update(more=1),
    "talk.seconds": lambda s: add(s["talk"], "seconds", 30),
    "talk.by_identity": lambda s: s["talk"]["by_identity"].update(nobody=1.0),
    "participants.": lambda s: s["participants"].append({**person(s), "identity": "somebody"}),
    "participants": lambda s: s["participants"].pop(),
    "name": lambda s: person(s).update(name="Root"),
    "kind": lambda s: person(s).update(kind="sip"),
    "sids.0": lambda s: person(s)["sids"].__setitem__(0, "PA_other"),
    "joins.length": lambda s: person(s)["joins"].append(person(s)["joins"][0]),
    "joins.0.sid": lambda s: person(s)["joins"][0].update(sid="PA_other"),
    "joins.0.joined_at": lambda s: person(s)["joins"][0].update(
        joined_at=later(person(s)["joins"][0]["joined_at"], 1)
    ),
    "joins.0.left_at": lambda s: person(s)["joins"][0].update(
        left_at=later(person(s)["joins"][0]["left_at"], 9)
    ),
    "joins.0.leave_reason": lambda s: person(s)["joins"][0].update(
        leave_reason="connection_timeout"
    ),
    "seconds": lambda s: add(person(s), "seconds", 20),
    "participants.metadata": lambda s: person(s).update(metadata="x"),
    "attributes": lambda s: person(s).update(attributes={"more": "1"}),
    "participants.data_messages": lambda s: add(person(s), "data_messages", 1),
    "tracks": lambda s: s["tracks"].pop(),
    "identity": lambda s: track(s).update(identity="mallory"),
    "tracks.kind": lambda s: track(s).update(
        kind="video" if track(s)["kind"] == "audio" else "audio"
    ),
    "source": lambda s: track(s).update(source="unknown"),
    "published_at": lambda s: s["tracks"][-1].update(
        published_at=later(s["tracks"][-1]["unpublished_at"], 9)
    ),
    "unpublished_at": lambda s: track(s).update(unpublished_at=None),
    "muted_seconds": lambda s: add(track(s), "muted_seconds", 5),
    "mutes": lambda s: s["timeline"].append(
        {**s["timeline"][0], "event": "track_muted", "sid": track(s)["sid"]}
    ),
}


@pytest.mark.parametrize("what", MUTATIONS)
@pytest.mark.parametrize("room", range(4))
def test_one_wrong_number_is_found_and_named(demo: PlayedDemo, what: str, room: int):
    sessions = [as_json(session) for session in demo.sessions]
    sid = demo.stories[room].truth.room_sid
    MUTATIONS[what](next(session for session in sessions if session["room_sid"] == sid))
    differences = demo.compare(msgspec.convert(sessions, list[SessionView])).differences
    assert differences
    assert all(one.room == demo.stories[room].plan.room for one in differences)
    parts = [part for part in what.split(".") if part]
    assert any(all(part in one.path for part in parts) for one in differences)


@pytest.mark.parametrize("key", ["rooms", "participants", "tracks", "data_messages", "seconds"])
def test_a_wrong_number_in_the_final_summary_is_found(demo: PlayedDemo, key: str):
    wrong = evolve(demo.totals, **{key: getattr(demo.totals, key) + 5})
    (difference,) = compare(demo.stories, demo.sessions, wrong).differences
    assert (difference.room, difference.path) == ("Final Summary", key)


def test_a_room_that_was_not_seen_is_a_difference(demo: PlayedDemo):
    differences = demo.compare(demo.sessions[1:]).differences
    missing = [
        story.plan.room
        for story in demo.stories
        if story.truth.room_sid == demo.sessions[0].room_sid
    ]
    assert [one.room for one in differences if one.path == "session"] == missing


def test_a_session_of_a_room_that_nobody_was_in_is_a_difference(demo: PlayedDemo):
    more = replace(demo.sessions[0], room_sid="RM_ghost", room="ghost")
    differences = demo.compare([*demo.sessions, more]).differences
    assert ("ghost", "session") in [(one.room, one.path) for one in differences]


def test_a_message_for_somebody_else_is_not_expected(demo: PlayedDemo):
    topics = {topic for s in demo.sessions for topic in as_json(s)["data_messages"]["by_topic"]}
    assert "private" not in topics


@pytest.mark.parametrize(
    "value,right",
    [(10.0, True), (10.5, True), (10.6, False), (None, False), (True, False), ("soon", False)],
)
def test_near_takes_numbers_within_its_bound_and_nothing_else(value: object, right: bool):
    assert Near(10.0, 0.5).matches(value) is right


def test_near_takes_times_as_the_contract_writes_them():
    assert Near(1_800_000_000.0, 0.01).matches("2027-01-15T08:00:00.005Z")
    assert not Near(1_800_000_000.0, 0.01).matches("2027-01-15T08:00:01.000Z")


def test_one_of_takes_each_of_its_values():
    either = OneOf((None, Near(1.0, 0.1)))
    assert either.matches(None)
    assert either.matches(1.05)
    assert not either.matches(0)


def test_the_last_page_has_all_its_numbers_in_a_terminal_of_80_columns(demo: PlayedDemo):
    names = [evolve(one, plan=evolve(one.plan, room="room " + 300 * "x")) for one in demo.stories]
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(closing_page(names, demo.sessions, demo.totals, Chapters(demo.compare())))
    assert isinstance(console.file, io.StringIO)
    page = console.file.getvalue()
    assert "Recording is not shown: it needs a Redis" in page
    heading = next(line for line in page.splitlines() if "peak" in line)
    assert heading.split() == [
        "room", "end", "people", "peak", "joins", "tracks", "messages", "bytes", "mutes",
    ]  # fmt: skip
