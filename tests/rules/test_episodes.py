"""When rules fire and resolve: Prometheus' states, over a room's own time."""

from __future__ import annotations

from actors.session import DataReceived, MetadataChanged
from tests.rules.rooms import RuledRoom

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
