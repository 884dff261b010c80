"""A trial over a journal: the same acts as beside a live session, and none out of a gap."""

from __future__ import annotations

from actors.acting.rule_trial import RESOLVED, RuleTrial, watched
from actors.rules.rule_config import read_rules
from actors.session import (
    Disconnected,
    ParticipantInfo,
    ParticipantJoined,
    Roster,
    SessionBegan,
    SessionEnded,
    Watching,
)
from actors.session.record import Record
from tests.rules.limited_rooms import T0, limit

BEGAN = SessionBegan(T0, "team-1", "RM_1", ("AJ_1",), "worker", "agent", T0)
ALONE = read_rules(
    [{"name": "alone", "when": {"people": "== 1"}, "for": "5m", "then": ["end_room"]}]
)


def watching(at: float, *people: str) -> Watching:
    there = tuple(ParticipantInfo(one, f"PA_{one}", T0) for one in people)
    return Watching(T0 + at, Roster("RM_1", "", there, T0))


def joined(at: float, identity: str) -> ParticipantJoined:
    return ParticipantJoined(T0 + at, ParticipantInfo(identity, f"PA_{identity}", T0 + at))


def acts(*records: Record, until: float = 0.0) -> list[tuple[float, str, str, str]]:
    rows = RuleTrial(ALONE, (limit(people=2),)).session([BEGAN, *records], T0 + until)
    return [(round(one.at - T0, 3), one.rule, one.act, one.on) for one in rows]


def test_a_rule_fires_at_its_own_time_between_two_events_and_a_limit_at_the_event() -> None:
    assert acts(watching(0), joined(10, "ann"), joined(400, "bob"), joined(401, "eve")) == [
        (310.0, "alone", "end_room", ""),
        (400.0, "alone", RESOLVED, ""),
        (401.0, "l", "remove", "eve"),
    ]


def test_a_session_that_goes_on_is_looked_at_until_the_end_of_what_is_stored() -> None:
    records = (watching(0), joined(10, "ann"))
    assert acts(*records, until=300.0) == []
    assert acts(*records, until=311.0) == [(310.0, "alone", "end_room", "")]
    over = (*records, SessionEnded(T0 + 20, "room_closed"))
    assert acts(*over, until=9_999.0) == []


def test_a_gap_neither_fires_nor_resolves() -> None:
    gap = Disconnected(T0 + 20, None, "worker_failed")
    assert acts(watching(0), joined(10, "ann"), gap, watching(900, "ann"), until=1_100.0) == []
    assert acts(watching(0), joined(10, "ann"), gap, watching(900, "ann"), until=2_000.0) == [
        (1190.0, "alone", "end_room", "")
    ]


def test_rooms_that_nothing_watches_are_not_tried() -> None:
    assert watched(ALONE, (), "any")
    assert not watched((), (), "any")
