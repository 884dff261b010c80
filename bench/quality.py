"""Measured tracks against what really happened to their packets, and what measuring costs.

    bench/run quality truth [--seconds 185] [--json FILE]
    bench/run quality cost [--seconds 60] [--json FILE]

**truth**: a private livekit-server and a room for each network: packets lost at 0, 2, 5 and 10 %,
and delayed by 0 to 60 ms.  One person talks in each.  A library in the person's process drops the
packets and counts them.  Each room has two observers of ours: one measures all the time, one
samples as `--measure-tracks sampled` does.  Shown is also the level that LiveKit gave.

**cost**: 4 rooms with 5 people who talk, and three observers in processes of their own at the same
time, one for each value of `--measure-tracks`: the CPU of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import trio
import trio_asyncio
from attrs import define, field, frozen

from actors.rooms.room_port import RoomJob
from actors.session import QualityChanged, RoomEvent, TracksMeasured
from actors.session.opinion_score import opinion_score
from actors.session.track_stats import TrackStats
from bench.measure import load, machine, markdown, save
from bridge.lab.people import PacketCounts, PacketLoss, People, open_people
from bridge.lab.server import PrivateServer, ensure_server
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.track_measurer import MeasurePlan
from bridge.livekit.tokens import ApiKey, room_token
from bridge.output.progress import ProgressLine

ROOT: Final = Path(__file__).resolve().parent.parent
PLANS: Final[Mapping[str, MeasurePlan | None]] = {
    "off": None,
    "sampled": MeasurePlan("sampled"),
    "all": MeasurePlan("all"),
}
CONTINUOUS_GOAL: Final = 0.005
SAMPLED_GOAL: Final = 0.015
SCORE_GOAL: Final = 0.2
LEAST_POOR_LOSS: Final = 0.08
"""Below it RED repairs enough, and nobody's audio may be called poor."""
ROOM_GOAL: Final = 0.3
MICROPHONE_GOAL: Final = 1.5
"""Thousandths of a core."""
RED: Final = "audio/red"
ROOMS: Final = 4
TALKERS: Final = 5
SETTLE: Final = 30.0
"""Seconds until microphones that were just subscribed cost no more than later."""


@frozen
class Network:
    """What happens to the packets of one person."""

    name: str
    loss: float = 0.0
    delay: float = 0.0
    """Seconds, at most."""


NETWORKS: Final = (
    Network("clean"),
    Network("2 %", 0.02),
    Network("5 %", 0.05),
    Network("10 %", 0.1),
    Network("delay 0 to 60 ms", delay=0.06),
)


@define(eq=False)
class Observed:
    """What one observer measured in one room."""

    stats: TrackStats = field(factory=TrackStats)
    levels: list[str] = field(factory=list[str])

    def __call__(self, event: RoomEvent) -> None:
        if isinstance(event, TracksMeasured):
            for window in event.windows:
                self.stats = self.stats.add(window)
        elif isinstance(event, QualityChanged):
            self.levels.append(event.quality)


def job(server: Mapping[str, str], room: str, identity: str) -> RoomJob:
    key = ApiKey(server["api_key"], server["api_secret"])
    token = room_token(key, room=room, identity=identity, agent_name="watcher")
    return RoomJob("AJ_1", room, "", server["url"], token, identity)


def access(server: PrivateServer) -> dict[str, str]:
    return {"url": server.url, "api_key": server.api_key, "api_secret": server.api_secret}


# ---------------------------------------------------------------- truth


async def talker(people: People, room: str, name: str, loss: PacketLoss | None = None) -> None:
    person = await people.join(room, name, loss=loss)
    await person.publish("microphone", steady=loss is not None)
    await person.speak(True)


