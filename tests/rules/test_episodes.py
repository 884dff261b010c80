"""The times at which rules fire and resolve: Prometheus' states, over a room's own time."""

from __future__ import annotations

import pytest

from actors.rules.conditions import Look
from actors.rules.episodes import Episodes, Phase
from actors.rules.rule_config import BadRule, read_rules
from actors.session import (
    DataReceived,
    MetadataChanged,
    QualityChanged,
    Tick,
    TrackInfo,
    TracksMeasured,
)
from actors.session.agent_reports import AgentActivityReported, AgentDispatchListed
from actors.session.rule_records import PlannedAct, RuleFired
from actors.session.track_stats import TrackWindow
from tests.rules.rooms import T0, RuledRoom

ALONE = {
    "name": "alone",
    "rooms": ["team-*"],
    "when": {"people": "== 1"},
    "for": "5m",
    "then": ["alert"],
}


def test_a_rule_fires_after_it_held_without_a_break() -> None:
    room = RuledRoom(ALONE)
    room.joins(10, "alice")
    room.joins(200, "bob")
    room.leaves(250, "bob")
    room.pass_to(549)
    assert room.happened == []
    room.pass_to(1000)
    assert room.happened == [(550, "alone", "firing", "")]
    room.joins(1200, "carol")
    assert room.happened[1:] == [(1200, "alone", "resolved", "")]


def test_it_fires_once_an_episode_and_again_in_the_next() -> None:
    room = RuledRoom(ALONE)
    room.joins(0, "alice")
    room.pass_to(5000)
    room.joins(5000, "bob")
    room.leaves(6000, "bob")
    room.pass_to(9000)
    assert [(at, phase) for at, _, phase, _ in room.happened] == [
        (300, "firing"),
        (5000, "resolved"),
        (6300, "firing"),
    ]


def test_a_rule_that_is_kept_bridges_a_short_break() -> None:
    room = RuledRoom({**ALONE, "for": "1m", "keep": "30s"})
    room.joins(0, "alice")
    room.joins(100, "bob")
    room.leaves(120, "bob")
    room.joins(200, "bob")
    room.pass_to(1000)
    assert room.happened == [(60, "alone", "firing", ""), (230, "alone", "resolved", "")]


def test_rooms_of_other_names_are_not_looked_at() -> None:
    room = RuledRoom(ALONE, name="lounge")
    assert room.episodes.idle
    room.joins(0, "alice")
    room.pass_to(1000)
    assert room.happened == []


def test_time_alone_makes_a_duration_true() -> None:
    room = RuledRoom(
        {"name": "long", "when": {"age": "> 1h"}, "then": ["alert"]},
        {"name": "left", "when": {"alone_for": ">= 10m"}, "then": ["alert"]},
        {"name": "silent", "any": {"silence_for": "> 90s"}, "then": ["alert"]},
    )
    room.joins(50, "alice")
    room.joins(60, "bob")
    room.leaves(1000, "bob")
    room.pass_to(4000)
    assert room.happened == [
        (90, "silent", "firing", ""),
        (1600, "left", "firing", ""),
        (3600.0, "long", "firing", ""),
    ]


def test_a_gap_neither_fires_nor_resolves_and_counts_for_nothing() -> None:
    room = RuledRoom(ALONE, {"name": "left", "when": {"alone_for": ">= 5m"}, "then": ["alert"]})
    room.joins(0, "alice")
    room.loses_connection(100)
    room.pass_to(5000)
    assert room.happened == []
    room.is_back(5000, "alice")
    room.pass_to(5199)
    assert room.happened == []
    room.pass_to(5201)
    assert room.happened == [(5200, "alone", "firing", ""), (5200, "left", "firing", "")]


def test_a_rule_that_fires_stays_so_through_a_gap() -> None:
    room = RuledRoom({**ALONE, "for": "1m"})
    room.joins(0, "alice")
    room.pass_to(100)
    room.loses_connection(200)
    room.is_back(900, "alice")
    assert room.happened == [(60, "alone", "firing", "")]


def test_what_an_earlier_run_fired_does_not_fire_again_and_can_resolve() -> None:
    room = RuledRoom(ALONE)
    room.joins(0, "alice")
    room.episodes.restore("alone", "", room.now)
    room.pass_to(1000)
    assert room.happened == []
    room.joins(1000, "bob")
    assert room.happened == [(1000, "alone", "resolved", "")]


