"""One round of measurements of our runtime and of a bare trio channel, as JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from actors.runtime import Actor, ChildSpec, GroupSpec, Ref, ReplyTo, ask_all, open_system, receives
from bench.runtime.memory import resident

TELLS, BURST, ASKS, UNDER_WAY, STARTS, IDLE = 640_000, 64, 20_000, 64, 4_000, 10_000


@frozen
class Add:
    amount: int


@frozen
class Total:
    reply_to: ReplyTo[int]


class Adder(Actor[Add | Total]):
    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    def add(self, message: Add) -> None:
        self.total += message.amount

    @receives(Total)
    def tell_total(self, message: Total) -> None:
        message.reply_to.send(self.total)


async def per_second(times: int, work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return times / (time.perf_counter() - began)


async def channel() -> float:
    """A bare channel: sent without waiting, received until it is empty, 64 at a time."""
    send, receive = trio.open_memory_channel[Add](10_000)
    total, message = 0, Add(1)

    async def reader() -> None:
        nonlocal total
        async for first in receive:
            total += first.amount
            try:
                while True:
                    total += receive.receive_nowait().amount
            except (trio.WouldBlock, trio.EndOfChannel):
                pass

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            for _ in range(TELLS // BURST):
                for _ in range(BURST):
                    send.send_nowait(message)
                await trio.lowlevel.checkpoint()
            send.close()
        assert total == TELLS

    return await per_second(TELLS, work)


async def tell(ref: Ref[Add | Total]) -> float:
    message, tell = Add(1), ref.tell

    async def work() -> None:
        for _ in range(TELLS // BURST):
            for _ in range(BURST):
                tell(message)
            await trio.lowlevel.checkpoint()
        assert await ref.ask(Total, timeout=10.0) >= TELLS

    return await per_second(TELLS, work)


async def ask(ref: Ref[Add | Total], times: int) -> None:
    for _ in range(times):
        await ref.ask(Total, timeout=5.0)


async def ask_many(ref: Ref[Add | Total]) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(UNDER_WAY):
            nursery.start_soon(ask, ref, ASKS // UNDER_WAY)


async def main() -> None:
    found = {"channel_tells": await channel()}
    async with open_system() as system:
        ref = system.supervisor.start_child(ChildSpec("adder", Adder))
        await ref.ask(Total, timeout=1.0)
        found["tells"] = await tell(ref)
        found["asks"] = await per_second(ASKS, lambda: ask(ref, ASKS))
        found["asks_64"] = await per_second(ASKS, lambda: ask_many(ref))

        group = system.supervisor.start_group(GroupSpec("started"))
        await group.running()

        async def start() -> None:
            specs = (ChildSpec(str(n), Adder) for n in range(STARTS))
            await ask_all([group.start_child(spec) for spec in specs], Total, timeout=60.0)

        found["starts"] = await per_second(STARTS, start)
        await system.supervisor.stop_child("started").wait()

    sys.stdout.write(json.dumps(found) + "\n")


async def idle() -> None:
    """Memory of `IDLE` actors that wait, in a process of its own."""
    before = resident()
    async with open_system() as system:
        specs = (ChildSpec(str(n), Adder) for n in range(IDLE))
        await ask_all([system.supervisor.start_child(spec) for spec in specs], Total, timeout=120.0)
        found = {"idle_mib": resident(), "idle_kib_each": (resident() - before) * 1024 / IDLE}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    trio.run(idle if "idle" in sys.argv else main)
