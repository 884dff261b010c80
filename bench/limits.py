"""A limit: how long somebody beyond it stays, beside what the server's own call takes.

    bench/run limits [--joins 20] [--slow-joins 8] [--json FILE] [--help]

A private LiveKit server, a worker with a limit of one person, and people who publish nothing: the
worker knows of them last.  Each joins a room that is full, and is removed.

1. *the call alone*: no limit; `RemoveParticipant` is called for somebody who joined.  From the call
   until the person's own SDK says that it is out.  This is the floor.
2. *with webhooks*: from the moment when the person's SDK says that it is in, until it says that it
   is out.  Somebody who is out before the join returned counts as 0.
3. *with a message*: the same, and the person is told why before.
4. *without webhooks*: the same as 2; the room announces a silent person up to 3 s late.

Seconds; the people are in a process of their own on this machine.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio
import trio_asyncio  # noqa: F401 (before anything that takes functions out of asyncio)
from attrs import frozen

from bench.entry import bench_parser, run_bench
from bench.measure import conclude, load, markdown
from bridge.app.program import open_program
from bridge.config.settings import load as load_settings
from bridge.lab.people import People, PeopleError, open_people
from bridge.lab.server import PrivateServer, ensure_server
from bridge.lab.server.ports import free_port
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.output.progress import ProgressLine

LIMITS: Final = """
[[limit]]
name = "one"
rooms = ["full"]
people = 1
[[limit]]
name = "told"
rooms = ["told"]
people = 1
message = "This room is full."
"""
GOALS: Final = {"webhooks": 0.3, "message": 0.3, "view": 3.3}
"""Seconds at the 95th percentile."""


@frozen
class Options:
    joins: int
    slow_joins: int
    json: Path | None


async def stays(people: People, room: str, number: int) -> float:
    """Seconds from a join until the person is out."""
    identity = f"guest-{number}"
    try:
        person = await people.join(room, identity)
    except PeopleError:
        return 0.0  # Removed before the join returned.
    await person.out()
    return max(0.0, _at(people, room, identity, "left") - _at(people, room, identity, "joined"))


def _at(people: People, room: str, identity: str, deed: str) -> float:
    """Unix seconds of the last deed of this kind."""
    times = [
        one.at
        for truth in people.truth()
        if truth.room == room
        for one in truth.deeds
        if one.identity == identity and one.deed == deed
    ]
    return times[-1]


async def call_alone(server: PrivateServer, people: People, joins: int) -> list[float]:
    """Seconds from the server's own call until the person is out."""
    seconds: list[float] = []
    key = ApiKey(server.api_key, server.api_secret)
    async with ServerApi(Endpoint.parse(server.url), key) as api:
        await people.join("open", "host")
        for number in range(joins):
            guest = await people.join("open", f"guest-{number}")
            called_at = time.time()
            await api.remove_participant("open", guest.identity)
            await guest.out()
            seconds.append(_at(people, "open", guest.identity, "left") - called_at)
    return seconds


async def with_worker(
    data: Path, config: Path, server: PrivateServer, port: int, rooms: Sequence[tuple[str, int]]
) -> list[list[float]]:
    """For each room and number of joins: the seconds of each."""
    settings = load_settings(
        {
            "url": server.url,
            "api-key": server.api_key,
            "api-secret": server.api_secret,
            "data-dir": str(data),
            "http": f"127.0.0.1:{port}",
            "config": str(config),
        },
        {},
    )
    measured: list[list[float]] = []
    async with (
        open_program(settings) as program,
        open_people(server.url, server.api_key, server.api_secret) as people,
    ):
        await program.worker.wait_registered()
        for room, joins in rooms:
            host = await people.join(room, "host")
            while not program.rooms.table.knows(host.room_sid):  # noqa: ASYNC110 (no event outside)
                await trio.sleep(0.05)
            await trio.sleep(4.0)  # The host is announced.
            # Another person each time: one who comes back too often is left alone for a while.
            measured.append([await stays(people, room, number) for number in range(joins)])
        await program.drain()
    return measured


async def measure(
    options: Options, folder: Path, config: Path, progress: ProgressLine
) -> dict[str, list[float]]:
    binary = ensure_server(progress)
    seconds: dict[str, list[float]] = {}
    port = free_port()
    hook = f"http://127.0.0.1:{port}/livekit/webhook"
    with PrivateServer.start(binary, folder / "hooked", webhook_urls=[hook]) as server:
        progress("the call alone")
        async with open_people(server.url, server.api_key, server.api_secret) as people:
            seconds["call"] = await call_alone(server, people, options.joins)
        progress("with webhooks")
        rooms = (("full", options.joins), ("told", options.joins))
        seconds["webhooks"], seconds["message"] = await with_worker(
            folder / "w1", config, server, port, rooms
        )
    with PrivateServer.start(binary, folder / "plain") as server:
        progress("without webhooks")
        rooms = (("full", options.slow_joins),)
        (seconds["view"],) = await with_worker(folder / "w2", config, server, free_port(), rooms)
    return seconds


ROWS: Final = (
    ("the call alone", "call"),
    ("with webhooks", "webhooks"),
    ("with webhooks and a message", "message"),
    ("without webhooks", "view"),
)


def figures(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {"joins": len(ordered), "p50": statistics.median(ordered), "p95": p95}


def main() -> int:
    parser = bench_parser("limits", __doc__)
    parser.add_argument("--joins", type=int, default=20)
    parser.add_argument("--slow-joins", type=int, default=8, help="without webhooks")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with ProgressLine(sys.stderr) as progress, tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "limits.toml")
        config.write_text(LIMITS)
        seconds = trio.run(measure, options, Path(folder), config, progress)
    result: dict[str, Any] = {key: figures(seconds[key]) for _, key in ROWS}
    floor = result["call"]["p50"]
    rows = [
        (
            title,
            str(result[key]["joins"]),
            f"{result[key]['p50']:.3f}",
            f"{result[key]['p95']:.3f}",
            f"{result[key]['p50'] / floor:.1f}",
            f"at most {GOALS[key]:g}" if key in GOALS else "",
        )
        for title, key in ROWS
    ]
    print(markdown(("gone after, s", "joins", "p50", "p95", "p50 of the call", "goal"), rows))
    print()
    unmet = [
        f"{key}: {result[key]['p95']:.3f} s, at most {goal:g}"
        for key, goal in GOALS.items()
        if result[key]["p95"] > goal
    ]
    return conclude(options.json, before, result, unmet)


if __name__ == "__main__":
    run_bench(main)
