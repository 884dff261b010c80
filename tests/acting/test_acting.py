"""Rules over live rooms: what they decide is recorded, done once, and reported."""

from __future__ import annotations

import pytest
import trio

from actors.acting.act_runner import GIVE_UP_AFTER, TRIES
from actors.acting.decisions import BAN_REMOVALS
from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    RoomControlError,
)
from actors.session import Permissions
from actors.simulation.acting_control import ActFault
from tests.acting.ruled_world import RuledWorld

ALONE = {
    "name": "alone",
    "rooms": ["team-*"],
    "when": {"people": "== 1"},
    "for": "5m",
    "then": [{"send": "Closing soon."}, {"end_room": {"warn": "1m"}}],
}
GUESTS = {
    "name": "guests",
    "person": {"attribute": {"role": "guest"}, "present_for": ">= 10s"},
    "then": [{"remove": "Time is up."}],
}


async def test_one_left_is_warned_and_then_the_room_is_ended(virtual_time: int) -> None:
    async with RuledWorld(ALONE).running() as rules:
        room = rules.room("team-1", "alice")
        alice = room.people["alice"]
        await trio.sleep(310)
        assert [text for _, text in alice.received] == [
            b"Closing soon.",
            b"This room closes in 60 s.",
        ]
        assert room in rules.world.rooms.live
        await trio.sleep(60)
        assert room not in rules.world.rooms.live
        assert rules.done == [
            ("act_done", "send", None, "to everybody"),
            ("act_done", "send", None, "to everybody"),
            ("act_done", "end_room", None, "ended"),
        ]
        assert rules.requested("end") == 1
        assert rules.state(room).rules is None


async def test_a_text_is_a_data_packet_where_that_is_wanted_or_no_stream_can_be_sent(
    virtual_time: int,
) -> None:
    packet = {"text": "raw", "topic": "bell", "as": "packet"}
    rule = {"name": "hello", "event": "participant_connected", "then": [{"send": packet}]}
    late = {**rule, "name": "late", "then": [{"send": {"text": "Hello", "to": "person"}}]}
    async with RuledWorld(rule, late).running() as rules:
        room = rules.room("team-1")
        await trio.sleep(1)
        alice = room.join("alice")
        await trio.sleep(1)
        rules.streams = False
        bob = room.join("bob")
        await trio.sleep(1)
        assert alice.received == [("bell", b"raw"), ("lk.chat", b"Hello"), ("bell", b"raw")]
        assert sorted(bob.received) == [("bell", b"raw"), ("lk.chat", b"Hello")]
        assert sorted((on, result) for _, _, on, result in rules.done) == [
            ("alice", "to alice"),
            ("alice", "to everybody, as a data packet"),
            ("bob", "to bob, as a data packet"),
            ("bob", "to everybody, as a data packet"),
        ]


async def test_a_text_stream_of_which_nobody_knows_is_not_sent_again_as_a_packet(
    virtual_time: int,
) -> None:
    rule = {"name": "hello", "event": "participant_connected", "then": [{"send": "Hello"}]}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1")
        await trio.sleep(1)
        rules.world.acting.control.faults.append(ActFault("act_answer_lost"))
        alice = room.join("alice")
        await trio.sleep(30)
        assert alice.received == [("lk.chat", b"Hello")]
        assert [one[-1] for one in rules.done] == [
            "not known whether it was done: the text stream was not confirmed"
        ]


async def test_a_room_into_which_somebody_comes_after_the_warning_is_not_ended(
    virtual_time: int,
) -> None:
    async with RuledWorld(ALONE).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(320)
        room.join("bob")
        await trio.sleep(120)
        assert room in rules.world.rooms.live
        assert rules.requested("end") == 0
        assert rules.done[2:] == [
            ("act_failed", "end_room", None, "not needed: the rule does not hold any more")
        ]


async def test_somebody_of_whom_only_the_server_knows_saves_the_room(virtual_time: int) -> None:
    """People who publish nothing are announced up to 3 s late."""
    async with RuledWorld({**ALONE, "for": "10s", "then": ["end_room"]}).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(9.5)
        rules.world.delivery("team-1").late = 3.0
        room.join("bob")
        await trio.sleep(20)
        assert room in rules.world.rooms.live
        assert rules.requested("end") == 0


async def test_a_person_is_removed_once_and_a_rejoin_is_another_episode(virtual_time: int) -> None:
    async with RuledWorld(GUESTS).running() as rules:
        room = rules.room("team-1", "host")
        guest = room.join("guest", attributes={"role": "guest"})
        room.join("robot", kind="agent", attributes={"role": "guest"})
        await trio.sleep(20)
        assert set(room.people) == {"host", "robot"}
        assert guest.received == [("lk.chat", b"Time is up.")]
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(20)
        assert rules.done == [("act_done", "remove", "guest", "removed")] * 2