def test_each_person_has_an_episode_of_their_own() -> None:
    rule = {
        "name": "guests",
        "person": {"present_for": ">= 10m", "attribute": {"role": "guest*"}},
        "then": [{"remove": "Time is up."}],
    }
    room = RuledRoom(rule)
    room.joins(0, "host", attributes={"role": "host"})
    room.joins(10, "ann", attributes={"role": "guest"})
    room.joins(20, "ben", attributes={"role": "guest-2"})
    room.joins(30, "bot", kind="agent", attributes={"role": "guest"})
    room.leaves(300, "ben")
    room.pass_to(2000)
    assert room.happened == [(610, "guests", "firing", "ann")]
    room.leaves(2000, "ann")
    room.pass_to(2100)
    assert room.happened[1:] == [(2000, "guests", "resolved", "ann")]


def test_an_event_fires_its_rule_each_time_and_names_the_person() -> None:
    rule = {
        "name": "welcome",
        "event": "participant_connected",
        "when": {"people": "<= 2"},
        "then": [{"send": {"text": "Hello", "to": "person"}}],
    }
    room = RuledRoom(rule)
    room.joins(1, "alice")
    room.joins(2, "bob")
    room.joins(3, "carol")
    assert room.happened == [(1, "welcome", "firing", "alice"), (2, "welcome", "firing", "bob")]


def test_a_rule_is_not_looked_at_for_an_entry_that_it_does_not_read() -> None:
    room = RuledRoom(ALONE)
    [watched] = room.episodes._watched
    looked = 0

    class Counting:
        def __call__(self, _: object) -> bool:
            nonlocal looked
            looked += 1
            return False

    object.__setattr__(watched.rule.all_of[0], "holds", Counting())
    room.joins(1, "alice")
    before = looked
    assert before
    room.take(2, DataReceived(room.now, "alice", "chat", 5, "text"))
    room.take(3, MetadataChanged(room.now, "alice", "{}"))
    assert looked == before


def test_a_gap_that_was_over_before_anybody_looked_counts_for_nothing_either() -> None:
    room = RuledRoom(ALONE)
    room.joins(0, "alice")
    room.loses_connection(100)
    room.is_back(150, "alice")
    room.pass_to(349)
    assert room.happened == []
    room.pass_to(1000)
    assert room.happened == [(350, "alone", "firing", "")]


def test_a_rate_of_messages_falls_second_by_second_with_time_alone() -> None:
    busy = {"name": "busy", "when": {"message_rate": "> 6/m"}, "then": ["alert"]}
    quiet = {"name": "quiet", "when": {"message_rate": "< 3/m"}, "then": ["alert"]}
    room = RuledRoom(busy, quiet)
    room.joins(0, "alice")
    for at in (10, *[30] * 9, *[40] * 5):
        room.take(at, DataReceived(T0 + at, "alice", "chat", 5, "text"))
    room.pass_to(1000)
    assert room.happened == [
        (0, "quiet", "firing", ""),
        (30, "quiet", "resolved", ""),
        (30, "busy", "firing", ""),
        (90, "busy", "resolved", ""),
        (100, "quiet", "firing", ""),
    ]


def test_no_rule_is_fired_by_what_rules_do() -> None:
    every = {"name": "every", "event": "*", "then": [{"send": "x"}]}
    room = RuledRoom(every)
    fired = RuleFired(room.now, "every", alert=True, acts=(PlannedAct("1", "send", result="x"),))
    room.take(1, fired)
    room.take(2, DataReceived(room.now, None, "lk.chat", 1, "text"))
    assert room.happened == []
    room.take(3, DataReceived(room.now, "", "lk.chat", 1, "text"))
    assert room.happened == []


def test_of_many_people_only_the_one_whom_an_entry_is_about_is_looked_at() -> None:
    room = RuledRoom({"name": "bad", "person": {"quality": "poor"}, "then": ["alert"]})
    for number in range(50):
        room.joins(1, f"p{number}")
    [watched] = room.episodes._watched
    assert watched.rule.of_person is not None
    looked, holds = 0, watched.rule.of_person[0].holds

    def counting(look: Look) -> bool:
        nonlocal looked
        looked += 1
        return holds(look)

    object.__setattr__(watched.rule.of_person[0], "holds", counting)
    room.take(2, QualityChanged(room.now, "p7", room.state.present["p7"].joins[-1].sid, "poor"))
    assert room.happened == [(2, "bad", "firing", "p7")]
    room.leaves(3, "p7")
    assert room.happened[1:] == [(3, "bad", "resolved", "p7")]
    assert looked <= 2


