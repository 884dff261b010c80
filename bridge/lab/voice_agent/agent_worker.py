"""A worker of the stub agent, as tests and measures start and follow it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

import trio

from bridge.lab.server import PrivateServer
from bridge.lab.server.guarded_process import AT_ONCE, Guarded
from bridge.lab.voice_agent.agents_environment import CHECKOUT
from bridge.lab.voice_agent.truth_log import (
    LOAD_FILE,
    WORKER_FILE,
    Fact,
    job_logs,
    read_facts,
)

LOOK_SECONDS: Final = 0.02
"""Between two looks at the log of truth."""
PROGRAM: Final = Path(__file__).with_name("stub_agent.py")
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG")


@final
class AgentWorker:
    """A running worker and its log of truth."""

    def __init__(self, name: str, folder: Path, process: Guarded) -> None:
        self.name = name
        """Its name in dispatches."""
        self.folder = folder
        self._process = process

    async def registered(self) -> None:
        """Wait until LiveKit knows it."""
        while not read_facts(self.folder / WORKER_FILE):  # noqa: ASYNC110 (a file)
            await trio.sleep(LOOK_SECONDS)

    def set_load(self, load: float) -> None:
        """The load that it reports from now on, also when it is next offered a job."""
        fresh = self.folder / f"{LOAD_FILE}.new"
        fresh.write_text(str(load))
        fresh.rename(self.folder / LOAD_FILE)

    def job(self, room: str) -> AgentJob | None:
        """The newest job in a room of this name; None where it has none."""
        jobs = [AgentJob(path) for path in job_logs(self.folder)]
        mine = [job for job in jobs if job.facts("job") and job.facts("job")[0]["room"] == room]
        return max(mine, key=lambda job: job.facts("job")[0]["at"], default=None)

    async def wait_job(self, room: str) -> AgentJob:
        """The job in a room, once its agent is in."""
        while True:
            job = self.job(room)
            if job is not None and job.facts("connected"):
                return job
            await trio.sleep(LOOK_SECONDS)


@final
class AgentJob:
    """One conversation of the agent: what its log of truth says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def facts(self, *whats: str) -> list[Fact]:
        """The facts until now, of these kinds or all."""
        facts = read_facts(self._path)
        return [fact for fact in facts if not whats or fact["what"] in whats]

    @property
    def id(self) -> str:
        job: str = self.facts("job")[0]["job"]
        return job

    @property
    def identity(self) -> str:
        identity: str = self.facts("connected")[0]["identity"]
        return identity

    async def wait(self, what: str, holds: Callable[[Fact], object], after: int = 0) -> int:
        """Wait for a fact behind the first `after` ones; the number of facts up to it."""
        while True:
            for number, fact in enumerate(self.facts()[after:], after + 1):
                if fact["what"] == what and holds(fact):
                    return number
            await trio.sleep(LOOK_SECONDS)

    async def ended(self) -> float:
        """Wait until the agent's process has ended; the seconds since its session closed."""
        while _lives(self._pid):  # noqa: ASYNC110 (another's child)
            await trio.sleep(LOOK_SECONDS)
        return time.time() - float(self.facts("close")[0]["at"])

    def kill(self) -> None:
        """End the agent's process without a goodbye."""
        os.kill(self._pid, signal.SIGKILL)

    @property
    def _pid(self) -> int:
        pid: int = self.facts("job")[0]["pid"]
        return pid


def _lives(pid: int) -> bool:
    """True until the process has ended, also if nobody has waited for it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@contextmanager
def agent_worker(
    python: Path,
    server: PrivateServer,
    folder: Path,
    name: str,
    environment: Mapping[str, str] | None = None,
) -> Generator[AgentWorker, None, None]:
    """A worker for the length of a block.  All of its processes end with it, or with us.

    `python` is that of the agent's environment, `folder` gets its log of truth and its output.
    `environment` has more variables, such as `STUB_AGENT_RECORD`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONSAFEPATH": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "STUB_AGENT_NAME": name,
        "STUB_AGENT_TRUTH": str(folder),
        **(environment or {}),
    }
    log = folder / "agent.log"
    process = Guarded([str(python), str(PROGRAM)], log=log, environment=variables)
    try:
        yield AgentWorker(name, folder, process)
    finally:
        process.end(AT_ONCE)
