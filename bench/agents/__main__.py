"""See the package."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import trio

import bench.agents
from bench.agents.compared import Compared, compare
from bench.agents.watchers import Watcher, watcher
from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import KIB, Spread, conclude, load, markdown
from bench.pair.checkouts import Checkouts
from bridge.lab.people import People, open_people
from bridge.lab.server import PrivateServer, ServerError, ensure_server
from bridge.lab.voice_agent.agent_worker import AgentWorker, agent_worker
from bridge.lab.voice_agent.dialogue import Dialogue, begin_dialogue
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.output.progress import ProgressLine

AGENT: Final = "stub"
COPIED_GOAL: Final = 0.001
COMPUTED_GOAL: Final = 0.010
NEVER_GOAL: Final = 10.0
"""Seconds."""
CPU_GOAL: Final = 60.0
"""Milliseconds a minute of conversation."""
MEMORY_GOAL: Final = 40.0
"""KiB a room with an agent."""
TOGETHER: Final = 2
"""Conversations at the same time: each is a process of livekit-agents."""
AT_ONCE: Final = 4
"""Joins at the same time."""
JOIN_WITHIN: Final = 60.0
"""Seconds."""
SETTLE: Final = 3.0
QUICK_ENDS: Final = {"room": {"departure_timeout": 2, "empty_timeout": 20}}


WARM_UP: Final = -1
"""The number of a conversation that is not measured."""


def room_of(number: int) -> str:
    return f"talk-{number}"


class Scene:
    """The agent's worker, the people, and those who watch."""

    def __init__(
        self, agents: AgentWorker, people: People, api: ServerApi, watchers: Sequence[Watcher]
    ) -> None:
        self.agents = agents
        self.people = people
        self.api = api
        self.watchers = watchers
        self.ours = watchers[0]
        self.conversations: dict[str, Dialogue] = {}

    async def join(self, room: str) -> Dialogue:
        """A conversation in a room that everybody watches."""
        caller = await self.people.join(room, "caller", subscribe=True)
        for one in self.watchers:
            await one.sees(room, "caller")
        with trio.fail_after(JOIN_WITHIN):
            return await begin_dialogue(self.agents, self.api, caller)

    async def converse(self, number: int) -> None:
        room = room_of(number)
        conversation = await self.join(room)
        self.conversations[room] = conversation
        await conversation.greeting()
        await conversation.spoken_turn()
        await conversation.interruption()
        await conversation.typed_turn()
        await conversation.failing_tool()

    async def never(self, number: int) -> float:
        """Seconds from the dispatch until the problem is logged."""
        room = f"never-{number}"
        caller = await self.people.join(room, "caller")
        await self.ours.sees(room, "caller")
        began = time.time()
        await self.api.create_dispatch(room, self.agents.name, "")
        problem = await self.ours.logged("agent_problem", room=room, problem="missing")
        await caller.leave()
        return datetime.fromisoformat(problem["time"]).timestamp() - began

    async def good_join(self, number: int) -> bool:
        """True if an agent that came was called missing."""
        conversation = await self.join(f"join-{number}")
        room = conversation.person.room
        await self.ours.logged("agent_joined", room=room)
        await conversation.person.leave()
        await self.ours.logged("session_ended", room=room)
        return bool(self.ours.events("agent_problem", room=room, problem="missing"))


async def measure(
    options: argparse.Namespace, server: PrivateServer, folder: Path, progress: ProgressLine
) -> dict[str, Any]:
    key = ApiKey(server.api_key, server.api_secret)
    checkouts = Checkouts(folder / "commits")
    sides = [checkouts.tree(), *([checkouts.commit(options.base)] if options.base else [])]
    python = Path(os.environ["BENCH_PEER_PYTHON"])
    with ExitStack() as stack:
        agents = stack.enter_context(agent_worker(python, server, folder / "truth", AGENT))
        watchers = [
            stack.enter_context(watcher(side, server, folder / f"side-{number}", f"side-{number}"))
            for number, side in enumerate(sides)
        ]
        async with (
            open_people(server.url, server.api_key, server.api_secret) as people,
            ServerApi(Endpoint.parse(server.url), key) as api,
        ):
            await agents.registered()
            for one in watchers:
                await one.logged("worker_registered")
            scene = Scene(agents, people, api, watchers)
            result = await conversations(scene, options.conversations, progress)
            false = await good_joins(scene, options.joins, progress)
            # Last: LiveKit offers a worker nothing for seconds after it was full.
            agents.set_load(1.0)
            waits = await nevers(scene, options.never, progress)
    return {**result, "never": waits, "joins": options.joins, "false": false}


async def nevers(scene: Scene, number: int, progress: ProgressLine) -> list[float]:
    """For each agent that never came, the seconds until it was called missing."""
    limit, waits = trio.CapacityLimiter(AT_ONCE), list[float]()

    async def one(place: int) -> None:
        async with limit:
            waits.append(await scene.never(place))
        progress(f"an agent that never comes, {len(waits)} of {number}")

    async with trio.open_nursery() as nursery:
        for place in range(number):
            nursery.start_soon(one, place)
    return waits


