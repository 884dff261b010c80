"""The room and the webhooks tell the same story, in whatever order and however lossy."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.session import (
    Disconnected,
    Record,
    RoomEvent,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    SessionState,
    WebhookReport,
    apply,
    fold,
    session_view,
)
from tests.session.generated_rooms import CLOSED, LATEST, World, mixed, webhooks, worlds
from tests.session.session_story import LEFT, T0, as_json, clock
from tests.session.strategies import quick
from tests.session.test_properties import check_consistent

BEGAN: Final = SessionBegan(T0, "room", "RM_1", ("AJ_1",), "worker", "agent", T0)


def new_entries(records: list[Record]) -> SessionState:
    state, _ = fold(None, BEGAN)
    for record in records:
        state, _ = fold(state, record)
        check_consistent(state)
    return state


def ended(at: float, reason: str = "worker_stopped") -> list[Record]:
    return [Disconnected(T0 + at, None), SessionEnded(T0 + at, reason)]


def view(state: SessionState) -> dict[str, Any]:
    return as_json(session_view(state, T0 + CLOSED + 3 * LATEST))


def in_order(room: list[Record], hooks: list[WebhookReport]) -> list[Record]:
    return sorted([*room, *hooks], key=lambda record: record.at)


def check_joins_are_the_truth(state: SessionState, world: World) -> None:
    lines = {line["identity"]: line for line in view(state)["participants"]}
    assert set(lines) == set(world.identities)
    for identity, line in lines.items():
        stays = world.of(identity)
        assert line["sids"] == [stay.sid for stay in stays]
        for join, stay in zip(line["joins"], stays, strict=True):
            assert clock(join["joined_at"]) == stay.start
            assert clock(join["left_at"]) == pytest.approx(stay.end, abs=1.0)
            assert join["leave_reason"] == LEFT
    counts = view(state)["people"]
    assert (counts["current"], counts["unique"]) == (0, len(lines))
    assert counts["joins"] == len(world.stays)


def check_tracks_are_the_truth(state: SessionState, world: World) -> None:
    publishing = {stay.track.sid: stay for stay in world.stays if stay.publishes}
    lines = {line["sid"]: line for line in view(state)["tracks"]}
    assert set(lines) == set(publishing)
    for sid, line in lines.items():
        stay = publishing[sid]
        assert clock(line["published_at"]) == pytest.approx(stay.start, abs=1.0)
        assert clock(line["unpublished_at"]) == pytest.approx(stay.end, abs=1.01)


@quick
@given(worlds(), st.data())
def test_with_all_webhooks_the_joins_are_the_truth_whatever_an_agent_could_see(
    world: World, data: st.DataObject
) -> None:
    hooks = data.draw(webhooks(world, complete=True))
    state = new_entries(in_order([*world.watched(0, CLOSED), *ended(CLOSED, "room_closed")], hooks))
    check_joins_are_the_truth(state, world)


@quick
@given(worlds(), st.data())
def test_with_all_webhooks_the_joins_are_the_truth_though_the_worker_was_away(
    world: World, data: st.DataObject
) -> None:
    """It is killed or stopped, comes back or does not; the webhooks come meanwhile or later."""
    stop, back = sorted(data.draw(st.lists(st.floats(1, CLOSED), min_size=2, max_size=2)))
    hooks = data.draw(webhooks(world, complete=True))
    away: list[Record] = [Disconnected(T0 + stop, None)]
    if data.draw(st.booleans()):
        away = ended(stop)
    returns: list[Record] = []
    if data.draw(st.booleans()):
        returns = [SessionContinued(T0 + back, "AJ_2", None), *world.watched(back, CLOSED)]
    last = ended(CLOSED, "found_ended")
    records = in_order([*world.watched(0, stop), *away, *returns, *last], hooks)
    state = new_entries(records)
    check_joins_are_the_truth(state, world)
    check_tracks_are_the_truth(state, world)
    ending = view(state)
    assert clock(ending["ended_at"]) == pytest.approx(CLOSED, abs=1.0)
    watched = stop + (CLOSED - back if returns else 0.0)
    assert ending["coverage"] == pytest.approx(watched / CLOSED, abs=0.02)


@quick
@given(worlds(), st.data())
def test_with_all_webhooks_the_joins_are_the_truth_though_nobody_watched(
    world: World, data: st.DataObject
) -> None:
    hooks = data.draw(webhooks(world, complete=True))
    state = new_entries(in_order(ended(CLOSED + 2 * LATEST, "found_ended"), hooks))
    check_joins_are_the_truth(state, world)
    check_tracks_are_the_truth(state, world)
    ending = view(state)
    assert clock(ending["ended_at"]) == pytest.approx(CLOSED, abs=1.0)
    assert ending["coverage"] == 0.0


@quick
@given(worlds(longest_blindness=False), st.data())
def test_with_or_without_webhooks_the_result_is_the_same_where_both_can_see(
    world: World, data: st.DataObject
) -> None:
    """No visit or absence is shorter than the room's delay in reporting it."""
    room = world.watched(0, CLOSED + 4)
    last = ended(CLOSED + 4, "room_closed")
    hooks = data.draw(webhooks(world, complete=False))
    alone, both = (
        view(new_entries([*room, *last])),
        view(new_entries(in_order([*room, *last], hooks))),
    )
    for key in ("people", "track_counts", "data_messages", "quality", "talk", "status"):
        if key != "people":
            assert both[key] == alone[key]
    for key in ("current", "unique", "joins"):
        assert both["people"][key] == alone["people"][key]
    assert both["people"]["peak"] <= alone["people"]["peak"]
    for line, same in zip(both["participants"], alone["participants"], strict=True):
        assert line["sids"] == same["sids"]
        for join, other in zip(line["joins"], same["joins"], strict=True):
            assert join["joined_at"] == other["joined_at"]
            assert join["leave_reason"] == other["leave_reason"] or other["leave_reason"] is None
            heard, known = clock(other["left_at"]), clock(join["left_at"])
            assert heard is not None
            assert known is not None
            slack = 1.0 if world.of(line["identity"])[0].publishes else 4.0
            assert known <= heard <= known + slack


@quick
@given(worlds(), st.data())
def test_a_webhook_said_twice_is_a_webhook_said_once(world: World, data: st.DataObject) -> None:
    hooks = data.draw(webhooks(world, complete=False))
    stop = data.draw(st.floats(0, CLOSED))
    events: list[RoomEvent] = mixed(world.watched(0, stop), hooks)
    state, _ = fold(None, BEGAN)
    for event in events:
        state, _ = apply(state, event)
        if isinstance(event, WebhookReport):
            assert apply(state, event) == (state, ())
