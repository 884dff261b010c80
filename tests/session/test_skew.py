"""A server's clock that is half a minute off ours.

Joins and the room's creation are in the server's time, what we hear in ours.  Nothing can be
right to the second then, but counts are, and nothing is negative or more than all of it.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.session import (
    Disconnected,
    Record,
    SessionEnded,
    WebhookReport,
    WebhookRoomStarted,
    apply,
    fold,
    next_deadline,
    session_view,
)
from tests.session.generated_rooms import CLOSED, World, webhooks, worlds
from tests.session.session_story import LEFT, T0, Story, as_json, clock, microphone, person
from tests.session.strategies import quick
from tests.session.test_properties import check_consistent, durations
from tests.session.test_two_witnesses import BEGAN

skews = pytest.mark.parametrize("skew", [-30.0, 30.0])


def seen(world: World, skew: float, hooks: list[WebhookReport]) -> dict[str, Any]:
    """The session of this world where our clock is `skew` ahead of the server's."""
    last: list[Record] = [
        Disconnected(T0 + CLOSED, "room_closed"),
        SessionEnded(T0 + CLOSED, "room_closed"),
    ]
    records: list[Record] = [
        WebhookRoomStarted(T0, T0, T0, ""),
        *world.watched(0, CLOSED),
        *hooks,
        *last,
    ]
    state, _ = fold(None, evolve(BEGAN, at=T0 + skew))
    for record in sorted(records, key=lambda record: record.at):
        state, _ = fold(state, evolve(record, at=record.at + skew))
        check_consistent(state)
    view = as_json(session_view(state, T0 + skew + CLOSED))
    assert min(durations(view)) >= 0.0
    assert 0.0 <= view["coverage"] <= 1.0
    return view


@skews
@quick
@given(world=worlds(), data=st.data())
def test_counts_are_right_and_nothing_is_negative(
    skew: float, world: World, data: st.DataObject
) -> None:
    view = seen(world, skew, data.draw(webhooks(world, complete=True)))
    assert view["people"]["unique"] == len(world.identities)
    assert view["people"]["joins"] == len(world.stays)
    for line in view["participants"]:
        stays = world.of(line["identity"])
        assert line["sids"] == [stay.sid for stay in stays]
        for join in line["joins"]:
            assert join["left_at"] >= join["joined_at"]


@skews
def test_people_who_are_there_stay_there(skew: float) -> None:
    story = Story(created=-skew)
    alice = person("alice", "PA_1", 1 - skew, microphone("TR_1"))
    bob = person("bob", "PA_2", 1 - skew)
    story.joined(1, alice)
    story.webhook_joined(1.2, bob)
    story.joined(3, bob)
    story.tick(60)
    assert next_deadline(story.state) is None
    assert story.counts() == (2, 2, 2, 2)
    assert 0.0 < story.view(60)["coverage"] <= 1.0


def test_a_leave_that_is_told_counts_in_the_time_of_its_join_where_ours_is_ahead() -> None:
    story = Story()
    story.joined(40, person("alice", "PA_1", 10))
    story.left(60, "alice", "PA_1")
    story.webhook_left(60.2, person("alice", "PA_1", 10), 30)
    (join,) = story.participant("alice")["joins"]
    assert (clock(join["left_at"]), join["leave_reason"]) == (30.5, LEFT)


def test_a_clock_that_is_set_back_never_takes_anything_back() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.tick(100)
    before = story.state
    story.state, _ = apply(story.state, evolve(WebhookRoomStarted(T0, T0, None, ""), at=T0 - 3600))
    story.left(-3500, "alice", "PA_1")
    assert story.state.last_at == before.last_at
    assert story.participant("alice", -3500)["seconds"] == 0.0
    assert story.view(-3500)["coverage"] >= 0.0
