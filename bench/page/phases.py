"""The four parts of the measure, one after the other on one worker.  See `bench.page.__main__`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import asdict, define, field, frozen

from bench.errors import BenchError
from bench.measure import MIB, Spread
from bench.page.browsers import Browser, Chromium, chromium_path, open_chromium
from bench.page.rude import ask_for_events, say_half, sockets, until_all_ended, vanish
from bench.page.stage import Served, serving, updates
from bench.store import fill
from bridge.output.progress import ProgressLine
from bridge.store.sqlite_archive import open_store

ASKED: Final = (
    "/metrics",
    "/api/v1/sessions",
    "/api/v1/rooms",
    "/api/v1/actors",
    "/system",
    "/history",
    "/",
)
SETTLE: Final = 5.0
"""Seconds between the parts, and before the first."""
LATEST: Final = 2.0
"""Seconds of probes at the end of a part that browsers need not have seen."""
MOST: Final = 150.0
"""Seconds until all slow clients must have been given up."""
EVENTS: Final = 5
"""Events of each earlier session."""


@frozen
class Options:
    rooms: int
    rate: float
    browsers: int
    chromium: int
    sessions: int
    asks: int
    seconds: float
    slow: int
    half_open: int
    folder: Path | None
    json: Path | None


@define(eq=False)
class Audience:
    """Everybody who has the page open."""

    clients: list[Browser]
    chromium: Chromium | None = None
    windows: list[str] = field(factory=list[str])

    async def real_ones(self) -> list[Browser]:
        """The windows of chromium, as browsers."""
        if self.chromium is None:
            return []
        return [Browser("", seen=await self.chromium.seen(one)) for one in self.windows]


async def prepare(data_dir: Path, sessions: int, progress: ProgressLine) -> None:
    """The store of somebody who has been running for a while."""
    async with open_store(data_dir, instance="bench") as archive:
        await fill(archive, sessions, EVENTS, progress)


async def alone(served: Served, asks: int) -> dict[str, Any]:
    """Measure without any browser."""
    await served.gaps()
    await trio.sleep(SETTLE)
    found: dict[str, Any] = {"base_gap_s": (await served.gaps())["longest"]}
    for path in ASKED:
        answers = [await served.ask(path) for _ in range(asks)]
        found[path] = {
            "seconds": asdict(Spread.of(took for took, _ in answers)),
            "gap": asdict(Spread.of(gap["longest"] for _, gap in answers)),
            "gap_cpu": asdict(Spread.of(gap["longest_cpu"] for _, gap in answers)),
        }
    return found


@asynccontextmanager
async def audience(served: Served, options: Options, folder: Path) -> AsyncGenerator[Audience]:
    """Browsers on the page for the length of a block; all have it when it begins."""
    path = chromium_path()
    real = options.chromium if path is not None else 0
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        clients = [Browser(served.address) for _ in range(options.browsers - real)]
        for client in clients:
            nursery.start_soon(client.run)
        found = Audience(clients)
        if real and path is not None:
            found.chromium = await stack.enter_async_context(open_chromium(path, folder))
            url = f"http://{served.address}/"
            found.windows = [await found.chromium.open(url) for _ in range(real)]
        for client in clients:
            await client.ready.wait()
        await trio.sleep(SETTLE)
        yield found
        nursery.cancel_scope.cancel()


async def part(
    served: Served, there: Audience, happen: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """The delays of the browsers and the load of the worker during this."""
    before, known = await served.moment(), len(await served.order("probes"))
    asked = sum(one.asked for one in there.clients)
    failed = sum(one.failed for one in there.clients)
    received = sum(one.received for one in there.clients)
    await served.gaps()
    more = await happen()
    gaps, probes = await served.gaps(), (await served.order("probes"))[known:]
    await trio.sleep(LATEST)
    after = await served.moment()
    used, lag = before.cpu.until(after.cpu), after.lag.since(before.lag)
    everybody = before.everybody.until(after.everybody)
    update, missing = updates(there.clients, probes)
    real, unseen = updates(await there.real_ones(), probes)
    return more | {
        "seconds": used.seconds,
        "events": lag.count,
        "lag_p50_s": lag.quantile(0.5),
        "lag_p99_s": lag.quantile(0.99),
        "updates": len(update) + len(real),
        "updates_missing": missing + unseen,
        "update_p50_s": update[len(update) // 2] if update else None,
        "update_p99_s": update[len(update) * 99 // 100] if update else None,
        "update_longest_s": update[-1] if update else None,
        "chromium_p50_s": real[len(real) // 2] if real else None,
        "chromium_p99_s": real[len(real) * 99 // 100] if real else None,
        "gap_longest_s": gaps["longest"],
        "gap_p99_s": gaps["p99"],
        "worker_cores": used.total / used.seconds,
        "machine": used.machine,
        "asked_a_second": (sum(one.asked for one in there.clients) - asked) / used.seconds,
        "failed": sum(one.failed for one in there.clients) - failed,
        "received_mib_a_second": (sum(one.received for one in there.clients) - received)
        / MIB
        / used.seconds,
        "worker_waited": (after.waited - before.waited) / used.seconds,
        "client_cores": everybody.total / used.seconds - used.total / used.seconds,
        "descriptors": after.descriptors,
    }


async def slow_clients(served: Served, count: int) -> dict[str, Any]:
    """Event streams that nobody reads, and as many that are reset."""
    base = (await served.moment()).listeners
    with sockets(served.address, count) as vanishing:
        ask_for_events(vanishing)
        await trio.sleep(1.0)
        vanish(vanishing)
    await until_listeners(served, base)
    before = now = await served.moment()
    kernel = rss = 0
    with sockets(served.address, count) as slow:
        ask_for_events(slow)
        began = trio.current_time()
        while now.dropped < before.dropped + count and trio.current_time() < began + MOST:
            await trio.sleep(1.0)
            now = await served.moment()
            kernel = max(kernel, now.kernel - before.kernel)
            rss = max(rss, now.rss - before.rss)
        took = trio.current_time() - began
    return {
        "not_dropped": count - (now.dropped - before.dropped),
        "all_dropped_s": took,
        "kernel_mib": kernel / MIB,
        "rss_most_mib": rss / MIB,
    }


async def until_listeners(served: Served, count: int) -> None:
    """Wait until there are no more than so many.  Raises `BenchError`."""
    with trio.move_on_after(MOST):
        while (await served.moment()).listeners > count:  # noqa: ASYNC110 (it is another process)
            await trio.sleep(0.2)
        return
    raise BenchError("clients that are gone are still served")


async def half_open(served: Served, count: int) -> dict[str, Any]:
    """Connections that say half a request, or nothing."""
    before = (await served.moment()).descriptors
    with sockets(served.address, count) as opened:
        say_half(opened)
        await trio.sleep(1.0)
        most = (await served.moment()).descriptors
        ended = await until_all_ended(opened, MOST)
    return {"descriptors_more": most - before, "all_ended_s": ended}


async def run(options: Options, folder: Path, progress: ProgressLine) -> dict[str, Any]:
    """Everything that was measured."""
    data_dir = folder / "data"
    await prepare(data_dir, options.sessions, progress)
    progress("starting the worker")
    async with serving(data_dir, options.rooms, options.rate, folder / "log") as served:
        await trio.sleep(SETTLE)
        progress("nobody looks")
        found: dict[str, Any] = {"alone": await alone(served, options.asks)}
        progress("browsers")
        async with audience(served, options, folder / "chromium") as there:

            async def look() -> dict[str, Any]:
                await trio.sleep(options.seconds)
                return {}

            found["browsers"] = await part(served, there, look)
            found["real_browsers"] = len(there.windows)
            progress("slow clients")
            found["slow"] = await part(served, there, lambda: slow_clients(served, options.slow))
            progress("half-open connections")
            found["half_open"] = await part(
                served, there, lambda: half_open(served, options.half_open)
            )
        return found
