"""The load generator (`bench/load`, Go): built once into the cache, then given orders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, Final

from attrs import frozen

from bench.errors import BenchError
from bridge.lab.server import PrivateServer
from bridge.lab.server.build import GoProgram, Progress, build_program
from bridge.lab.server.find import cache_dir

SOURCES: Final = Path(__file__).resolve().parent.parent / "load"
CARRIED_OUT: Final = 180.0
"""Seconds for an order to be carried out, beyond a second for each room and what it asks for."""
ENDING: Final = 5.0
"""Seconds for it to end once nobody gives orders any more."""


def ensure_load(progress: Progress) -> Path:
    """The generator; built where these sources have not been built yet."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.go"), *SOURCES.glob("go.*")]):
        digest.update(path.read_bytes())
    return build_program(
        GoProgram(
            name="the load generator",
            target=cache_dir() / f"bench-load-{digest.hexdigest()[:12]}",
            arguments=lambda made: [
                *("build", "-C", str(SOURCES), "-v", "-trimpath", "-ldflags=-s -w"),
                *("-o", str(made / "load")),
            ],
            made="load",
            packages=460,
            check=_wrong,
            advice="install Go 1.26, or try again where the package registries can be reached",
        ),
        progress,
    )


def _wrong(binary: Path) -> str | None:
    """It must refuse to work anywhere but on loopback."""
    asked = subprocess.run(
        [str(binary)],
        env={"LIVEKIT_URL": "ws://192.0.2.1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return None if "loopback" in asked.stderr else f"what was built says {asked.stderr[:80]!r}"


@frozen
class Answer:
    """The generator's answer to one order; times are Unix seconds."""

    asked: Mapping[str, float]
    """By room: just before the call that made it."""
    sent: Mapping[str, Any]
    """By room: `data` (when each message was sent), and how often the rest was done."""
    late: float
    """Seconds by which something happened later than planned, at most."""
    seconds: float
    failed: Mapping[str, str]


class Load:
    """The running generator."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._orders, self._answers = process.stdin, process.stdout

    def do(self, what: str, rooms: Sequence[str], **how: int | float | str) -> Answer:
        """Give an order and wait until it is carried out.  Raises `BenchError`."""
        answer = self.attempt(what, rooms, **how)
        if answer.failed:
            room, error = next(iter(answer.failed.items()))
            raise BenchError(f"{what} failed in {len(answer.failed)} rooms; in {room}: {error}")
        return answer

    def attempt(self, what: str, rooms: Sequence[str], **how: int | float | str) -> Answer:
        """The same where some of it may fail."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(json.dumps({"do": what, "rooms": list(rooms), **how}) + "\n")
            self._orders.flush()
        longest = CARRIED_OUT + len(rooms) + float(how.get("seconds", 0) or how.get("over", 0))
        if not select([self._answers], [], [], longest)[0]:
            raise BenchError(f"{what} was not carried out in {longest:g} s")
        line = self._answers.readline()
        if not line:
            raise BenchError(f"the load generator ended at {what}")
        found = json.loads(line)
        return Answer(
            asked=found.get("asked", {}),
            sent=found.get("sent", {}),
            late=found["late"],
            seconds=found["ended"] - found["began"],
            failed=found.get("failed", {}),
        )


@contextmanager
def running_load(binary: Path, server: PrivateServer) -> Iterator[Load]:
    """It ends with the block, or with us: its orders end."""
    environment = {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [str(binary)], stdin=pipe, stdout=pipe, env=environment, text=True
    ) as process:
        try:
            yield Load(process)
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
