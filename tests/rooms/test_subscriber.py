"""A subscriber that fails, hangs or floods changes nothing for the session and for others."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from attrs import frozen

from actors.rooms.subscriber import (
    ActorSubscriber,
    Subscriber,
    SubscriberActor,
    SubscriberFanOut,
    start_subscriber,
)
from actors.runtime import Crashed, Signal, open_system
from actors.session import SessionState, TimelineEntry
from actors.simulation.plan import Plan
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.simulation.world import World
from actors.testing.sabotage import Injected

STATE = SessionState("atlas", "RM_1", "worker", "watcher", (), 0.0, 0.0, 0.0)
LIMIT = 20
"""Entries that may wait for the actors of these tests."""


class Collecting(Subscriber):
    """Takes everything, as a well-behaved subscriber."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        self.entries.append((state.room_sid, entry.event))


class Raising(Subscriber):
    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        raise Injected(entry.event)


class RaisingActor(SubscriberActor):
    async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
        raise Injected(entry.event)


class HangingActor(SubscriberActor):
    async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
        await trio.sleep(math.inf)


class SlowActor(SubscriberActor):
    async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
        await trio.sleep(5.0)


@frozen
class Case:
    """A misbehaving subscriber, made when the program of the simulation runs."""

    name: str
    make: Callable[[World], Subscriber]


class Late(Subscriber):
    """A subscriber that is an actor of the program, started with its first entry."""

    def __init__(self, stage: World, start: Callable[[], SubscriberActor]) -> None:
        self._stage, self._start = stage, start
        self._actor: ActorSubscriber | None = None

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        if self._actor is None:
            root = self._stage.program.system.supervisor
            self._actor = start_subscriber(root, "subscriber", self._start, limit=LIMIT)
        self._actor.offer(state, entry)


CASES = [
    Case("raises", lambda _: Raising()),
    Case("raises in its actor", lambda stage: Late(stage, RaisingActor)),
    Case("hangs in its actor", lambda stage: Late(stage, HangingActor)),
    Case("is slow in its actor", lambda stage: Late(stage, SlowActor)),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
async def stage(request: pytest.FixtureRequest, virtual_time: int) -> AsyncIterator[World]:
    """A world with one bad subscriber, between two good ones."""
    stage = World(Plan(0, (), rooms=0))
    stage.subscribers = {
        "before": Collecting(),
        "bad": request.param.make(stage),
        "after": Collecting(),
    }
    async with stage.running():
        yield stage


def entries(stage: World, name: str) -> list[tuple[str, str]]:
    subscriber = stage.subscribers[name]
    assert isinstance(subscriber, Collecting)
    return subscriber.entries


def busy(stage: World, name: str, messages: int = 3) -> SimulatedRoom:
    room = stage.rooms.room(name)
    room.join("alice").publish("microphone")
    stage.assign(room)
    stage.nursery.start_soon(talk, room, messages)
    return room


async def talk(room: SimulatedRoom, messages: int) -> None:
    await trio.sleep(0.5)
    for _ in range(messages):
        room.send_data(b"hello", sender="alice")


async def test_sessions_and_other_subscribers_do_not_notice(stage: World) -> None:
    rooms = [busy(stage, "atlas"), busy(stage, "borealis")]
    await trio.sleep(2.0)
    crashed = {s.actor for s in stage.program.signals if isinstance(s, Crashed)}
    assert crashed <= {"/subscriber"}
    for room in rooms:
        record = stage.program.table.find_room(room.sid)
        assert record is not None
        assert not record.journal.unpublished
        assert (record.journal.state.messages.total, len(record.journal.state.present)) == (3, 1)
        of_room = [event for sid, event in entries(stage, "after") if sid == room.sid]
        assert of_room[0] == "session_started"
        assert of_room.count("data_message") == 3
    assert entries(stage, "before") == entries(stage, "after")


async def test_a_flood_is_bounded_and_what_was_dropped_is_counted(stage: World) -> None:
    busy(stage, "atlas", messages=100)
    await trio.sleep(2.0)
    assert [event for _, event in entries(stage, "after")].count("data_message") == 100
    published = len(entries(stage, "after"))
    if isinstance(stage.subscribers["bad"], Late):
        counters = stage.program.saboteur.mailboxes["/subscriber"][-1].counters
        assert counters.balanced
        assert counters.offered == published
        assert counters.queued <= LIMIT + 1
        assert counters.handled < published - LIMIT
    else:
        assert stage.program.subscriber.failures["bad"] == published


async def test_a_subscriber_hears_how_many_entries_it_missed(virtual_time: int) -> None:
    missed, taken = list[int](), list[str]()

    class Slow(SubscriberActor):
        async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
            taken.append(entry.event)
            await trio.sleep(1.0)

        def on_dropped(self, entries: int) -> None:
            missed.append(entries)

    async with open_system() as system:
        subscriber = start_subscriber(system.supervisor, "slow", Slow, limit=2)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(10):
            subscriber.offer(STATE, TimelineEntry(0.0, str(number)))
        await trio.sleep(20.0)
    assert taken == ["8", "9"]
    assert missed == [8]


def test_failures_are_counted_and_reported_less_and_less_often() -> None:
    reports = list[str]()
    after = Collecting()
    fan_out = SubscriberFanOut(
        {"bad": Raising(), "after": after},
        report_failure=lambda name, error: reports.append(f"{name}: {error}"),
    )
    for number in range(1, 10):
        fan_out.offer(STATE, TimelineEntry(0.0, str(number)))
    assert reports == ["bad: 1", "bad: 2", "bad: 4", "bad: 8"]
    assert fan_out.failures == {"bad": 9}
    assert len(after.entries) == 9


async def test_a_crash_of_a_subscribing_actor_is_its_own(virtual_time: int) -> None:
    signals = list[Signal]()
    async with open_system(on_signal=signals.append) as system:
        subscriber = start_subscriber(system.supervisor, "bad", RaisingActor)
        subscriber.offer(STATE, TimelineEntry(0.0, "anything"))
        await trio.sleep(1.0)
    assert [s.actor for s in signals if isinstance(s, Crashed)] == ["/bad"]
