"""Episodes and acts in a session: what the records of rules make of a state and its timeline."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from actors.session import Permissions, SessionBegan, SessionState, TimelineEntry, fold
from actors.session.codec import decode_state, encode_state
from actors.session.record import Record, SessionContinued, SessionEnded
from actors.session.rule_records import (
    ActReported,
    PlannedAct,
    RuleFired,
    RulePending,
    RuleResolved,
)
from actors.session.rule_state import Episode, Hold, RuleState, episode_key
from tests.session.session_story import T0, Story, person

REMOVE: Final = PlannedAct("1", "remove", sid="PA_1")


class RuledSession:
    """A watched room with one person."""

    def __init__(self) -> None:
        self.state: SessionState = Story(person("alice", "PA_1", 0.0)).state
        self.entries: list[TimelineEntry] = []

    def take(self, *records: Record) -> list[dict[str, Any]]:
        """The entries of these records, as data."""
        new = list[TimelineEntry]()
        for record in records:
            self.state, entries = fold(self.state, record)
            new += entries
        self.entries += new
        return [{"event": one.event, **one.data} for one in new]

    @property
    def rules(self) -> RuleState:
        assert self.state.rules is not None
        return self.state.rules


def test_an_episode_is_pending_then_fires_once_and_is_resolved() -> None:
    room = RuledSession()
    assert room.take(RulePending(T0 + 1, "alone")) == []
    assert room.rules.episodes == {
        episode_key("alone", ""): Episode("alone", "", "pending", T0 + 1)
    }
    fired = RuleFired(T0 + 6, "alone", alert=True, text="one person")
    assert room.take(fired) == [
        {"event": "alert_firing", "rule": "alone", "on": None, "text": "one person"}
    ]
    assert room.take(fired) == []
    assert room.take(RuleResolved(T0 + 16, "alone")) == [
        {"event": "alert_resolved", "rule": "alone", "on": None, "seconds": 10.0}
    ]
    assert room.state.rules is None


def test_an_act_is_open_until_its_report_and_has_one_entry() -> None:
    room = RuledSession()
    assert room.take(RuleFired(T0 + 1, "guests", "alice", (REMOVE,))) == []
    [act] = room.rules.open_acts.values()
    assert (act.rule, act.on, act.plan) == ("guests", "alice", REMOVE)
    report = ActReported(T0 + 2, "1", True, "removed")
    assert room.take(report, report) == [
        {
            "event": "act_done",
            "rule": "guests",
            "act": "remove",
            "on": "alice",
            "result": "removed",
        }
    ]
    assert not room.rules.open_acts


def test_an_act_that_needs_no_server_or_was_refused_has_its_entry_at_once() -> None:
    room = RuledSession()
    dry = PlannedAct("1", "remove", result="dry run")
    refused = PlannedAct("2", "remove", result="over the limit", done=False)
    happened = room.take(RuleFired(T0 + 1, "guests", "alice", (dry, refused), lasting=False))
    assert [(one["event"], one["result"]) for one in happened] == [
        ("act_done", "dry run"),
        ("act_failed", "over the limit"),
    ]
    assert room.state.rules is None


def test_somebody_is_on_hold_until_the_release_is_reported() -> None:
    room = RuledSession()
    before = Permissions(sources=("camera",))
    hold = PlannedAct("1", "hold", sid="PA_1", permissions=before)
    room.take(RuleFired(T0 + 1, "lobby", "alice", (hold,)))
    assert not room.rules.holds
    room.take(ActReported(T0 + 2, "1", True))
    assert room.rules.holds == {"alice": Hold(("lobby",), before)}
    room.take(RuleResolved(T0 + 3, "lobby", "alice", (PlannedAct("2", "release"),)))
    assert room.rules.holds == {"alice": Hold(("lobby",), before)}
    room.take(ActReported(T0 + 4, "2", True))
    assert room.state.rules is None


def test_two_rules_hold_somebody_until_both_released_them() -> None:
    room = RuledSession()
    before, taken = Permissions(), Permissions(can_publish=False, can_publish_data=False)
    for rule, permissions in (("lobby", before), ("abuse", taken)):
        hold = PlannedAct(rule, "hold", permissions=permissions)
        room.take(RuleFired(T0 + 1, rule, "alice", (hold,)), ActReported(T0 + 2, rule, True))
    assert room.rules.holds == {"alice": Hold(("lobby", "abuse"), before)}
    release = PlannedAct("3", "release", result="abuse goes on")
    room.take(RuleResolved(T0 + 3, "lobby", "alice", (release,)))
    assert room.rules.holds == {"alice": Hold(("abuse",), before)}


def test_a_ban_lasts_for_its_time_also_if_the_removal_failed() -> None:
    room = RuledSession()
    ban = PlannedAct("1", "ban", sid="PA_1", until=T0 + 100)
    room.take(RuleFired(T0 + 1, "abuse", "alice", (ban,), lasting=False))
    room.take(ActReported(T0 + 2, "1", False, "no answer"))
    assert room.rules.bans["alice"].until == T0 + 100


def test_a_worker_that_stops_resolves_nothing_and_the_end_of_the_room_resolves_all() -> None:
    room = RuledSession()
    room.take(RuleFired(T0 + 1, "alone", alert=True))
    assert [one["event"] for one in room.take(SessionEnded(T0 + 2, "worker_stopped"))] == [
        "session_ended"
    ]
    room.take(SessionContinued(T0 + 9, "AJ_2", None))
    assert room.take(RuleFired(T0 + 9, "alone", alert=True)) == []
    assert [one["event"] for one in room.take(SessionEnded(T0 + 10, "room_closed"))] == [
        "alert_resolved",
        "session_ended",
    ]
    assert room.state.rules is None


def test_a_report_counts_after_the_end_and_a_decision_does_not() -> None:
    room = RuledSession()
    end = PlannedAct("1", "end_room")
    room.take(RuleFired(T0 + 1, "alone", acts=(end,)), SessionEnded(T0 + 2, "room_deleted"))
    assert room.take(RuleFired(T0 + 3, "late", alert=True)) == []
    assert [one["event"] for one in room.take(ActReported(T0 + 3, "1", True, "ended"))] == [
        "act_done"
    ]
    assert room.state.rules is None


def test_a_session_without_rules_has_no_byte_of_them_in_a_store() -> None:
    state, _ = fold(None, SessionBegan(T0, "r", "RM_1", (), "w", "a", None))
    _, fields = msgspec.msgpack.decode(encode_state(state))
    assert "rules" not in fields
    assert decode_state(encode_state(state)) == state


def test_episodes_acts_holds_and_bans_are_read_as_they_were_written() -> None:
    room = RuledSession()
    plans = (REMOVE, PlannedAct("2", "hold"), PlannedAct("3", "ban", until=T0 + 50))
    room.take(
        RulePending(T0 + 1, "silent"),
        RuleFired(T0 + 1, "guests", "alice", plans, alert=True, text="x"),
        ActReported(T0 + 2, "2", True),
        ActReported(T0 + 2, "3", True),
    )
    assert room.rules.episodes
    assert room.rules.open_acts
    assert room.rules.holds
    assert room.rules.bans
    assert decode_state(encode_state(room.state)) == room.state