@pytest.mark.parametrize(
    "error, tries, outcome",
    [
        (ControlNotFound("no such participant"), 1, ("act_done", "left")),
        (ControlRefused("not allowed"), 1, ("act_failed", "not allowed")),
        (ControlUnavailable("no answer"), 2, ("act_done", "removed")),
        (ControlTimedOut("no answer in 5 s"), 2, ("act_done", "removed")),
    ],
)
async def test_a_removal_is_retried_as_its_error_allows(
    error: RoomControlError, tries: int, outcome: tuple[str, str], virtual_time: int
) -> None:
    rule = {**GUESTS, "then": ["remove"]}
    async with RuledWorld(rule).running() as rules:
        rules.faults["remove"] = [error]
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(30)
        assert [(event, result) for event, _, _, result in rules.done] == [outcome]
        assert rules.requested("remove") == tries


async def test_what_fails_for_long_is_given_up_with_the_reason(virtual_time: int) -> None:
    async with RuledWorld({**GUESTS, "then": ["remove"]}).running() as rules:
        rules.faults["remove"] = [ControlUnavailable("down") for _ in range(TRIES)]
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(120)
        assert rules.done == [
            ("act_failed", "remove", "guest", f"given up after {TRIES} tries: down")
        ]


async def test_a_message_whose_answer_is_not_known_is_not_sent_again(virtual_time: int) -> None:
    rule = {"name": "hello", "event": "participant_connected", "then": [{"send": "Hello"}]}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        await trio.sleep(1)
        rules.faults["send"] = [ControlTimedOut("no answer in 5 s")]
        room.join("alice")
        await trio.sleep(30)
        assert rules.requested("send") == 1
        [(event, _, _, result)] = rules.done
        assert (event, result) == ("act_failed", "not known whether it was done: no answer in 5 s")


async def test_an_act_waits_until_its_intent_is_durable(virtual_time: int) -> None:
    async with RuledWorld({**GUESTS, "then": ["remove"]}).running() as rules:
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(5)
        rules.world.disk.refusal = "full"
        await trio.sleep(15)
        assert rules.requested("remove") == 0
        rules.world.disk.heal()
        await trio.sleep(30)
        assert rules.done == [("act_done", "remove", "guest", "removed")]


async def test_somebody_is_on_hold_until_the_rule_ends(virtual_time: int) -> None:
    rule = {
        "name": "lobby",
        "person": {"attribute": {"role": "waiting"}},
        "then": [{"hold": "Please wait."}],
    }
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        await trio.sleep(1)
        guest = room.join("guest")
        guest.permit(Permissions(sources=("microphone",)))
        microphone = guest.publish("microphone")
        guest.set_attributes({"role": "waiting"})
        await trio.sleep(2)
        assert guest.info().permissions == Permissions(can_publish=False, can_publish_data=False)
        assert microphone not in guest.tracks
        await rules.restart()
        await trio.sleep(2)
        guest.set_attributes({"role": "guest"})
        await trio.sleep(2)
        assert guest.info().permissions == Permissions(sources=("microphone",))
        assert [(event, act) for event, act, _, _ in rules.done] == [
            ("act_done", "hold"),
            ("act_done", "release"),
        ]


async def test_who_is_banned_is_removed_at_each_join_also_in_the_next_room_of_the_name(
    virtual_time: int,
) -> None:
    rule = {
        "name": "abuse",
        "event": "participant_attributes",
        "person": {"attribute": {"abusive": "yes"}},
        "then": [{"ban": "1h"}],
    }
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        room.join("eve")
        await trio.sleep(1)
        room.people["eve"].set_attributes({"abusive": "yes"})
        await trio.sleep(1)
        assert "eve" not in room.people
        room.join("eve")
        await trio.sleep(1)
        assert "eve" not in room.people
        await rules.restart()
        await trio.sleep(1)
        room.join("eve")
        await trio.sleep(1)
        assert "eve" not in room.people
        room.close("room_deleted")
        await trio.sleep(1)
        again = rules.room("team-1", "host", "eve")
        await trio.sleep(2)
        assert set(again.people) == {"host"}
        await trio.sleep(3600)
        again.join("eve")
        await trio.sleep(2)
        assert "eve" in again.people


