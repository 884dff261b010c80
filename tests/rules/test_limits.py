"""What is beyond a limit, and who of fifty goes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.limits import BadLimit, Limit, excesses, next_time, read_limits
from actors.session import ParticipantInfo, ParticipantJoined, TrackInfo, apply
from tests.rules.rooms import T0, RuledRoom

LIMIT: dict[str, Any] = {"rooms": ["free-*"], "people": 10}


def limit(**keys: Any) -> Limit:
    [one] = read_limits([{"rooms": ["*"], **keys}])
    return one


def over(one: Limit, room: RuledRoom) -> list[tuple[str, str, str]]:
    return [
        (each.kind, each.identity, each.track_sid) for each in excesses(one, room.state, room.now)
    ]


@given(st.randoms(use_true_random=False))
def test_of_fifty_in_a_storm_the_ten_that_joined_first_stay_whatever_the_order(
    order: random.Random,
) -> None:
    joins = [ParticipantInfo(f"p{n}", f"PA_{n}", T0 + n / 50) for n in range(50)]
    order.shuffle(joins)
    room = RuledRoom()
    for who in joins:
        room.state, _ = apply(room.state, ParticipantJoined(T0 + 1, who))
    gone = {each.identity for each in excesses(limit(people=10), room.state, T0 + 1)}
    assert gone == {f"p{n}" for n in range(10, 50)}


def test_agents_and_egress_are_neither_counted_nor_touched_and_callers_are_people() -> None:
    room = RuledRoom()
    for number, kind in enumerate(("agent", "egress", "ingress", "standard", "sip")):
        room.joins(number, f"{kind}-1", kind=kind)
    assert over(limit(people=1), room) == [("people", "sip-1", "")]


def test_the_newest_tracks_of_a_person_are_beyond() -> None:
    room = RuledRoom()
    tracks = tuple(TrackInfo(f"TR_{n}", "audio", "microphone") for n in range(3))
    room.joins(1, "alice", tracks=tracks)
    room.joins(2, "bob", tracks=tracks[:0])
    assert over(limit(tracks_per_person=2), room) == [("tracks", "alice", "TR_2")]


def test_time_makes_a_room_and_a_person_too_old() -> None:
    room = RuledRoom()
    room.joins(100, "alice")
    room.joins(200, "bob")
    one = limit(duration="10m", person_duration="5m")
    assert next_time(one, room.state, room.now) == T0 + 400
    room.now = T0 + 400
    assert over(one, room) == [("person_duration", "alice", "")]
    assert next_time(one, room.state, room.now) == T0 + 500
    room.now = T0 + 600
    assert over(one, room) == [
        ("duration", "", ""),
        ("person_duration", "alice", ""),
        ("person_duration", "bob", ""),
    ]


def test_an_excess_is_the_same_for_as_long_as_it_lasts_and_a_rejoin_is_another() -> None:
    room = RuledRoom()
    room.joins(1, "alice")
    room.joins(2, "bob")
    [first] = excesses(limit(people=1), room.state, room.now)
    assert first.key == evolve(first).key
    room.leaves(3, "bob")
    room.joins(20, "bob")
    [again] = excesses(limit(people=1), room.state, room.now)
    assert again.key != first.key


@pytest.mark.parametrize(
    "changes, key, allowed",
    [
        ({"poeple": 1}, "poeple", "takes name"),
        ({"people": "ten"}, "people", "whole number"),
        ({"people": True}, "people", "whole number"),
        ({"duration": 60}, "duration", "30m"),
        ({"duration": "0s"}, "duration", "more than 0s"),
        ({"over": "kick"}, "over", "remove-newest, hold, alert"),
        ({"rooms": []}, "rooms", "list of room names"),
        ({"message": 5}, "message", "text"),
        ({"people": None}, "people", "it needs people"),
    ],
)
def test_each_mistake_names_its_key(changes: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(BadLimit) as caught:
        read_limits([{**LIMIT, **changes}])
    assert caught.value.key == f"limit 1: {key}"
    assert allowed in str(caught.value)
