"""Laws of the fold that hold for any room, searched for counterexamples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.session import (
    ENTRY_KEYS,
    QUALITIES,
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    Resynced,
    RoomEvent,
    Roster,
    SessionState,
    Tick,
    TimelineEntry,
    TrackPublished,
    TrackUnpublished,
    Watching,
    apply,
    begin,
    end,
    next_deadline,
    session_view,
    totals,
)
from actors.session.view import every_track, everyone
from tests.session.generated_truths import HORIZON, STEP, Truth, truths
from tests.session.session_story import T0, as_json
from tests.session.strategies import (
    agent_uploads,
    any_event,
    quick,
    recording_reports,
    room_events,
    times,
    webhook_reports,
)
from tests.session.test_view import check_shape


def started(*there: ParticipantInfo, key: str | None = None) -> SessionState:
    state = begin("room", "RM_1", ("AJ_1",), "worker", "agent", T0, T0, key)
    state, _ = apply(state, Watching(T0, Roster("RM_1", "", there)))
    return state


def folded(
    state: SessionState, events: list[RoomEvent]
) -> tuple[SessionState, list[TimelineEntry]]:
    entries: list[TimelineEntry] = []
    for event in events:
        state, new_entries = apply(state, event)
        entries.extend(new_entries)
    return state, entries


# -- any sequence of events at all

person_keys = st.sampled_from([None, "attributes.x", "metadata.x"])


def check_consistent(state: SessionState) -> None:
    """Check the laws that hold for every state, after any events."""
    people, tracks = everyone(state), every_track(state)
    counted = [person for person in people if person.counted]
    assert state.current == len({one.person for one in state.present.values() if one.takes_part})
    assert state.unique == len({person.person for person in counted})
    if state.person_key is None:
        assert not state.persons
        assert all(person.person == person.identity for person in people)
    assert state.joins == sum(person.visits for person in people)
    assert state.aborted_joins == sum(person.aborted_joins for person in people)
    certain = {
        person.person
        for identity, person in state.present.items()
        if person.takes_part and identity not in state.provisional_leaves
    }
    assert state.peak >= len(certain)
    for person in people:
        open_joins = [join for join in person.joins if join.left_at is None]
        assert len(open_joins) == (person.identity in state.present)
        assert not open_joins or person.joins[-1] is open_joins[0]
        if person.identity not in state.present:
            assert (person.quality.level, person.talk.since) == (None, None)
    assert state.tracks_total == len(tracks) == sum(state.by_source.values())
    for track in tracks:
        assert (track.unpublished_at is None) == (track.sid in state.tracks)
        assert track.unpublished_at is None or track.muted.since is None
    assert set(state.provisional_leaves) <= set(state.present)
    assert set(state.provisional_unpublishes) <= set(state.tracks)
    talking = {one.identity for one in people if one.talk.since is not None}
    assert state.speaking == talking
    waiting = [
        leave.due
        for leave in (
            *state.provisional_leaves.values(),
            *state.provisional_unpublishes.values(),
            *state.expected.values(),
        )
    ]
    assert (state.due or float("inf")) == min(waiting, default=float("inf"))
    assert not state.deferred or state.reconnecting
    assert state.messages.total == sum(state.messages.by_topic.values())
    known = sum(person.data_messages for person in people) + sum(state.unannounced_senders.values())
    assert state.messages.total == known + state.messages.unattributed


def durations(value: Any) -> list[float]:
    """Every number in a view."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in durations(one)]
    if isinstance(value, list):
        return [number for one in value for number in durations(one)]
    return [value] if isinstance(value, (int, float)) else []


@quick
@given(st.booleans(), st.lists(any_event, max_size=40), times, person_keys)
def test_no_sequence_of_events_breaks_the_fold(
    watching: bool, events: list[RoomEvent], now: float, key: str | None
) -> None:
    if watching:
        state = started(key=key)
    else:
        state = begin("room", "", ("AJ_1",), "worker", "agent", T0, None, key)
    timeline: list[TimelineEntry] = []
    for event in events:
        state, entries = apply(state, event)
        timeline.extend(entries)
        check_consistent(state)
        for entry in entries:
            assert set(entry.data) == set(ENTRY_KEYS[entry.event])
    view = as_json(session_view(state, now, timeline))
    check_shape(view)
    assert min(durations(view)) >= 0.0
    assert view["coverage"] <= 1.0