async def test_a_ban_is_no_war(virtual_time: int) -> None:
    rule = {
        "name": "abuse",
        "event": "participant_connected",
        "person": {"identity": "eve"},
        "then": [{"ban": "1h"}],
        "limit": 1,
    }
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        await trio.sleep(1)
        for _ in range(20):
            room.join("eve")
            await trio.sleep(0.5)
        assert rules.requested("remove") <= BAN_REMOVALS + 1
        assert "eve" in room.people
        await trio.sleep(70)
        assert "eve" not in room.people


async def test_a_dry_run_does_nothing_and_says_what_it_would_have_done(virtual_time: int) -> None:
    rule = {**GUESTS, "then": ["remove", {"ban": "1h"}, "alert"], "dry_run": True}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(20)
        assert rules.requests == []
        assert rules.done == [
            ("act_done", "remove", "guest", "dry run"),
            ("act_done", "ban", "guest", "dry run"),
            ("act_done", "alert", "guest", "dry run"),
        ]
        assert "guest" in room.people


async def test_a_rule_has_so_many_acts_an_hour(virtual_time: int) -> None:
    rule = {"name": "echo", "event": "data_message", "then": [{"send": "got it"}], "limit": 3}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(1)
        for _ in range(10):
            room.people["alice"].send_data(b"x", topic="chat")
            await trio.sleep(1)
        assert rules.requested("send") == 3
        assert [result for _, _, _, result in rules.done] == [
            *["to everybody"] * 3,
            "over the limit of 3 acts an hour",
        ]


async def test_an_alert_fires_once_an_episode_over_kills_and_gaps(virtual_time: int) -> None:
    rule = {"name": "alone", "when": {"people": "== 1"}, "for": "1m", "then": [{"alert": "alone"}]}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(40)
        await rules.restart(seconds=30)
        await trio.sleep(15)
        assert rules.done == []
        await trio.sleep(10)
        assert rules.done == [("alert_firing", "alone", None, "")]
        await rules.restart(seconds=30)
        await trio.sleep(30)
        room.join("bob")
        await trio.sleep(5)
        assert [event for event, *_ in rules.done] == ["alert_firing", "alert_resolved"]


async def test_an_episode_of_a_rule_that_is_no_longer_configured_is_resolved(
    virtual_time: int,
) -> None:
    rule = {"name": "alone", "when": {"people": "== 1"}, "then": ["alert"]}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(5)
        rules.world.acting.rules = ()
        await rules.restart()
        await trio.sleep(5)
        assert [event for event, *_ in rules.done] == ["alert_firing", "alert_resolved"]
        assert rules.state(room).rules is None


async def test_a_fault_in_a_rule_harms_neither_the_session_nor_the_rule(
    virtual_time: int,
) -> None:
    rule = {"name": "many", "when": {"people": ">= 2"}, "then": ["alert"]}
    async with RuledWorld(rule).running() as rules:
        [compiled] = rules.world.acting.rules
        condition = compiled.all_of[0]
        holds, faults = condition.holds, 1

        def failing(look: object) -> bool:
            nonlocal faults
            if faults:
                faults -= 1
                raise RuntimeError("broken")
            return holds(look)  # type: ignore[arg-type]

        object.__setattr__(condition, "holds", failing)
        room = rules.room("team-1", "alice", "bob")
        await trio.sleep(5)
        assert rules.state(room).current == 2
        assert rules.done == [("alert_firing", "many", None, "")]


async def test_a_rule_whose_act_makes_its_own_event_comes_to_rest(virtual_time: int) -> None:
    rules = (
        {"name": "topic", "event": "room_metadata", "then": [{"metadata": "fixed"}]},
        {"name": "echo", "event": "*", "then": [{"send": "something happened"}], "limit": 30},
    )
    async with RuledWorld(*rules).running() as ruled:
        room = ruled.room("team-1", "alice")
        await trio.sleep(2)
        room.set_metadata("other")
        await trio.sleep(60)
        assert ruled.state(room).metadata == "fixed"
        assert ruled.requested("set_metadata") <= 2
        assert ruled.requested("send") < 10


async def test_two_rules_that_undo_each_other_stop_at_their_limit(virtual_time: int) -> None:
    rules = [
        {"name": text, "event": "room_metadata", "then": [{"metadata": text}], "limit": 5}
        for text in ("one", "two")
    ]
    async with RuledWorld(*rules).running() as ruled:
        room = ruled.room("team-1", "alice")
        await trio.sleep(2)
        room.set_metadata("other")
        await trio.sleep(600)
        assert ruled.requested("set_metadata") <= 10


