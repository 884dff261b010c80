"""The log of truth of the stub agent: JSON lines, one file for the worker and one for each job.

Each line is an object with `at` (Unix seconds by the clock of the agent) and `what`; the other keys
depend on `what`.
The standard library only: the agent's program writes it in its own environment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

Fact: TypeAlias = dict[str, Any]

LOAD_FILE: Final = "load"
"""In the folder of the log: the load that the worker shall report."""
WORKER_FILE: Final = "worker.jsonl"
_ENDING: Final = ".job.jsonl"


class TruthLog:
    """Writes one file.  A line is in the file when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    @classmethod
    def of_job(cls, folder: Path, job: str) -> TruthLog:
        """The log of one job, by its ID."""
        return cls(folder / f"{job}{_ENDING}")

    def note(self, what: str, at: float | None = None, **more: Any) -> None:
        """Write one fact; `at` is now where it is not given."""
        fact = {"at": time.time() if at is None else at, "what": what, **more}
        self._file.write(json.dumps(fact, default=str) + "\n")
        self._file.flush()


def read_facts(path: Path) -> list[Fact]:
    """The whole lines of a log, none where it does not exist yet."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def job_logs(folder: Path) -> Iterator[Path]:
    """The files of all jobs until now."""
    yield from sorted(folder.glob(f"*{_ENDING}"))
