"""LiveKit's side of the jobs of one simulated run."""

from __future__ import annotations

from collections import Counter
from typing import final

from actors.runtime import sleep


@final
class SimulatedJobs:
    """LiveKit's side of the jobs of one run, and what the program reported of each."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        """Job id to the SID of its room."""
        self.running: Counter[str] = Counter()
        self.ends: dict[str, list[str | None]] = {}
        self.capacities: list[int] = []

    def job_running(self, job_id: str) -> None:
        self.running[job_id] += 1

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        self.ends.setdefault(job_id, []).append(error)

    def capacity(self, active: int) -> None:
        self.capacities.append(active)

    async def flush(self) -> None:
        await sleep(0.01)

    def open_in(self, room_sid: str) -> list[str]:
        """The jobs of a room that have not ended."""
        of_room = (job_id for job_id, sid in self.given.items() if sid == room_sid)
        return [job_id for job_id in of_room if job_id not in self.ends]
