"""Many threads put, trio takes: in order, each room in its turn, with few wake-ups."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest
import trio
import trio.testing

from bridge.livekit.rooms import inbox as inboxes
from bridge.livekit.rooms.inbox import Inbox, RoomQueue
from bridge.livekit.rooms.wake_timer import LinuxTimer, TrioTimer, WakeTimer, make_timer

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture(params=["linux", "trio"])
async def inbox(request: pytest.FixtureRequest) -> AsyncIterator[Inbox]:
    one = Inbox(make_timer(linux=request.param == "linux"))
    yield one
    one.close()


async def test_what_many_threads_put_is_taken_in_the_order_of_each(inbox: Inbox) -> None:
    taken: list[tuple[int, int]] = []
    all_there = trio.Event()

    def take(item: tuple[int, int]) -> None:
        taken.append(item)
        if len(taken) == 4 * 500:
            all_there.set()

    queues: list[RoomQueue[tuple[int, int]]] = [inbox.queue(take) for _ in range(4)]

    def put(queue: int) -> None:
        for number in range(500):
            queues[queue].put((queue, number))

    threads = [threading.Thread(target=put, args=(queue,)) for queue in range(4)]
    for thread in threads:
        thread.start()
    with trio.fail_after(60):
        await all_there.wait()
    for thread in threads:
        thread.join()
    for queue in range(4):
        assert [number for one, number in taken if one == queue] == list(range(500))


async def test_no_room_waits_for_anothers_burst(inbox: Inbox) -> None:
    taken: list[str] = []
    loud, quiet = inbox.queue(taken.append), inbox.queue(taken.append)
    for _ in range(10 * inboxes.TURN_ITEMS):
        loud.put("loud")
    quiet.put("quiet")
    await trio.testing.wait_all_tasks_blocked()
    assert taken.index("quiet") == inboxes.TURN_ITEMS
    assert taken.count("loud") == 10 * inboxes.TURN_ITEMS


async def test_of_many_items_of_a_key_the_newest_is_taken_when_it_came(inbox: Inbox) -> None:
    taken: list[str] = []
    queue = inbox.queue(taken.append, lambda first, newest: f"{first} to {newest}")
    queue.put("a join")
    replaced = [queue.put_latest(item[0], item) for item in ("a1", "b1", "a2", "c1", "b2", "a3")]
    assert replaced == [False, False, True, False, True, True]
    assert len(queue) == 2
    await trio.testing.wait_all_tasks_blocked()
    assert taken == ["a join", "c1", "b1 to b2", "a1 to a3"]


async def test_nothing_overtakes_what_is_not_to_be_lost(inbox: Inbox) -> None:
    taken: list[str] = []
    queue = inbox.queue(taken.append)
    queue.put_latest("a", "a1")
    queue.put("a leave")
    assert not queue.put_latest("a", "a2")
    queue.take_turn()
    assert not queue.put_latest("a", "a3"), "what was taken does not wait any more"
    queue.take_turn()
    assert taken == ["a1", "a leave", "a2", "a3"]


async def test_no_room_waits_for_another_in_which_very_much_changed(inbox: Inbox) -> None:
    taken: list[int | str] = []
    loud, quiet = inbox.queue(taken.append), inbox.queue(taken.append)
    for number in range(10 * inboxes.TURN_ITEMS):
        loud.put_latest(number, number)
    quiet.put("quiet")
    await trio.testing.wait_all_tasks_blocked()
    assert taken.index("quiet") == 1, "a queue's length is what it was when its turn began"
    assert [one for one in taken if one != "quiet"] == list(range(10 * inboxes.TURN_ITEMS))


async def test_what_a_thread_changes_over_and_over_ends_as_it_was_last(inbox: Inbox) -> None:
    taken: list[int] = []
    replaced = 0
    queue: RoomQueue[int] = inbox.queue(taken.append)

    def change() -> None:
        nonlocal replaced
        for number in range(20_000):
            replaced += queue.put_latest(number % 7, number)

    await trio.to_thread.run_sync(change)
    while len(queue):
        queue.take_turn()
    assert taken[-7:] == list(range(20_000 - 7, 20_000))
    assert taken == sorted(taken)
    assert len(taken) + replaced == 20_000


async def test_other_tasks_run_in_between(inbox: Inbox) -> None:
    taken: list[int] = []
    counts: list[int] = []
    for _ in range(10 * inboxes.PASS_TURNS):
        queue = inbox.queue(taken.append)
        queue.put(1)
    while len(taken) < 10 * inboxes.PASS_TURNS:
        await trio.lowlevel.checkpoint()
        counts.append(len(taken))
    assert len(set(counts)) >= 5


async def test_it_takes_at_once_after_a_calm_time_and_else_once_in_an_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inbox = Inbox(TrioTimer())
    taken: list[tuple[float, int]] = []
    queue: RoomQueue[int] = inbox.queue(lambda item: taken.append((trio.current_time(), item)))
    began = trio.current_time()
    for number in range(20):
        queue.put(number)
        await trio.sleep(inboxes.INTERVAL / 4)
    await trio.sleep(2 * inboxes.INTERVAL)
    queue.put(20)
    at = trio.current_time()
    await trio.sleep(inboxes.INTERVAL)
    inbox.close()
    assert [number for _, number in taken] == list(range(21))
    delays = [at - began - number * inboxes.INTERVAL / 4 for number, (at, _) in enumerate(taken)]
    assert delays[0] == pytest.approx(0)
    assert max(delays[:20]) <= inboxes.INTERVAL * 1.001
    assert len({when for when, _ in taken[:20]}) <= 6
    assert taken[20][0] == pytest.approx(at)


class CountingTimer(WakeTimer):
    """Any timer, and how often it was set and was due."""

    def __init__(self, timer: WakeTimer) -> None:
        self.timer = timer
        self.now = timer.now
        self.armed: list[float] = []
        self.due = 0

    def arm(self, at: float) -> None:
        self.armed.append(at)
        self.timer.arm(at)

    async def wait(self) -> None:
        await self.timer.wait()
        self.due += 1

    def close(self) -> None:
        self.timer.close()


TIMERS = [LinuxTimer, TrioTimer] if sys.platform == "linux" else [TrioTimer]


@pytest.mark.parametrize("make", TIMERS)
async def test_it_never_wakes_for_nothing_nor_twice_in_an_interval(
    make: type[LinuxTimer | TrioTimer],
) -> None:
    timer = CountingTimer(make())
    inbox = Inbox(timer)
    taken: list[int] = []
    done = trio.Event()

    def take(number: int) -> None:
        taken.append(number)
        if number == 199:
            done.set()

    queue = inbox.queue(take)

    def put() -> None:
        for number in range(200):
            queue.put(number)
            time.sleep(inboxes.INTERVAL / 10)

    began = timer.now()
    await trio.to_thread.run_sync(put)
    with trio.fail_after(60):
        await done.wait()
    await trio.testing.wait_all_tasks_blocked()
    took = timer.now() - began
    assert timer.due == len(timer.armed) <= took / inboxes.INTERVAL + 2
    count = timer.due
    await trio.sleep(10 * inboxes.INTERVAL)
    assert timer.due == count, "it slept while nothing came"
    assert taken == list(range(200))
    for first, second in itertools.pairwise(timer.armed):
        assert second >= first + inboxes.INTERVAL * 0.999
    inbox.close()


@pytest.mark.parametrize("make", TIMERS)
async def test_a_timer_that_is_set_anew_is_due_at_the_newer_time(
    make: type[LinuxTimer | TrioTimer],
) -> None:
    timer = make()
    for first, second in ((0.0, 0.05), (0.05, 0.0)):
        began = timer.now()
        timer.arm(began + first)
        timer.arm(began + second)
        with trio.fail_after(60):
            await timer.wait()
        assert timer.now() >= began + second
    timer.close()
    timer.arm(0.0)
    timer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a timer of Linux")
async def test_a_timer_that_is_closed_sets_no_other_file() -> None:
    """Its descriptor may be another timer's by then, which must not be set."""
    timer = LinuxTimer()
    timer.close()
    other = LinuxTimer()
    timer.arm(0.0)
    with trio.move_on_after(0.02) as scope:
        await other.wait()
    other.close()
    assert scope.cancelled_caught


async def test_it_is_taken_in_the_context_in_which_the_inbox_was_made() -> None:
    COLOUR.set("red")
    inbox = Inbox()
    COLOUR.set("blue")
    colours: list[str] = []
    inbox.queue(lambda _: colours.append(COLOUR.get())).put(None)
    await trio.testing.wait_all_tasks_blocked()
    inbox.close()
    assert colours == ["red"]


async def test_whoever_takes_may_put(inbox: Inbox) -> None:
    taken: list[int] = []

    def take(number: int) -> None:
        taken.append(number)
        if number < 100:
            queue.put(number + 1)

        else:
            done.set()

    done = trio.Event()
    queue = inbox.queue(take)
    queue.put(0)
    with trio.fail_after(60):
        await done.wait()
    assert taken == list(range(101))


def test_what_comes_after_the_end_of_trio_disturbs_nobody() -> None:
    async def main() -> RoomQueue[int]:
        return Inbox().queue(taken.append)

    taken: list[int] = []
    queue = trio.run(main)
    queue.put(1)
    assert taken == []
