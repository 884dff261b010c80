"""The acts of a limit: about whom, how often, and who of fifty is removed."""

from __future__ import annotations

import random

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.room_limits import COMES_BACK, MOST_ACTS, WINDOW, RoomLimits
from actors.session import ParticipantInfo, ParticipantJoined, Permissions, TrackInfo, apply
from actors.session.changes import change
from actors.session.events import ParticipantActive, PermissionsChanged, RecorderDetected
from actors.session.rule_records import PlannedAct
from actors.session.rule_state import Episode, Hold, OpenAct, RuleState
from tests.rules.limited_rooms import T0, LimitedRoom, limit

NO_PERMISSIONS = Permissions(can_publish=False, can_publish_data=False)


@given(st.randoms(use_true_random=False), st.sets(st.integers(0, 49)))
def test_of_fifty_in_a_storm_the_oldest_ten_stay_in_whatever_order_they_become_known(
    order: random.Random, by_webhook: set[int]
) -> None:
    room, joins = LimitedRoom(limit(people=10)), list(range(50))
    order.shuffle(joins)
    for number in joins:
        info = ParticipantInfo(f"p{number}", f"PA_{number}", T0 + number / 50)
        if number in by_webhook:
            room.webhook_joins(1.0, info.identity, sid=info.sid, joined_at=info.joined_at)
        else:
            room.take(1.0, ParticipantJoined(T0 + 1, info))
    assert {act.step for act in room.acts} == {"remove"}
    assert sorted(act.on for act in room.acts) == sorted(f"p{n}" for n in range(10, 50))


def test_agents_egress_and_ingress_are_neither_counted_nor_touched_and_callers_are_people() -> None:
    room = LimitedRoom(limit(people=1))
    for number, kind in enumerate(("agent", "egress", "ingress", "standard", "sip")):
        room.joins(number, f"{kind}-1", kind=kind)
    room.webhook_joins(6, "agent-2", kind="agent")
    assert room.done == [(4.0, "remove", "sip-1")]


def test_a_join_counts_once_it_is_active_and_not_if_it_is_a_recorder() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    room.joins(1, "bob", active=False)
    room.joins(1, "rec", active=False)
    room.take(2, RecorderDetected(T0 + 2, "rec", "PA_3"))
    room.take(2, ParticipantActive(T0 + 2, "rec", "PA_3"))
    assert room.done == []
    room.take(3, ParticipantActive(T0 + 3, "bob", "PA_2"))
    assert room.done == [(3.0, "remove", "bob")]


def test_a_silent_person_is_known_by_the_webhook_before_the_room_announces_them() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    bob = room.webhook_joins(1, "bob")
    assert room.done == [(1.0, "remove", "bob")]
    room.take(2, ParticipantJoined(T0 + 2, bob))
    assert room.done == [(1.0, "remove", "bob")], "the same join"


def test_the_room_may_announce_a_newer_join_first() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(5, "new", joined=4.0)
    room.joins(5, "old", joined=3.0)
    assert room.done == [(5.0, "remove", "new")]


def test_an_identity_that_joins_twice_counts_once() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    room.webhook_joins(1, "ann")
    assert room.done == []


def test_a_leave_without_a_reason_makes_room_and_if_it_was_untrue_the_newest_goes() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    room.leaves(10, "ann", reason=None)
    room.joins(11, "bob")
    assert room.done == []
    ann = room.state.present["ann"].joins[-1]
    room.take(12, ParticipantJoined(T0 + 12, ParticipantInfo("ann", ann.sid, ann.joined_at)))
    assert room.done == [(12.0, "remove", "bob")]


def test_in_a_gap_nothing_is_done_and_after_it_the_room_is_looked_at() -> None:
    room = LimitedRoom(limit(people=1, person_duration=60.0))
    room.joins(0, "ann")
    room.loses_connection(10)
    room.webhook_joins(20, "bob")
    room.pass_to(100)
    assert room.done == []
    room.is_back(120, ParticipantInfo("ann", "PA_1", T0), ParticipantInfo("bob", "PA_2", T0 + 20))
    assert room.done == [(120.0, "remove", "bob"), (120.0, "remove", "ann")]


def test_each_join_of_somebody_who_comes_back_is_acted_on_until_it_would_be_a_war() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    for number in range(20):
        room.joins(10 + number, "bob")
        room.leaves(10.5 + number, "bob")
    removals = [act for act in room.acts if act.step == "remove"]
    assert len(removals) == MOST_ACTS
    [alert] = [act for act in room.acts if act.step == "alert"]
    assert (alert.on, alert.detail) == ("bob", COMES_BACK)
    room.pass_to(200)
    assert room.done[-1] == (10 + MOST_ACTS - 1 + WINDOW, "resolve", "bob")


def test_somebody_who_came_back_too_often_goes_as_soon_as_the_bound_allows_it() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    for number in range(MOST_ACTS):
        room.joins(10 + number, "bob")
        room.leaves(10.5 + number, "bob")
    room.joins(20, "bob")
    assert room.done[-1] == (20.0, "alert", "bob")
    room.pass_to(100)
    assert room.done[-1] == (10 + WINDOW, "remove", "bob")