async def truth(server: PrivateServer, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """One row a network."""
    losses = list[PacketLoss]()
    for number in range(len(NETWORKS)):
        directory = folder / f"loss-{number}"
        directory.mkdir()
        made = await PacketLoss.make(directory)
        if made is None:
            raise SystemExit("bench/run quality truth needs a C compiler (cc)")
        losses.append(made)
    rooms = [f"network-{number}" for number in range(len(NETWORKS))]
    observed = {(plan, room): Observed() for plan in ("all", "sampled") for room in rooms}
    async with (
        open_people(server.url, server.api_key, server.api_secret) as people,
        trio_asyncio.open_loop(),
        AsyncExitStack() as stack,
    ):
        for room, loss in zip(rooms, losses, strict=True):
            await talker(people, room, "talker", loss)
        for network, loss in zip(NETWORKS, losses, strict=True):
            loss.set(network.loss, network.delay)
        before = [loss.counts for loss in losses]
        for plan in ("all", "sampled"):
            port = LiveKitRooms(options=SdkOptions(measure=PLANS[plan]))
            await stack.enter_async_context(port)
            for room in rooms:
                entry = port.open(job(access(server), room, plan), observed[plan, room])
                await stack.enter_async_context(entry)
        await trio.sleep(seconds)
        counts = [loss.counts - earlier for loss, earlier in zip(losses, before, strict=True)]
    return [
        row(network, count, observed["all", room], observed["sampled", room])
        for network, count, room in zip(NETWORKS, counts, rooms, strict=True)
    ]


def row(
    network: Network, count: PacketCounts, everything: Observed, some: Observed
) -> dict[str, Any]:
    return {
        "network": network.name,
        "sent": count.sent + count.dropped,
        "dropped": count.dropped,
        "loss": count.loss,
        "score": opinion_score(count.loss, 0.0, RED),
        "levels": everything.levels,
        **{
            name: {
                "windows": one.stats.windows,
                "packets": one.stats.packets,
                "lost": one.stats.lost,
                "loss": one.stats.loss or 0.0,
                "score": one.stats.score or 0.0,
                "jitter": one.stats.jitter or 0.0,
                "jitter_max": one.stats.jitter_max,
                "concealment": one.stats.concealment or 0.0,
                "audio": one.stats.audio,
            }
            for name, one in (("all", everything), ("sampled", some))
        },
    }


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What misses a goal."""
    missed = list[str]()
    for one in rows:
        for name, goal in (("all", CONTINUOUS_GOAL), ("sampled", SAMPLED_GOAL)):
            if abs(one[name]["loss"] - one["loss"]) > goal:
                missed.append(f"{one['network']}: loss, {name}")
            if abs(one[name]["score"] - one["score"]) > SCORE_GOAL:
                missed.append(f"{one['network']}: MOS, {name}")
    missed += [
        f"{one['network']}: audio, {name}"
        for one in rows
        for name in ("all", "sampled")
        if one[name]["audio"] == "poor" and one["loss"] < LEAST_POOR_LOSS
    ]
    clean, delayed = rows[0]["all"]["jitter"], rows[-1]["all"]["jitter"]
    if delayed < 2 * clean or delayed < 0.01:
        missed.append("delay does not show as jitter")
    return missed


def show_truth(rows: Sequence[Mapping[str, Any]]) -> str:
    def percent(value: float) -> str:
        return f"{100 * value:.2f}"

    def lost_of(one: Mapping[str, Any]) -> str:
        return f"{one['lost']} of {one['packets'] + one['lost']}"

    head = [
        "network", "true loss, %", "all: loss, %", "sampled: loss, %", "MOS of the truth",
        "all: MOS", "sampled: MOS", "all: jitter, ms", "all: made up, %", "sampled: made up, %",
        "all: audio", "sampled: audio",
        "LiveKit's levels",
    ]  # fmt: skip
    lines = [
        [
            one["network"],
            f"{percent(one['loss'])} ({one['dropped']} of {one['sent']})",
            f"{percent(one['all']['loss'])} ({one['all']['lost']})",
            f"{percent(one['sampled']['loss'])} ({lost_of(one['sampled'])})",
            f"{one['score']:.2f}",
            f"{one['all']['score']:.2f}",
            f"{one['sampled']['score']:.2f}",
            f"{1000 * one['all']['jitter']:.1f}",
            percent(one["all"]["concealment"]),
            percent(one["sampled"]["concealment"]),
            one["all"]["audio"] or "-",
            one["sampled"]["audio"] or "-",
            " ".join(one["levels"]) or "-",
        ]
        for one in rows
    ]
    return markdown(head, lines)


# ---------------------------------------------------------------- cost


async def observe(server: Mapping[str, str], plan: str, seconds: float) -> float:
    """The CPU of this process a second, in thousandths of a core, while it watches all rooms."""
    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms(options=SdkOptions(measure=PLANS[plan])) as port,
        AsyncExitStack() as stack,
    ):
        observed = [Observed() for _ in range(ROOMS)]
        for number, one in enumerate(observed):
            entry = port.open(job(server, f"cost-{number}", f"observer-{plan}"), one)
            await stack.enter_async_context(entry)
        await trio.sleep(SETTLE)
        cpu, began = time.process_time(), time.monotonic()
        await trio.sleep(seconds)
        used = 1000 * (time.process_time() - cpu) / (time.monotonic() - began)
        windows = sum(one.stats.windows for one in observed)
    if (windows > 0) != (plan != "off"):
        raise SystemExit(f"{plan}: {windows} windows were measured")
    return used


async def cost(server: PrivateServer, seconds: float) -> dict[str, float]:
    """The CPU of each observer, by its plan."""
    used = dict[str, float]()

    async def run(plan: str) -> None:
        order = json.dumps({**access(server), "plan": plan, "seconds": seconds})
        command = [sys.executable, "-m", "bench.quality", "observe", order]
        done = await trio.run_process(command, cwd=ROOT, capture_stdout=True)
        used[plan] = float(done.stdout.split()[-1])

    async with open_people(server.url, server.api_key, server.api_secret) as people:
        for number in range(ROOMS * TALKERS):
            await talker(people, f"cost-{number % ROOMS}", f"person-{number}")
        async with trio.open_nursery() as nursery:
            for plan in PLANS:
                nursery.start_soon(run, plan)
    return used


def show_cost(used: Mapping[str, float]) -> tuple[str, bool]:
    goal = ROOM_GOAL * ROOMS + MICROPHONE_GOAL * ROOMS * TALKERS
    more = used["sampled"] - used["off"]
    rows = [
        [
            plan,
            f"{cpu:.1f}",
            f"{cpu - used['off']:.1f}",
            f"<= {goal:.1f}" if plan == "sampled" else "",
        ]
        for plan, cpu in used.items()
    ]
    head = [f"{ROOMS} rooms with {TALKERS} microphones, mcore", "in all", "more than off", "goal"]
    return markdown(head, rows), more <= goal


def _with_server(run: Callable[[PrivateServer, Path], Any]) -> Any:
    with ProgressLine(sys.stderr) as line:
        binary = ensure_server(line)
    with (
        tempfile.TemporaryDirectory(prefix="bench-quality-") as folder,
        PrivateServer.start(binary, Path(folder) / "livekit") as server,
    ):
        return run(server, Path(folder))


def main() -> int:
    if sys.argv[1:2] == ["observe"]:
        order = json.loads(sys.argv[2])
        print(trio.run(observe, order, order["plan"], order["seconds"]))
        return 0
    parser = argparse.ArgumentParser(prog="bench/run quality", description=__doc__)
    parser.add_argument("what", choices=("truth", "cost"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what == "truth":
        seconds = options.seconds or 185.0
        rows = _with_server(lambda server, folder: trio.run(truth, server, folder, seconds))
        missed = judge(rows)
        print(show_truth(rows))
        print("".join(f"\nmissed: {one}" for one in missed) + f"\nload {load():.1f}")
        save(options.json, {"machine": machine(), "truth": rows})
        return 1 if missed else 0
    seconds = options.seconds or 60.0
    used = _with_server(lambda server, _: trio.run(cost, server, seconds))
    table, well = show_cost(used)
    print(f"{table}\n\nload {load():.1f}")
    save(options.json, {"machine": machine(), "cost": used})
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
