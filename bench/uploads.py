"""Uploads of voice agents: how soon they are answered, and what junk leaves in memory.

    bench/run uploads [--jobs 100] [--seconds 30] [--junk 10000] [--json FILE] [--help]

A worker's actors, store and HTTP side in a process of its own, without LiveKit.  So many jobs each
post on a kept connection what a real agent posted (the captured uploads of the tests): a batch of
traces every 5 s, a batch of logs every 5 s, and at the end, all at the same time, a report with 850
KiB of sound.  Each answer is timed from the first byte of its request to the end of its answer.
Then junk: random bytes, bombs, half batches, markup, forms that are none.
"""

from __future__ import annotations

import argparse
import gzip
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from attrs import define, evolve, field
from livekit.protocol.metrics import MetricsRecordingHeader

from actors.simulation.simulated_rooms import SimulatedRooms
from bench.entry import bench_parser, run_bench
from bench.measure import conclude, load, markdown, memory_of
from bridge.app.simulated_app import open_simulated_app
from bridge.app.upload_role import AgentUploads
from bridge.app.web import application
from bridge.config.settings import load as load_settings
from bridge.http.server.listener import serve
from bridge.livekit.tokens import ApiKey

KEY: Final = ApiKey("bench", "bench-bench-bench-bench-bench-bench")
EVERY: Final = 5.0
"""Seconds between two batches of one job."""
SOUND: Final = 850 * 1024
GOAL_P99: Final = 0.050
GOAL_GROWTH: Final = 20 * 1024 * 1024
TESTS: Final = Path(__file__).resolve().parents[1] / "tests" / "uploads" / "captured"
BOUNDARY: Final = "bench-boundary"
"""Of the forms."""


# ---------------------------------------------------------------- the worker


async def serve_uploads(data_dir: Path) -> None:
    """The worker: prints its port, and runs until it is ended."""
    flags = {"api-key": KEY.key, "api-secret": KEY.secret, "data-dir": str(data_dir)}
    settings = load_settings({**flags, "http": "127.0.0.1:0", "keep-recordings": "7d"}, {})
    assert settings.http is not None
    structlog.configure(processors=[_drop])
    async with (
        open_simulated_app(settings, SimulatedRooms(time.time), data_dir, NoJobs()) as running,
        trio.open_nursery() as nursery,
    ):
        actors = running.actors
        uploads = AgentUploads(settings, running.system, actors, None, actors.clock)
        site = application(settings, evolve(running.web_ports(), uploads=uploads))
        nursery.start_soon(site.beside)
        address = await nursery.start(serve, settings.http, site.app)
        print(address.port, flush=True)
        await trio.sleep_forever()


def _drop(*_: object) -> Any:
    raise structlog.DropEvent


class NoJobs:
    """Takes the reports on jobs: there are none."""

    def job_running(self, job_id: str) -> None: ...
    def job_ended(self, job_id: str, error: str | None = None) -> None: ...
    def capacity(self, active: int) -> None: ...
    async def flush(self) -> None: ...


# ---------------------------------------------------------------- the agents


@define
class Times:
    """Seconds until the answers came, by what was posted."""

    traces: list[float] = field(factory=list[float])
    logs: list[float] = field(factory=list[float])
    reports: list[float] = field(factory=list[float])
    other_statuses: int = 0


def request(path: str, token: str, kind: str, body: bytes, *, packed: bool) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}",
        f"Content-Type: {kind}", f"Content-Length: {len(body)}",
        *(["Content-Encoding: gzip"] if packed else []), "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + body


