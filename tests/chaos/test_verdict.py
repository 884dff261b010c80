"""The verdict of the chaos tests sees each kind of difference, and forgives what it says."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from attrs import evolve

from actors.session import begin, end, session_view
from bridge.lab.people import Deed, RoomTruth
from tests.chaos.verdict import UNDONE, Account, Blind, Comparison, ListedInstance, made_by_us
from tests.session.session_story import LEFT, T0, Story, as_json, microphone, person

ALICE, BOB = person("alice", "PA_1", 20, microphone("TR_1")), person("bob", "PA_2", 30)


def deed(at: float, what: str, identity: str, sid: str, **data: Any) -> Deed:
    return Deed(T0 + at, what, "room", "RM_1", identity, sid, data)


TRUTH = RoomTruth(
    "room",
    "RM_1",
    (
        deed(20, "joined", "alice", "PA_1", joined_at=T0 + 20),
        deed(20, "published", "alice", "PA_1", track="TR_1", source="microphone"),
        deed(30, "joined", "bob", "PA_2", joined_at=T0 + 30),
        deed(40, "sent", "alice", "PA_1", size=10),
        deed(60, "left", "bob", "PA_2", reason=LEFT),
        deed(80, "left", "alice", "PA_1", reason=LEFT),
    ),
)


@pytest.fixture
def session() -> dict[str, Any]:
    """The session of a worker that was blind from 45 to 50 s."""
    story = Story()
    story.joined(20, ALICE)
    story.joined(32, BOB)
    story.data(40, "alice", topic="chat")
    story.disconnected(45)
    story.watching(50, ALICE, BOB)
    story.left(62, "bob", "PA_2")
    story.left(80, "alice", "PA_1")
    story.ends(90)
    return story.view()


def differences(session: dict[str, Any] | None, **forgiven: Any) -> list[str]:
    account = Account("one")
    blind = forgiven.get("blind", [Blind(T0, T0), Blind(T0 + 45, T0 + 50)])
    webhooks = forgiven.get("webhooks", False)
    entries = forgiven.get("entries", ())
    Comparison(account, TRUTH, session, blind, webhooks, entries).run(known_gaps=True)
    return account.differences


def test_what_agrees_agrees(session: dict[str, Any]) -> None:
    assert differences(session) == []
    assert differences(session, webhooks=True) == []


def test_a_session_that_is_missing_is_seen() -> None:
    assert differences(None) == ["room (RM_1): has no session"]


CHANGES: dict[str, dict[tuple[str | int, ...], Any]] = {
    "end": {("end_reason",): "worker_stopped"},
    "current": {("people", "current"): 1},
    "peak": {("people", "peak"): 3},
    "peak too low": {("people", "peak"): 1},
    "unique": {("people", "unique"): 3},
    "joins": {("people", "joins"): 3},
    "seconds": {("people_seconds",): 1.0},
    "kind": {("participants", 0, "kind"): "agent"},
    "sids": {("participants", 0, "sids"): ["PA_1", "PA_9"]},
    "stranger": {("participants", 0, "joins", 0, "sid"): "PA_9"},
    "joined": {("participants", 0, "joins", 0, "joined_at"): "2023-11-14T22:13:45.000Z"},
    "left": {("participants", 0, "joins", 0, "left_at"): "2023-11-14T22:14:55.000Z"},
    "still here": {("participants", 0, "joins", 0, "left_at"): None},
    "on the way in": {("participants", 0, "joins", 0, "active"): False},
    "reason": {("participants", 0, "joins", 0, "leave_reason"): "participant_removed"},
    "track": {("tracks", 0, "sid"): "TR_9"},
    "track's owner": {("tracks", 0, "identity"): "bob"},
    "muted": {("tracks", 0, "muted_seconds"): 1.0},
    "tracks": {("track_counts", "total"): 2},
    "sources": {("track_counts", "by_source"): {"camera": 1}},
    "messages": {("data_messages", "total"): 2, ("data_messages", "by_topic"): {"chat": 2}},
    "no messages": {("data_messages", "total"): 0, ("data_messages", "by_topic"): {}},
    "topics": {("data_messages", "by_topic"): {}},
    "coverage": {("coverage",): 0.5},
    "gaps": {("timeline",): []},
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_field_that_differs_is_seen(session: dict[str, Any], change: str) -> None:
    for path, value in CHANGES[change].items():
        inside: Any = session
        for key in path[:-1]:
            inside = inside[key]
        assert inside[path[-1]] != value
        inside[path[-1]] = value
    assert differences(session)


@pytest.mark.parametrize("unsaved", [0.0, 5.0])
def test_a_visit_just_before_a_kill_is_forgiven_as_the_worker_may_not_have_stored_it(
    session: dict[str, Any], unsaved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = (
        deed(42, "joined", "carol", "PA_3", joined_at=T0 + 42),
        deed(42, "published", "carol", "PA_3", track="TR_3", source="camera"),
        deed(44.5, "sent", "carol", "PA_3", size=10),
        deed(47, "left", "carol", "PA_3", reason=LEFT),
    )
    deeds = sorted((*TRUTH.deeds, *brief), key=lambda one: one.at)
    monkeypatch.setitem(globals(), "TRUTH", evolve(TRUTH, deeds=tuple(deeds)))
    blind = [Blind(T0, T0), Blind(T0 + 45, T0 + 50, unsaved)]
    assert bool(differences(session, blind=blind)) is (unsaved == 0.0)


@pytest.mark.parametrize("active", [False, True])
def test_an_unknown_join_is_forgiven_only_if_it_never_became_active(
    session: dict[str, Any], active: bool
) -> None:
    alice = next(one for one in session["participants"] if one["identity"] == "alice")
    alice["joins"].append({**alice["joins"][0], "sid": "PA_9", "active": active})
    alice["sids"].append("PA_9")
    assert bool(differences(session)) is active


def test_a_publication_whose_media_did_not_come_may_be_in_the_session_or_not(
    session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [
        evolve(one, data={**one.data, "lost": True}) if one.deed == "published" else one
        for one in TRUTH.deeds
    ]
    monkeypatch.setitem(globals(), "TRUTH", evolve(TRUTH, deeds=tuple(lost)))
    assert differences(session) == []
    session["tracks"] = []
    session["track_counts"] |= {"total": 0, "by_source": {}}
    assert differences(session) == []


def test_who_left_while_nobody_watched_is_only_with_webhooks_known_to_the_second(
    session: dict[str, Any],
) -> None:
    early = deepcopy(session)
    bob = next(one for one in early["participants"] if one["identity"] == "bob")
    bob["joins"][0]["left_at"] = "2023-11-14T22:14:05.000Z"  # 45 s: the watching stopped
    blind = [Blind(T0, T0), Blind(T0 + 45, T0 + 65)]
    assert not any("left" in one for one in differences(early, blind=blind))
    assert any("left" in one for one in differences(early, blind=blind, webhooks=True))


@pytest.mark.parametrize("entered", [0.0, 50.0])
def test_a_gap_that_nobody_brought_about_is_forgiven_only_with_an_entry_of_ours(
    session: dict[str, Any], entered: float
) -> None:
    found = differences(session, blind=[Blind(T0, T0)], entries={T0, T0 + entered})
    assert [one for one in found if "gap" in one or "coverage" in one] == (
        [] if entered else ["room (RM_1): gaps told: [5.0], in truth []"]
    )


def test_a_session_that_saw_nothing_is_seen() -> None:
    state, _ = end(begin("room", "RM_1", (), "worker", "agent", T0), T0 + 90, "room_closed")
    session = as_json(session_view(state, T0 + 90, []))
    assert differences(session) == ["room (RM_1): nothing of it was seen"]


def test_a_room_that_only_we_made_is_seen_unless_it_was_taken_back() -> None:
    assert made_by_us({"RM_1": ListedInstance("atlas", T0, T0 + UNDONE)}) == []
    assert made_by_us({"RM_1": ListedInstance("atlas", T0, T0 + 60, had_people=True)}) == []
    (difference,) = made_by_us(
        {"RM_1": ListedInstance("atlas", T0, T0 + 60), "RM_2": ListedInstance("borealis", T0, T0)}
    )
    assert "atlas (RM_1)" in difference