@quick
@given(st.lists(any_event, max_size=30))
def test_the_same_events_give_the_same_state_and_older_states_stay_as_they_were(
    events: list[RoomEvent],
) -> None:
    state = started()
    kept: list[tuple[SessionState, dict[str, Any]]] = []
    for event in events:
        kept.append((state, as_json(session_view(state, T0 + 100))))
        once, again = apply(state, event), apply(state, event)
        assert once == again
        state = once[0]
    for earlier, view in kept:
        assert as_json(session_view(earlier, T0 + 100)) == view


@quick
@given(
    st.lists(any_event, max_size=30),
    st.floats(T0, T0 + 100),
    st.lists(room_events),
    st.lists(st.one_of(webhook_reports, recording_reports, agent_uploads)),
)
def test_the_end_leaves_nothing_open_and_only_reports_correct_it(
    events: list[RoomEvent], at: float, late: list[RoomEvent], corrections: list[RoomEvent]
) -> None:
    state, _ = folded(started(), events)
    state, (*_, last) = end(state, at, "worker_stopped")
    check_consistent(state)
    assert last.event == "session_ended"
    assert not state.present
    assert not state.tracks
    assert next_deadline(state) is None
    assert as_json(session_view(state, at)) == as_json(session_view(state, at + 1000))
    for event in late:
        assert apply(state, event) == (state, ())
    for event in corrections:
        state, _ = apply(state, event)
        check_consistent(state)
        assert (state.ended, len(state.present), len(state.tracks)) == (True, 0, 0)
        assert next_deadline(state) is None


# -- what people really did


@quick
@given(truths(), st.data())
def test_in_any_order_and_however_often_told_the_counts_are_those_of_the_truth(
    truth: Truth, data: st.DataObject
) -> None:
    events = truth.events()
    doubled = [event for event in events if not isinstance(event, DataReceived)]
    extra = data.draw(st.lists(st.sampled_from(doubled), max_size=5))
    mixed = data.draw(st.permutations([*events, *extra]))
    roster = Roster("RM_1", "", tuple(truth.there(HORIZON)))
    state, _ = folded(started(), [*mixed, Resynced(T0 + HORIZON, roster)])
    check_consistent(state)
    check_counts(state, truth)


def check_counts(state: SessionState, truth: Truth) -> None:
    people = truth.people()
    view = as_json(session_view(state, T0 + HORIZON))
    assert view["people"]["unique"] == len(people)
    assert view["people"]["joins"] == sum(v.identity in people for v in truth.visits)
    assert view["people"]["current"] == len(
        [info for info in truth.there(HORIZON) if info.identity in people]
    )
    for line in view["participants"]:
        visits = truth.of(line["identity"])
        assert line["sids"] == [visit.sid for visit in visits]
        assert line["data_messages"] == sum(len(visit.messages) for visit in visits)
    now = totals(state, T0 + HORIZON)
    there = truth.there(HORIZON)
    assert now.tracks_total == len(truth.tracks())
    assert now.tracks == sum(len(info.tracks) for info in there)
    muted = {sid for sid, track in state.tracks.items() if track.muted.since is not None}
    assert muted == {track.sid for info in there for track in info.tracks if track.muted}
    assert now.messages == sum(len(visit.messages) for visit in truth.visits)


@quick
@given(truths())
def test_seconds_in_each_state_are_those_of_the_truth(truth: Truth) -> None:
    state, _ = folded(started(), truth.events())
    check_counts(state, truth)
    check_seconds(state, truth)


def check_seconds(state: SessionState, truth: Truth) -> None:
    view = as_json(session_view(state, T0 + HORIZON))
    for line in view["participants"]:
        visits = truth.of(line["identity"])
        stay = [(HORIZON if visit.end is None else visit.end) - visit.start for visit in visits]
        assert line["seconds"] == pytest.approx(sum(stay))
        new_entries = Counter[str]()
        for visit in visits:
            new_entries.update(visit.quality_seconds())
        measured = {level: seconds or 0.0 for level, seconds in line["quality"].items()}
        assert measured == pytest.approx({level: new_entries[level] for level in QUALITIES})
        assert sum(measured.values()) <= line["seconds"] + 0.001
    people = truth.people()
    assert view["people_seconds"] == pytest.approx(
        sum(line["seconds"] for line in view["participants"] if line["identity"] in people)
    )
    for line in view["tracks"]:
        (track,) = [one for one in truth.tracks() if one.sid == line["sid"]]
        assert line["muted_seconds"] == pytest.approx(track.muted_seconds(), abs=0.01)


