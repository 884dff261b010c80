"""A participant's own texts may fill so much of a journal a minute; people and tracks are right."""

from __future__ import annotations

import trio

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.journal_budget import WINDOW, JournalBudget
from actors.session import (
    AttachmentReceived,
    AttributesChanged,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    MetadataChanged,
    NameChanged,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Resynced,
    RoomEvent,
    Roster,
    SessionBegan,
    Tick,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    Watching,
)
from actors.session.agent_problems import MISSING_AFTER
from actors.session.agent_reports import AgentDispatchListed, AgentTurn, AgentTurnReported
from actors.session.texts import MAX_STATE_TEXT
from actors.session.view import session_row
from actors.simulation.plan import Plan
from actors.simulation.world import World
from tests.session.session_story import as_json

T0 = 1_700_000_000.0
MOST = 100_000


def watched(*people: ParticipantInfo) -> tuple[Journal, Backlog]:
    backlog = Backlog(most_a_minute=MOST)
    began = SessionBegan(T0, "atlas", "RM_1", ("AJ_1",), "worker", "agent", None)
    journal = Journal.begin(began, backlog)
    journal.record(Watching(T0, Roster("RM_1", participants=people)))
    return journal, backlog


def person(identity: str, metadata: str = "", *tracks: TrackInfo) -> ParticipantInfo:
    return ParticipantInfo(identity, f"PA_{identity}", T0, metadata=metadata, tracks=tracks)


def written(backlog: Backlog) -> int:
    """Bytes."""
    rows = backlog.take(T0).rows
    backlog.done()
    return sum(len(line.body) + len(line.entries) for line in rows)


def message(at: float) -> DataReceived:
    return DataReceived(at, "alice", "t" * 256, 60_000, "text")


def test_messages_beyond_it_are_counted_with_their_bytes_and_tell_nothing() -> None:
    journal, backlog = watched(person("alice"))
    for index in range(10_000):
        journal.record(message(T0 + index / 1_000))
    assert written(backlog) < MOST + 5_000
    row = as_json(session_row(journal.state, T0 + 10))
    journal.record(Tick(T0 + 11))
    row = as_json(session_row(journal.state, T0 + 11))
    assert row["data_messages"]["total"] == 10_000
    assert row["data_messages"]["bytes"] == 10_000 * 60_000
    assert row["truncated"] > 9_000
    thinned = [entry for entry in journal.unpublished if entry.event == "messages_thinned"]
    assert len(thinned) <= 11, "one a second"
    assert sum(entry.data["count"] for entry in thinned) == row["truncated"]


def test_attachments_beyond_it_are_counted_and_tell_nothing() -> None:
    journal, backlog = watched(person("alice"))
    for index in range(10_000):
        journal.record(AttachmentReceived(T0 + index / 1_000, "alice", "t" * 256, 60_000))
    assert written(backlog) < MOST + 5_000
    journal.record(Tick(T0 + 11))
    messages = as_json(session_row(journal.state, T0 + 11))["data_messages"]
    assert (messages["total"], messages["attachments"]) == (0, 10_000)
    thinned = [entry for entry in journal.unpublished if entry.event == "attachments_thinned"]
    assert 0 < len(thinned) <= 11, "one a second"


def test_the_newest_of_each_change_is_recorded_in_the_next_minute() -> None:
    journal, backlog = watched(person("alice", "", TrackInfo("TR_1", "audio", "microphone")))
    for index in range(1_000):
        at = T0 + index / 1_000
        journal.record(MetadataChanged(at, "alice", f"{index}" + "m" * 4_000))
        journal.record(NameChanged(at, "alice", f"name {index}"))
        journal.record(AttributesChanged(at, "alice", {f"{index % 7}": f"{index}"}))
    journal.record(TrackMuted(T0 + 2, "alice", "TR_1"))
    assert written(backlog) < MOST + 20_000
    assert journal.deadlines == [(T0 + 1.0 + 0.03, WINDOW)] or len(journal.deadlines) == 1
    journal.record(Tick(T0 + WINDOW))
    alice = journal.state.present["alice"]
    assert alice.metadata == "999" + "m" * 4_000
    assert alice.name == "name 999"
    assert alice.attributes == {str(index % 7): str(index) for index in range(993, 1_000)}
    assert journal.state.tracks["TR_1"].muted.since == T0 + 2, "the time at which it came"
    assert journal.state.truncated.dropped > 2_500
    assert not journal.deadlines


def test_joins_leaves_tracks_and_rosters_are_never_refused_and_lose_their_texts() -> None:
    journal, backlog = watched(person("alice", "of alice"))
    for index in range(1_000):
        journal.record(message(T0 + index / 1_000))
    before = written(backlog)
    assert before > MOST
    for index in range(50):
        journal.record(ParticipantJoined(T0 + 2, person(f"p{index}", "m" * MAX_STATE_TEXT)))
        track = TrackInfo(f"TR_{index}", "audio", "microphone")
        journal.record(TrackPublished(T0 + 2, f"p{index}", track))
    journal.record(ParticipantLeft(T0 + 3, "p0", "PA_p0", "client_initiated"))
    everyone = [person("alice", "n" * MAX_STATE_TEXT)] + [
        person(f"p{n}", "m" * MAX_STATE_TEXT, TrackInfo(f"TR_{n}", "audio", "microphone"))
        for n in range(1, 50)
    ]
    journal.record(Resynced(T0 + 4, Roster("RM_1", participants=tuple(everyone))))
    assert written(backlog) < 100_000
    state = journal.state
    assert (state.current, state.joins, len(state.tracks)) == (50, 51, 49)
    assert state.present["alice"].metadata == "of alice", "what is not told stays as it was"
    assert state.present["p7"].metadata is None
    assert state.truncated.dropped >= 100


