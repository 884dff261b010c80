"""A process that did not run notices it, before it does anything else."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define

from bridge.livekit.heartbeat import BEAT, SUSPENSION_LIMIT, WORK_READ_INTERVAL, Heartbeat


@define
class Times:
    steady: float = 100.0
    worked: float = 3.0


def heartbeat(times: Times, reported: list[float]) -> Heartbeat:
    return Heartbeat(reported.append, steady=lambda: times.steady, worked=lambda: times.worked)


@pytest.mark.parametrize("slept, worked, suspended", [
    (SUSPENSION_LIMIT + 0.1, 0.0, True),
    (30.0, 0.2, True),
    (0.8, 0.0, False),
    (SUSPENSION_LIMIT, 0.0, False),
    (30.0, 29.9, False),
    (3.0, 1.5, False),
])  # fmt: skip
@pytest.mark.parametrize("where", ["waiting", "working"])
async def test_a_pause_is_a_suspension_where_nothing_was_done_in_it(
    slept: float, worked: float, suspended: bool, where: str
) -> None:
    times, reported = Times(), list[float]()
    one = heartbeat(times, reported)
    one.after_io_wait(0.0)
    times.steady += slept
    times.worked += worked
    if where == "waiting":
        one.after_io_wait(BEAT)
    else:
        one.before_task_step(trio.lowlevel.current_task())
    assert reported == ([pytest.approx(slept)] if suspended else [])
    assert (one.count, one.seconds) == (len(reported), sum(reported))
    one.after_io_wait(BEAT)
    assert one.count == len(reported), "once"


def test_the_time_on_a_processor_is_read_seldom() -> None:
    """Each reading is a system call, and the loop wakes up for every few events."""
    times, reported, read = Times(), list[float](), list[float]()

    def worked() -> float:
        read.append(times.steady)
        return times.worked

    one = Heartbeat(reported.append, steady=lambda: times.steady, worked=worked)
    for _ in range(1000):
        times.steady += 0.001
        times.worked += 0.001
        one.after_io_wait(0.0)
    assert len(read) <= 1.0 / WORK_READ_INTERVAL + 2
    times.steady += SUSPENSION_LIMIT + 2 * WORK_READ_INTERVAL
    one.after_io_wait(BEAT)
    assert len(reported) == 1


async def test_it_is_told_before_any_task_runs() -> None:
    """It runs before a pass that was due for later requests, too."""
    times, order = Times(), list[str]()
    one = Heartbeat(
        lambda _: order.append("suspended"),
        steady=lambda: times.steady,
        worked=lambda: times.worked,
    )
    one.start()
    news = trio.Event()

    async def take() -> None:
        await news.wait()
        order.append("event")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        news.set()
        times.steady += 60.0
    trio.lowlevel.remove_instrument(one)
    assert order == ["suspended", "event"]