# -- reconnects


@st.composite
def blackouts(draw: st.DrawFn, truth: Truth) -> list[RoomEvent]:
    """The truth's events with reconnects of our own between them, as facts 6 lists them."""
    events = truth.events()
    starts = draw(st.lists(st.integers(0, HORIZON // STEP - 1), unique=True, max_size=4))
    for start in starts:
        events.extend(blackout(draw, truth, start * STEP + 20))
    return sorted(events, key=lambda event: event.at)  # stable: ties stay in order


def blackout(draw: st.DrawFn, truth: Truth, at: int) -> list[RoomEvent]:
    kind = draw(st.sampled_from(["resume", "restart", "leaves first"]))
    long = draw(st.floats(0.1, 18.0))
    there, begun, back = truth.there(at), T0 + at, T0 + at + long
    gone: list[RoomEvent] = []
    for info in there:
        gone.extend(TrackUnpublished(begun, info.identity, track.sid) for track in info.tracks)
        gone.append(ParticipantLeft(begun, info.identity, info.sid, None))
    if kind == "resume":
        everybody = Roster("RM_1", "", tuple(there))
        return [Reconnecting(begun), Reconnected(back, everybody)]
    late = {info.sid for info in there if not info.tracks and draw(st.booleans())}
    announced: list[RoomEvent] = []
    for info in (info for info in there if info.sid not in late):
        announced.append(ParticipantJoined(back, info))
        announced.extend(TrackPublished(back, info.identity, track) for track in info.tracks)
    roster = Roster("RM_1", "", tuple(info for info in there if info.sid not in late))
    batch = back + draw(st.floats(0.0, 3.0))
    behind = [ParticipantJoined(batch, info) for info in there if info.sid in late]
    down: list[RoomEvent] = [Reconnecting(begun)]
    first = [*gone, *down] if kind == "leaves first" else [*down, *gone]
    return [*first, *announced, Reconnected(back, roster), *behind]


@quick
@given(truths(), st.data())
def test_reconnects_of_our_own_change_nothing_but_the_coverage(
    truth: Truth, data: st.DataObject
) -> None:
    events = data.draw(blackouts(truth))
    calm, told_calm = folded(started(), truth.events())
    state, new_entries = folded(started(), events)
    check_consistent(state)
    check_counts(state, truth)
    check_seconds(state, truth)
    seen, expected = (
        as_json(session_view(state, T0 + HORIZON)),
        as_json(session_view(calm, T0 + HORIZON)),
    )
    assert seen["participants"] == expected["participants"]
    assert seen["people"] == expected["people"]
    assert seen["track_counts"] == expected["track_counts"]
    for track, same in zip(seen["tracks"], expected["tracks"], strict=True):
        assert track["published_at"] == same["published_at"]
        assert track["unpublished_at"] == same["unpublished_at"]
        assert track["muted_seconds"] == same["muted_seconds"]
    people = ("participant_connected", "participant_disconnected")
    assert [e for e in new_entries if e.event in people] == [
        e for e in told_calm if e.event in people
    ]


@quick
@given(truths(), st.data())
def test_ticks_change_nothing_that_is_known_in_the_end(truth: Truth, data: st.DataObject) -> None:
    """The order of the actor's timer and the next event must not matter."""
    events = data.draw(blackouts(truth))
    ticks = data.draw(st.lists(st.floats(T0, T0 + HORIZON).map(Tick), max_size=20))
    last = Tick(T0 + HORIZON + 100)
    ticked = sorted([*events, *ticks], key=lambda event: event.at)
    one, new_entries = folded(started(), [*events, last])
    other, told_other = folded(started(), [*ticked, last])
    assert as_json(session_view(one, last.at)) == as_json(session_view(other, last.at))
    assert sorted(map(repr, new_entries)) == sorted(map(repr, told_other))