def test_a_roster_that_is_larger_than_it_has_the_texts_of_the_first() -> None:
    people = [person(f"p{n}", "m" * 30_000) for n in range(100)]
    journal, backlog = watched(*people)
    assert written(backlog) < 2 * MOST
    texts = [journal.state.present[f"p{n}"].metadata for n in range(100)]
    assert texts == ["m" * 30_000] * 3 + [None] * 97


def test_what_waits_of_somebody_who_left_is_counted_and_not_told() -> None:
    journal, _ = watched(person("alice"), person("bob"))
    for index in range(1_000):
        journal.record(message(T0 + index / 1_000))
    journal.record(NameChanged(T0 + 2, "alice", "late"))
    journal.record(NameChanged(T0 + 2, "bob", "bob 2"))
    journal.record(ParticipantLeft(T0 + 3, "alice", "PA_alice", "client_initiated"))
    journal.record(Tick(T0 + WINDOW))
    assert journal.state.present["bob"].name == "bob 2"
    assert journal.state.anomalies == 0


def test_the_end_of_a_session_leaves_nothing_uncounted() -> None:
    journal, _ = watched(person("alice"))
    for index in range(5_000):
        journal.record(message(T0 + index / 10_000))
    journal.end(T0 + 1, "room_closed")
    assert journal.state.messages.total == 5_000


def test_a_clock_that_is_set_back_begins_another_minute() -> None:
    budget = JournalBudget(10)

    def admitted(event: RoomEvent) -> list[RoomEvent]:
        return list(budget.admit(event))

    first = message(T0)
    assert admitted(first) == [first]
    budget.spend(100)
    assert not admitted(message(T0 + 0.5))
    event = message(T0 - 3_600)
    assert admitted(event)[-1] is event


async def test_a_participant_who_floods_fills_neither_disk_nor_memory_and_all_is_right_at_last(
    virtual_time: int,
) -> None:
    stage = World(Plan(0, (), rooms=0))
    async with stage.running():
        stage.program.backlog.most_a_minute = MOST
        room = stage.rooms.room("atlas")
        alice = room.join("alice")
        microphone = alice.publish("microphone")
        stage.assign(room)
        await trio.sleep(1.0)
        for number in range(600):
            for _ in range(20):
                alice.send_data(b"x" * 50, topic="t" * 256)
            alice.set_metadata(f"{number}" + "m" * 5_000)
            (alice.mute if number % 2 else alice.unmute)(microphone)
            await trio.sleep(0.02)
        alice.mute(microphone)
        bob = room.join("bob")
        bob.publish("camera")
        await trio.sleep(2 * WINDOW)
        record = stage.program.table.find_room(room.sid)
        assert record is not None
        state = record.journal.state
        assert state.messages.total == 12_000
        assert state.present["alice"].metadata == "599" + "m" * 5_000
        assert state.tracks[microphone].muted.since is not None
        assert len(state.tracks) == 2
        assert not state.provisional_leaves
        rows = stage.disk.rows[record.journal.number].values()
        assert sum(len(line.body) + len(line.entries) for line in rows) < 2 * MOST
        assert state.truncated.dropped > 10_000


def test_data_tracks_beyond_the_budget_are_counted_and_what_was_recorded_ends() -> None:
    journal, backlog = watched(person("alice"))
    journal.record(DataTrackPublished(T0, "alice", "DTR_first", "n" * 256))
    for number in range(3_000):
        at, sid = T0 + number / 100, f"DTR_{number}"
        journal.record(DataTrackPublished(at, "alice", sid, "n" * 256))
        journal.record(DataTrackUnpublished(at, sid))
    assert written(backlog) < 1.1 * MOST
    assert journal.state.truncated.dropped > 1_000
    journal.record(DataTrackUnpublished(T0 + 31.0, "DTR_first"))
    assert journal.state.data_tracks == {}


def test_an_agent_that_is_awaited_is_looked_for_at_its_time_and_not_before() -> None:
    """Other waits of a session are shorter, so theirs would bound this one."""
    journal, _ = watched()
    journal.record(AgentDispatchListed(T0 + 1, "AD_1", "helper", T0 + 1))
    ((due, most),) = journal.deadlines
    assert due == T0 + 1 + MISSING_AFTER
    assert most >= MISSING_AFTER


def test_messages_of_agents_beyond_the_budget_are_counted() -> None:
    agent = ParticipantInfo("agent-AJ_1", "PA_9", T0, "agent")
    journal, backlog = watched(agent)
    for index in range(2_000):
        at = T0 + index / 1_000
        turn = AgentTurn(f"item_{index}", "agent", at)
        journal.record(AgentTurnReported(at, "agent-AJ_1", at, turn))
    assert written(backlog) < MOST + 20_000
    journal.record(Tick(T0 + WINDOW))
    assert journal.state.agents is not None
    (run,) = journal.state.agents.runs.values()
    assert 0 < run.turns < 2_000
    assert run.turns + journal.state.truncated.dropped == 2_000