def test_acts_of_before_the_clock_was_set_back_bound_nothing() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    for number in range(MOST_ACTS):
        room.joins(10_010 + number, "bob")
        room.leaves(10_010.5 + number, "bob")
    room.joins(20, "bob", joined=10_030)
    assert room.done[-1] == (20.0, "remove", "bob")


def test_the_newest_tracks_of_a_person_are_muted_and_again_if_they_are_unmuted() -> None:
    room = LimitedRoom(limit(tracks_per_person=2))
    tracks = tuple(TrackInfo(f"TR_{n}", "audio", "microphone") for n in range(2))
    room.joins(1, "ann", tracks=tracks)
    room.publishes(2, "ann", "TR_2")
    room.mutes(3, "ann", "TR_2")
    room.unmutes(4, "ann", "TR_2")
    assert room.done == [(2.0, "mute", "ann"), (4.0, "mute", "ann")]
    assert {act.excess.track_sid for act in room.acts} == {"TR_2"}


def test_time_makes_a_room_and_a_person_too_old() -> None:
    room = LimitedRoom(limit(duration=600.0, person_duration=300.0))
    room.joins(100, "ann")
    room.joins(200, "bob")
    room.pass_to(700)
    assert room.done == [
        (400.0, "remove", "ann"),
        (500.0, "remove", "bob"),
        (600.0, "end_room", ""),
    ]


def test_two_bounds_that_want_the_same_lead_to_one_act() -> None:
    room = LimitedRoom(limit("few", people=0), limit("short", person_duration=10.0))
    room.joins(0, "ann")
    room.pass_to(20)
    assert room.done == [(0.0, "remove", "ann")]


def test_a_hold_ends_when_there_is_room_and_takes_only_what_was_there() -> None:
    room = LimitedRoom(limit(people=1, over="hold"))
    room.joins(0, "ann")
    room.joins(1, "bob")
    room.joins(2, "viewer", permissions=NO_PERMISSIONS)
    room.take(3, PermissionsChanged(T0 + 3, "bob", NO_PERMISSIONS))
    room.leaves(4, "ann")
    room.leaves(5, "bob")
    assert room.done == [(1.0, "hold", "bob"), (4.0, "release", "bob")]


def test_an_alert_fires_once_for_the_room_and_is_over_with_the_excess() -> None:
    room = LimitedRoom(limit(people=1, over="alert"))
    for number in range(4):
        room.joins(number, f"p{number}")
    for number in range(4):
        room.leaves(10 + number, f"p{number}")
    assert room.done == [(1.0, "alert", ""), (12.0, "resolve", "")]


def test_a_look_after_a_record_that_changes_nothing_reads_no_person() -> None:
    room = LimitedRoom(limit(people=3))
    for number in range(3):
        room.joins(number, f"p{number}")
    state, _ = apply(room.state, PermissionsChanged(T0 + 5, "p1", Permissions()))
    assert state is not room.state
    # A state whose people cannot be read shows that they are not.
    assert room.limits.look(evolve(state, present=None), T0 + 6) == ()


def test_a_limit_of_other_rooms_is_idle() -> None:
    assert RoomLimits([evolve(limit(people=0), rooms=("team-*",))], LimitedRoom().state).idle


def restarted(room: LimitedRoom, rules: RuleState) -> list[tuple[str, str]]:
    """The acts that another run of the worker wants at its first look."""
    state = change(room.state, rules=rules)
    acts = RoomLimits([limit(people=1, over=room.over)], state).look(state, room.now)
    return [(act.step, act.on) for act in acts]


def test_another_run_repeats_no_act_that_is_under_way_and_ends_what_is_over() -> None:
    room = LimitedRoom(limit(people=1))
    room.joins(0, "ann")
    room.joins(1, "bob")
    plan = PlannedAct("1", "remove", sid="PA_2")
    open_act = {"1": OpenAct("l", "bob", T0, plan)}
    assert restarted(room, RuleState(open_acts=open_act)) == []
    assert restarted(room, RuleState()) == [("remove", "bob")]


def test_another_run_knows_the_holds_and_the_alerts_of_the_one_before() -> None:
    room = LimitedRoom(limit(people=1), over="hold")
    room.joins(0, "ann")
    room.joins(1, "bob")
    hold = Hold(("l",), None)
    assert restarted(room, RuleState(holds={"bob": hold})) == []
    assert restarted(room, RuleState(holds={"ann": hold, "bob": hold})) == [("release", "ann")]
    room = LimitedRoom(limit(people=1), over="alert")
    room.joins(0, "ann")
    room.joins(1, "bob")
    firing = {"l": Episode("l", "", "firing", T0, alert=True)}
    assert restarted(room, RuleState(firing)) == []
    room.leaves(2, "bob")
    assert restarted(room, RuleState(firing)) == [("resolve", "")]