async def good_joins(scene: Scene, number: int, progress: ProgressLine) -> int:
    """How many agents that came were called missing."""
    if not number:
        return 0
    limit, false, done = trio.CapacityLimiter(AT_ONCE), 0, 0
    # A worker without any job takes only one at a time.
    anchor = await scene.join("anchor")

    async def one(place: int) -> None:
        nonlocal false, done
        async with limit:
            false += await scene.good_join(place)
        done += 1
        progress(f"an agent that comes, {done} of {number}")

    async with trio.open_nursery() as nursery:
        for place in range(number):
            nursery.start_soon(one, place)
    await anchor.person.leave()
    return false


async def conversations(scene: Scene, number: int, progress: ProgressLine) -> dict[str, Any]:
    """All conversations, and what each side used meanwhile.  What is loaded once, with the first
    message of an agent, is loaded before."""
    await scene.converse(WARM_UP)
    await scene.conversations.pop(room_of(WARM_UP)).person.leave()
    await trio.sleep(SETTLE)
    before = [(one.cpu(), one.memory()) for one in scene.watchers]
    limit, began = trio.CapacityLimiter(TOGETHER), time.monotonic()

    async def one(place: int) -> None:
        async with limit:
            progress(f"conversation {place + 1} of {number}")
            await scene.converse(place)

    async with trio.open_nursery() as nursery:
        for place in range(number):
            nursery.start_soon(one, place)
    await trio.sleep(SETTLE)
    after = [(one.cpu(), one.memory()) for one in scene.watchers]
    spoken = sum(
        facts[-1]["at"] - facts[0]["at"]
        for facts in (one.job.facts() for one in scene.conversations.values())
    )
    for each in scene.conversations.values():
        await each.person.leave()
    for room in scene.conversations:
        await scene.ours.logged("session_ended", room=room)
    sessions = await scene.ours.sessions(scene.conversations)
    compared = compare({room: each.job for room, each in scene.conversations.items()}, sessions)
    used = [later[0] - earlier[0] for earlier, later in zip(before, after, strict=True)]
    grown = [later[1] - earlier[1] for earlier, later in zip(before, after, strict=True)]
    return {
        "conversations": number,
        "minutes": spoken / 60,
        "seconds": time.monotonic() - began,
        "compared": compared.as_dict(),
        "cpu": used,
        "memory": grown,
    }


def rows_of(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    compared = Compared(**result["compared"])
    rows = [
        ("turns", f"{compared.turns}", ""),
        ("turns missing", f"{compared.missing}", "0"),
        ("turns too much", f"{compared.surplus}", "0"),
        ("delays copied, largest difference, ms", f"{compared.copied * 1e3:.2f}", "1"),
        ("delays computed, largest difference, ms", f"{compared.computed * 1e3:.2f}", "10"),
    ]
    if len(result["cpu"]) > 1:
        rows += [
            ("CPU of a minute of conversation, more, ms", f"{cpu_more(result):.0f}", "60"),
            ("memory a room with an agent, more, KiB", f"{memory_more(result):.0f}", "40"),
        ]
    if result["never"]:
        spread = Spread.of(result["never"]).text(1)
        rows.append((f"never came, {len(result['never'])}: s until it is logged", spread, "10"))
    if result["joins"]:
        rows.append((f"of {result['joins']} that came, called missing", f"{result['false']}", "0"))
    return rows


def cpu_more(result: Mapping[str, Any]) -> float:
    """Milliseconds a minute of conversation."""
    ours, base = result["cpu"]
    return float((ours - base) * 1e3 / result["minutes"])


def memory_more(result: Mapping[str, Any]) -> float:
    """KiB a room."""
    ours, base = result["memory"]
    return float((ours - base) / KIB / result["conversations"])


def unmet(result: Mapping[str, Any]) -> list[str]:
    compared = Compared(**result["compared"])
    faults = [
        text
        for text, missed in (
            (f"{compared.missing} turns are missing", compared.missing),
            (f"{compared.surplus} turns are too much", compared.surplus),
            ("a copied delay differs", compared.copied > COPIED_GOAL),
            ("a computed delay differs", compared.computed > COMPUTED_GOAL),
            ("an agent that never came was late", max(result["never"], default=0) > NEVER_GOAL),
            (f"{result['false']} that came were called missing", result["false"]),
        )
        if missed
    ]
    if len(result["cpu"]) > 1:
        if cpu_more(result) > CPU_GOAL:
            faults.append(f"CPU: {cpu_more(result):.0f} ms a minute")
        if memory_more(result) > MEMORY_GOAL:
            faults.append(f"memory: {memory_more(result):.0f} KiB a room")
    return faults


def main() -> int:
    parser = bench_parser("agents", bench.agents.__doc__)
    parser.add_argument("--conversations", type=int, default=10)
    parser.add_argument("--base", default="", help="a commit that does not listen")
    parser.add_argument("--never", type=int, default=20)
    parser.add_argument("--joins", type=int, default=100)
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    before = load()
    try:
        with (
            ProgressLine(sys.stderr) as progress,
            tempfile.TemporaryDirectory(prefix="bench-agents-") as name,
        ):
            folder, binary = Path(name), ensure_server(progress)
            with PrivateServer.start(binary, folder / "livekit", QUICK_ENDS) as server:
                result = trio.run(measure, options, server, folder, progress)
    except (BenchError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(markdown(("voice agents", "measured", "goal: at most"), rows_of(result)))
    print()
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