async def test_five_hundred_people_are_each_removed_once(virtual_time: int) -> None:
    rule = {
        "name": "all",
        "person": {"present_for": ">= 5s"},
        "then": ["remove", "alert"],
        "limit": 10_000,
    }
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1")
        await trio.sleep(1)
        for number in range(500):
            room.join(f"p{number}")
        await trio.sleep(60)
        assert not room.people
        assert rules.requested("remove") == 500
        events = [event for event, *_ in rules.done]
        assert sorted(set(events)) == ["act_done", "alert_firing", "alert_resolved"]
        assert len(events) == 1500
        assert rules.state(room).rules is None


async def test_an_act_that_a_kill_left_open_goes_on_when_its_room_is_seen_again(
    virtual_time: int,
) -> None:
    async with RuledWorld({**GUESTS, "then": ["remove", {"send": "gone"}]}).running() as rules:
        rules.world.acting.control.inner.delay = lambda act: 60.0 if act == "remove" else 0.0
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(13)
        assert len(rules.rules(room).open_acts) == 2
        rules.world.acting.control.inner.delay = lambda _: 0.0
        await rules.restart()
        await trio.sleep(1)
        assert rules.done == [
            ("act_done", "remove", "guest", "removed"),
            ("act_failed", "send", "guest", "not known: the worker ended before the answer"),
        ]
        assert "guest" not in room.people


async def test_a_message_is_sent_also_after_the_clock_was_set_back(virtual_time: int) -> None:
    rule = {"name": "many", "when": {"people": ">= 2"}, "then": [{"send": "hello"}]}
    async with RuledWorld(rule).running() as rules:
        await trio.sleep(5)
        rules.world.clock_offset -= 600.0  # Before the start of this run.
        rules.room("team-1", "host").join("guest")
        await trio.sleep(5)
        assert [one[:3] for one in rules.done] == [("act_done", "send", None)]


async def test_an_act_that_a_stop_left_open_has_its_entry_also_if_the_room_is_gone(
    virtual_time: int,
) -> None:
    async with RuledWorld({**GUESTS, "then": ["remove"]}).running() as rules:
        rules.world.acting.control.inner.delay = lambda _: 300.0
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "guest"})
        await trio.sleep(13)
        assert await rules.world.stop()
        room.close("room_deleted")
        await rules.world.run_again(1.0)
        await rules.world.program.ready.wait()
        await trio.sleep(60)
        assert rules.done == []
        await trio.sleep(GIVE_UP_AFTER)
        assert rules.done == [("act_failed", "remove", "guest", "the room was not watched again")]


async def test_a_rule_that_fires_acts_on_each_join_of_its_person_and_alerts_once(
    virtual_time: int,
) -> None:
    """Somebody who joins a second time pushes out the first join, and has the token's rights."""
    rule = {
        "name": "lobby",
        "person": {"attribute": {"role": "waiting"}},
        "keep": "5s",
        "then": ["hold", "alert", {"send": "Somebody waits."}],
    }
    none = Permissions(can_publish=False, can_publish_data=False)
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "host")
        room.join("guest", attributes={"role": "waiting"})
        await trio.sleep(2)
        for pause in (0.0, 2.0):
            room.people["guest"].leave("client_initiated")
            await trio.sleep(pause)
            again = room.join("guest", attributes={"role": "waiting"})
            await trio.sleep(2)
            assert again.info().permissions == none
        await rules.restart()
        await trio.sleep(2)
        again = room.join("guest", attributes={"role": "waiting"})
        await trio.sleep(2)
        assert again.info().permissions == none
        again.set_attributes({"role": "guest"})
        await trio.sleep(10)
        assert again.info().permissions == Permissions()
        assert [one for one in rules.done if one[1] != "hold"] == [
            ("alert_firing", "lobby", "guest", ""),
            ("act_done", "send", "guest", "to everybody"),
            ("alert_resolved", "lobby", "guest", ""),
            ("act_done", "release", "guest", "permissions given back"),
        ]


async def test_an_alert_at_an_event_is_over_at_once_and_has_a_limit(virtual_time: int) -> None:
    rule = {"name": "write", "event": "data_message", "then": [{"alert": "x"}], "limit": 2}
    async with RuledWorld(rule).running() as rules:
        room = rules.room("team-1", "alice")
        await trio.sleep(1)
        for _ in range(50):
            room.people["alice"].send_data(b"x")
        await trio.sleep(5)
        once = [("alert_firing", "write", "alice", ""), ("alert_resolved", "write", "alice", "")]
        refused = ("act_failed", "alert", "alice", "over the limit of 2 acts an hour")
        assert rules.done == [*once, *once, refused]
        assert rules.state(room).rules is None