async def post(stream: trio.SocketStream, data: bytes) -> int:
    """The status of the answer, once it is whole."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, stream, data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = await stream.receive_some()
            if not more:
                break
            answer += more
        nursery.cancel_scope.cancel()
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # it was refused while it came
        await stream.send_all(data)


async def run_job(
    port: int, number: int, seconds: float, report_at: float, times: Times, token: str
) -> None:
    """One job: batches for so long, then the report."""
    traces = [path.read_bytes() for path in sorted(TESTS.glob("traces-*.gz"))]
    logs = [path.read_bytes() for path in sorted(TESTS.glob("logs-*.gz"))]
    rng = random.Random(number)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    otlp = "application/x-protobuf"
    async with stream:
        await trio.sleep(rng.uniform(0, EVERY))
        for step in range(int(seconds / EVERY)):
            for kind, bodies, taken in (
                ("traces", traces, times.traces), ("logs", logs, times.logs),
            ):  # fmt: skip
                path, body = f"/observability/{kind}/otlp/v0", bodies[step % len(bodies)]
                began = time.perf_counter()
                status = await post(stream, request(path, token, otlp, body, packed=True))
                taken.append(time.perf_counter() - began)
                times.other_statuses += status != 200
                await trio.sleep(EVERY / 2)
        await trio.sleep_until(report_at)
        form = request(
            "/observability/recordings/v0", token,
            f"multipart/form-data; boundary={BOUNDARY}", report(number), packed=False,
        )  # fmt: skip
        began = time.perf_counter()
        status = await post(stream, form)
        times.reports.append(time.perf_counter() - began)
        times.other_statuses += status != 200


def report(number: int) -> bytes:
    """The form of a job of its own, in a room of its own."""
    header = MetricsRecordingHeader.FromString((TESTS / "report-header.binpb").read_bytes())
    header.room_id, header.job_id = f"RM_{number}", f"AJ_{number}"
    history = (TESTS / "report-chat-history.json").read_bytes()
    parts = (
        ("header", header.SerializeToString()), ("chat_history", history), ("audio", bytes(SOUND)),
    )  # fmt: skip
    body = bytearray()
    for name, data in parts:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return bytes(body + f"--{BOUNDARY}--\r\n".encode())


async def post_junk(port: int, numbers: range, token: str, bomb: bytes) -> None:
    rng = random.Random(numbers.start)
    half = (TESTS / "traces-3.gz").read_bytes()[:2000]
    stream: trio.SocketStream | None = None
    for number in numbers:
        body = (
            rng.randbytes(rng.randrange(20_000)), bomb, half,
            gzip.compress(b"<script>alert(1)</script>" * 100, 1),
            gzip.compress(b"\x12\x00" * 50_000, 1),
        )[number % 5]  # fmt: skip
        form = number % 7 == 0
        path = "recordings/v0" if form else f"{('traces', 'logs')[number % 2]}/otlp/v0"
        kind = f"multipart/form-data; boundary={BOUNDARY}" if form else "application/x-protobuf"
        data = request(f"/observability/{path}", token, kind, body, packed=not form)
        if stream is None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        if await post(stream, data) != 200:  # the connection ends with a refusal
            await stream.aclose()
            stream = None


# ---------------------------------------------------------------- the measure


def percentile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


async def measure(jobs: int, seconds: float, junk: int) -> dict[str, Any]:
    token = KEY.sign({}, ttl=3600, claims={"observability": {"write": True}})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.uploads", "--serve", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220
            try:
                assert worker.stdout is not None
                port = int(await trio.to_thread.run_sync(worker.stdout.readline))
                times, idle = Times(), memory_of(worker.pid).rss
                report_at = trio.current_time() + seconds + 2 * EVERY
                async with trio.open_nursery() as nursery:
                    for number in range(jobs):
                        nursery.start_soon(run_job, port, number, seconds, report_at, times, token)
                await trio.sleep(3)
                busy = memory_of(worker.pid).rss
                bomb = gzip.compress(bytes(16 * 1024 * 1024), 9)
                async with trio.open_nursery() as nursery:
                    share = junk // 10
                    for start in range(0, junk, share):
                        numbers = range(start, start + share)
                        nursery.start_soon(post_junk, port, numbers, token, bomb)
                await trio.sleep(3)
                after = memory_of(worker.pid).rss
            finally:
                worker.kill()
    batches = times.traces + times.logs
    return {
        "jobs": jobs, "batches": len(batches), "other_statuses": times.other_statuses,
        "p50": percentile(batches, 0.5), "p99": percentile(batches, 0.99), "max": max(batches),
        "reports": len(times.reports), "report_p50": percentile(times.reports, 0.5),
        "report_max": max(times.reports), "junk": junk, "idle": idle, "busy": busy,
        "after_junk": after,
    }  # fmt: skip


def main() -> int:
    parser = bench_parser("uploads", __doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--junk", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        trio.run(serve_uploads, options.serve)
        return 0
    before = load()
    figures = trio.run(measure, options.jobs, options.seconds, options.junk)
    mib, growth = 1024 * 1024, figures["after_junk"] - figures["busy"]
    rows = [
        ("answers to batches", str(figures["batches"]), "all 200"),
        ("p50, ms", f"{figures['p50'] * 1000:.1f}", ""),
        ("p99, ms", f"{figures['p99'] * 1000:.1f}", f"at most {GOAL_P99 * 1000:.0f}"),
        ("slowest, ms", f"{figures['max'] * 1000:.1f}", ""),
        ("reports with sound, all at once", str(figures["reports"]), "all 200"),
        ("half of them within, ms", f"{figures['report_p50'] * 1000:.0f}", ""),
        ("all within, ms", f"{figures['report_max'] * 1000:.0f}", ""),
        ("memory at rest, MiB", f"{figures['idle'] / mib:.1f}", ""),
        ("after the jobs, MiB", f"{figures['busy'] / mib:.1f}", ""),
        (
            f"growth by {figures['junk']:,} junk bodies, MiB",
            f"{growth / mib:.1f}",
            f"at most {GOAL_GROWTH // mib}",
        ),
    ]
    print(markdown((f"{options.jobs} jobs", "measured", "goal"), rows))
    print()
    unmet = [
        text
        for missed, text in (
            (figures["other_statuses"], f"{figures['other_statuses']} answers were not 200"),
            (figures["p99"] > GOAL_P99, f"p99 is {figures['p99'] * 1000:.0f} ms"),
            (growth > GOAL_GROWTH, f"junk left {growth / mib:.0f} MiB"),
        )
        if missed
    ]
    return conclude(options.json, before, figures, unmet)


if __name__ == "__main__":
    run_bench(main)
