"""All monitors of a program, over simulated rooms in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import trio

from actors.monitoring.monitors import RESTARTS
from actors.simulation.plan import Plan
from actors.simulation.simulated_monitoring import MonitoringRun, SimulatedMonitoring
from actors.simulation.simulated_rooms import SimulatedRoom, Watcher
from actors.simulation.world import World


class Stage:
    """A running program with monitors.  Jobs come only from `give`."""

    def __init__(self, world: World) -> None:
        assert world.monitoring is not None
        self.world = world
        self.monitoring: SimulatedMonitoring = world.monitoring
        world.monitoring.on_webhook = lambda room, event: None

    @property
    def run(self) -> MonitoringRun:
        return self.monitoring.runs[-1]

    async def room(self, *identities: str) -> SimulatedRoom:
        """A watched room with these people, each with a microphone."""
        room = self.world.rooms.room("atlas")
        self.world.assign(room)
        for identity in identities:
            room.join(identity).publish("microphone")
        await trio.sleep(1.0)
        return room

    def give(self, room: SimulatedRoom, identity: str, **metadata: Any) -> str:
        person = room.people[identity]
        text = json.dumps(metadata) if metadata else ""
        return self.monitoring.give(self.run, room, identity, person.sid, text)

    def received(self, room: SimulatedRoom, identity: str) -> list[dict[str, Any]]:
        return [json.loads(data) for _, data in room.people[identity].received]

    def announced(self, event: str) -> int:
        return sum(what[1:3] == ("announce", event) for what in self.world.trace)


@pytest.fixture
async def stage(virtual_time: int) -> AsyncIterator[Stage]:
    world = World(Plan(0, (), rooms=0, monitored=True))
    async with world.running():
        yield Stage(world)


async def test_fifty_people_at_once_are_fifty_monitors_and_no_further_room(stage: Stage) -> None:
    people = [f"person-{number}" for number in range(50)]
    room = await stage.room(*people)
    jobs = [stage.give(room, identity) for identity in people]
    await trio.sleep(0.1)
    assert stage.run.running == dict.fromkeys(jobs, 1)
    assert [record.monitor.present for record in stage.run.monitors.records()] == [True] * 50
    assert len(stage.world.program.table.records) == 1
    assert len(room.watchers) == 1
    room.close()
    await trio.sleep(1.0)
    assert stage.run.ends == {job: [None] for job in jobs}
    assert stage.run.monitors.running == 0


async def test_an_entry_goes_to_the_monitors_that_it_concerns_and_to_no_others(
    stage: Stage,
) -> None:
    room = await stage.room("alice", "bob")
    stage.give(room, "alice")
    bobs = stage.give(room, "bob")
    await trio.sleep(0.1)
    mailbox = stage.world.program.saboteur.mailboxes[f"/monitors/{bobs}"][0]
    before = mailbox.counters.offered
    room.people["alice"].send_data(b"{}")
    room.people["alice"].speak(True)
    await trio.sleep(0.1)
    assert mailbox.counters.offered == before
    room.people["bob"].send_data(b"{}")
    await trio.sleep(0.1)
    assert mailbox.counters.offered == before + 1


async def test_wrong_metadata_fails_the_job_with_the_reason_and_the_room_goes_on(
    stage: Stage,
) -> None:
    room = await stage.room("alice")
    job = stage.give(room, "alice", monitoring_type="everything")
    await trio.sleep(0.1)
    ((error,),) = [stage.run.ends[job]]
    assert error is not None
    assert "monitoring_type" in error
    assert stage.run.running[job] == 0
    assert stage.announced("monitor_refused") == 1
    assert len(room.watchers) == 1


async def test_the_others_get_what_somebody_says_of_speech_and_the_person_a_welcome(
    stage: Stage,
) -> None:
    room = await stage.room("alice", "bob")
    stage.give(room, "alice")
    await trio.sleep(0.1)
    room.people["alice"].speak(True)
    await trio.sleep(2.0)
    room.people["alice"].speak(False)
    await trio.sleep(2.0)
    (welcome,) = stage.received(room, "alice")
    assert (welcome["action"], welcome["agent"]) == ("welcome", "participant-monitor")
    began, ended = stage.received(room, "bob")
    assert (began["type"], began["participant"], began["speaking"]) == (
        "speaking_detection",
        "alice",
        True,
    )
    assert (ended["speaking"], ended["agent"]) == (False, "participant-monitor")
    session = stage.world.program.table.find_room(room.sid)
    assert session is not None
    assert session.journal.state.messages.total == 0, "our own messages are nobody's"


async def test_somebody_alone_gets_no_message_of_their_own_speech(stage: Stage) -> None:
    room = await stage.room("alice")
    stage.give(room, "alice")
    room.people["alice"].speak(True)
    await trio.sleep(2.0)
    assert [message["type"] for message in stage.received(room, "alice")] == [
        "participant_monitoring"
    ]


async def test_a_server_that_takes_no_messages_holds_up_no_monitor(stage: Stage) -> None:
    stage.monitoring.control.delay = lambda _act: 1_000.0
    room = await stage.room("alice", "bob")
    job = stage.give(room, "alice")
    for _ in range(60):
        room.people["alice"].speak(True)
        await trio.sleep(0.5)
        room.people["alice"].speak(False)
        await trio.sleep(2.0)
    (record,) = stage.run.monitors.records()
    assert record.monitor.speeches == 60
    assert record.dropped_messages > 60, "what waits is bounded"
    room.close()
    await trio.sleep(1.0)
    assert stage.run.ends[job] == [None]


async def test_the_job_of_a_return_joins_the_monitor_that_waits(stage: Stage) -> None:
    room = await stage.room("alice", "bob")
    first = stage.give(room, "alice")
    await trio.sleep(1.0)
    room.people["alice"].leave()
    await trio.sleep(5.0)
    room.join("alice")
    second = stage.give(room, "alice")
    await trio.sleep(1.0)
    (record,) = stage.run.monitors.records()
    assert (list(record.jobs), record.monitor.present) == ([first, second], True)
    stage.run.monitors.terminate(first)
    await trio.sleep(0.1)
    assert stage.run.ends == {first: [None]}
    stage.run.monitors.terminate(second)
    await trio.sleep(0.1)
    assert (stage.run.ends[second], stage.run.monitors.running) == ([None], 0)


async def test_with_end_on_disconnect_each_join_has_a_monitor_of_its_own(stage: Stage) -> None:
    room = await stage.room("alice", "bob")
    first = stage.give(room, "alice", end_on_disconnect=True)
    await trio.sleep(1.0)
    room.people["alice"].leave()
    room.join("alice")
    second = stage.give(room, "alice", end_on_disconnect=True)
    await trio.sleep(1.0)
    assert stage.run.ends == {first: [None]}
    (record,) = stage.run.monitors.records()
    assert (list(record.jobs), record.monitor.present) == ([second], True)


async def test_a_monitor_that_crashes_goes_on_with_what_it_knows(stage: Stage) -> None:
    room = await stage.room("alice", "bob")
    job = stage.give(room, "alice")
    await trio.sleep(0.1)
    room.people["alice"].speak(True)
    await trio.sleep(3.0)
    stage.world.program.saboteur.raise_at(f"/monitors/{job}", 1)
    room.people["alice"].publish("camera")
    await trio.sleep(1.0)
    (record,) = stage.run.monitors.records()
    assert (record.monitor.tracks_total, record.monitor.speaking) == (2, True)
    assert stage.run.running[job] == 1
    room.people["alice"].speak(False)
    await trio.sleep(2.0)
    assert 3.5 <= record.monitor.speaking_seconds <= 4.5


async def test_a_monitor_that_always_crashes_fails_its_job_and_nothing_else(stage: Stage) -> None:
    room = await stage.room("alice", "bob")
    job, other = stage.give(room, "alice"), stage.give(room, "bob")
    await trio.sleep(0.1)
    for _ in range(RESTARTS.restarts + 1):
        stage.world.program.saboteur.raise_at(f"/monitors/{job}", 1)
        room.people["alice"].send_data(b"{}")
        await trio.sleep(5.0)
    ((error,),) = [stage.run.ends[job]]
    assert error is not None
    assert "crash" in error
    assert other not in stage.run.ends
    (record,) = stage.run.monitors.records()
    assert (record.job.job_id, record.monitor.present) == (other, True)
    watched = stage.world.program.table.find_room(room.sid)
    assert watched is not None
    assert watched.journal.state.messages.total == RESTARTS.restarts + 1


async def test_a_room_that_is_not_watched_is_asked_for_and_the_monitor_waits(stage: Stage) -> None:
    wanted: list[str] = []
    stage.run.monitors._watch_room = lambda job: wanted.append(job.room_sid)
    room = stage.world.rooms.room("atlas")
    room.join("alice")
    job = stage.give(room, "alice")
    await trio.sleep(5.0)
    assert (wanted, stage.run.running[job]) == ([room.sid], 0)
    stage.world.assign(room)
    await trio.sleep(1.0)
    assert stage.run.running[job] == 1
    (record,) = stage.run.monitors.records()
    assert record.monitor.present


async def test_the_monitoring_line_adds_the_present_people_up_and_is_not_there_without_any(
    stage: Stage,
) -> None:
    stage.run.monitors.report()
    assert stage.announced("monitoring_report") == 0
    room = await stage.room("alice", "bob")
    stage.give(room, "alice")
    stage.give(room, "bob")
    room.people["alice"].speak(True)
    room.people["bob"].quality("poor")
    await trio.sleep(1.0)
    seen: list[dict[str, Any]] = []
    stage.run.monitors._announce = lambda event, /, **fields: seen.append(
        {"event": event, **fields}
    )
    stage.run.monitors.report()
    assert seen == [{"event": "monitoring_report", "active": 2, "speaking": 1, "poor": 1}]


async def test_the_summary_has_everybody_who_was_monitored(stage: Stage) -> None:
    room = await stage.room("alice", "bob")
    stage.give(room, "alice")
    stage.give(room, "bob", end_on_disconnect=True)
    room.people["bob"].quality("good")
    await trio.sleep(10.0)
    room.people["bob"].leave()
    await trio.sleep(1.0)
    summaries = {one.identity: one for one in stage.run.monitors.summaries()}
    assert summaries.keys() == {"alice", "bob"}
    assert round(summaries["bob"].duration) == 10
    assert (summaries["bob"].tracks, summaries["bob"].quality) == (1, "good")
    assert stage.run.monitors.count == 2


async def test_a_video_that_stands_still_is_warned_of_by_the_monitor_of_its_owner_only(
    stage: Stage,
) -> None:
    room = await stage.room("alice", "bob")
    for identity in ("alice", "bob"):
        stage.give(room, identity)
    alices, bobs = (room.people[name].publish("camera") for name in ("alice", "bob"))
    await trio.sleep(0.1)
    await stage.run.monitors.measure_videos()
    room.people["alice"].freeze(alices)
    for _ in range(4):
        await trio.sleep(5.0)
        await stage.run.monitors.measure_videos()
    await trio.sleep(0.1)
    still = {
        record.monitor.identity: {s: one.still for s, one in record.monitor.watched_videos.items()}
        for record in stage.run.monitors.records()
    }
    assert still == {"alice": {alices: True}, "bob": {bobs: False}}
    assert stage.announced("monitored_video_still") == 1
    room.people["alice"].thaw(alices)
    await trio.sleep(5.0)
    await stage.run.monitors.measure_videos()
    await trio.sleep(0.1)
    assert stage.announced("monitored_video_moves") == 1


async def test_a_room_is_asked_once_for_all_its_videos_and_told_when_none_is_watched_any_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[str]] = []
    real = Watcher.video_frames

    async def video_frames(watcher: Watcher, sids: frozenset[str]) -> Mapping[str, int]:
        asked.append(sids)
        return await real(watcher, sids)

    monkeypatch.setattr(Watcher, "video_frames", video_frames)
    room = await stage.room("alice", "bob")
    jobs = [stage.give(room, identity) for identity in ("alice", "bob")]
    await trio.sleep(0.1)
    await stage.run.monitors.measure_videos()
    assert asked == []
    videos = frozenset(room.people[name].publish("camera") for name in ("alice", "bob"))
    await trio.sleep(0.1)
    await stage.run.monitors.measure_videos()
    assert asked == [videos]
    for job in jobs:
        stage.run.monitors.terminate(job)
    await trio.sleep(0.1)
    await stage.run.monitors.measure_videos()
    await stage.run.monitors.measure_videos()
    assert asked == [videos, frozenset()]