def test_poor_audio_is_a_condition_of_a_room_and_of_a_person() -> None:
    room = RuledRoom(
        {"name": "one", "when": {"poor_audio": True}, "then": ["alert"]},
        {"name": "two", "when": {"poor_audio": ">= 2"}, "then": ["alert"]},
        {"name": "who", "person": {"poor_audio": True}, "then": ["alert"]},
    )
    for who in ("ann", "bob"):
        room.joins(1, who, tracks=(TrackInfo(f"TR_{who}", "audio", "microphone"),))
    for at in (10, 20, 30, 40):
        windows = tuple(
            TrackWindow(f"TR_{who}", 2.0, 90, lost, samples=90_000, codec="audio/opus")
            for who, lost in (("ann", 40), ("bob", 40 * (at == 40)))
        )
        room.take(at, TracksMeasured(room.now, windows))
    assert room.happened == [
        (30, "one", "firing", ""),
        (30, "who", "firing", "ann"),
        (40, "two", "firing", ""),
        (40, "who", "firing", "bob"),
    ]
    room.leaves(50, "ann")
    assert room.happened[4:] == [(50, "two", "resolved", ""), (50, "who", "resolved", "ann")]


def test_what_is_wrong_with_an_agent_is_a_condition() -> None:
    room = RuledRoom(
        {"name": "came", "when": {"agent_problem": "missing"}, "then": ["alert"]},
        {"name": "slow", "when": {"agent_thinking_for": "> 5s"}, "then": ["alert"]},
        {"name": "quiet", "when": {"agent_quiet_for": ">= 20s"}, "then": ["alert"]},
        {"name": "any", "when": {"agent_problem": True}, "then": ["alert"]},
    )
    room.take(10, AgentDispatchListed(T0 + 10, "AD_1", "helper", T0 + 10))
    room.take(18, Tick(T0 + 18))
    room.joins(20, "agent-AJ_1", kind="agent", attributes={"lk.agent_name": "helper"})
    assert [one for one in room.happened if one[1] == "came"] == [
        (18, "came", "firing", ""),
        (20, "came", "resolved", ""),
    ]
    room.take(30, AgentActivityReported(T0 + 30, "agent-AJ_1", T0 + 30, "thinking"))
    room.take(39, AgentActivityReported(T0 + 39, "agent-AJ_1", T0 + 39, "speaking"))
    assert room.happened == [
        (18, "came", "firing", ""), (18, "any", "firing", ""),
        (20, "came", "resolved", ""), (20, "any", "resolved", ""),
        (35, "slow", "firing", ""), (39, "slow", "resolved", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"agent_problem": "gone"}, {"agent_problem": 3}, {"agent_thinking_for": "long"}]
)
def test_a_wrong_condition_of_an_agent_says_what_is_allowed(wrong: dict[str, object]) -> None:
    with pytest.raises(BadRule, match=r"one of missing|like"):
        RuledRoom({"name": "x", "when": wrong, "then": ["alert"]})


def test_pending_episodes_are_told_where_somebody_asks_for_them() -> None:
    room = RuledRoom(ALONE, pending=True)
    room.joins(10, "alice")
    room.joins(20, "bob")
    room.leaves(30, "bob")
    room.pass_to(1000)
    assert [(at, phase) for at, _, phase, _ in room.happened] == [
        (10, "pending"),
        (20, "inactive"),
        (30, "pending"),
        (330, "firing"),
    ]


def test_a_restored_pending_episode_goes_on_from_when_it_began() -> None:
    room = RuledRoom(ALONE)
    room.joins(0, "alice")
    room.episodes = Episodes(read_rules([ALONE]), room.state, room.now)
    room.episodes.restore("alone", "", room.now - 200, Phase.PENDING)
    room.pass_to(1000)
    assert room.happened == [(100, "alone", "firing", "")]
    assert not room.episodes.restore("no longer there", "", room.now)


def test_people_for_whom_a_rule_fires_at_once_come_in_the_order_of_the_room() -> None:
    """The order of a set would be another one in each process, and so would that of the acts."""
    people = [f"person-{number}" for number in range(20)]
    rule = {
        "name": "crowd",
        "when": {"people": ">= 20"},
        "person": {"present_for": ">= 0s"},
        "then": ["alert"],
    }
    room = RuledRoom(rule)
    for number, identity in enumerate(people):
        room.joins(number, identity)
    room.pass_to(30)
    assert [on for _, _, _, on in room.happened] == people
    room.leaves(40, people[0])
    assert [on for _, _, phase, on in room.happened if phase == "resolved"] == people
