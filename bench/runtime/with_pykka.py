"""The same round on pykka, a thread an actor, in an environment that has it."""

from __future__ import annotations

import json
import sys
import time

import pykka  # pyright: ignore[reportMissingImports]  (the peer's environment has it)

from bench.runtime.memory import resident

TELLS, ASKS, UNDER_WAY, STARTS, IDLE = 100_000, 10_000, 64, 1_000, 1_000


class Adder(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: object) -> int | None:
        if isinstance(message, int):
            self.total += message
            return None
        return self.total


def main() -> None:
    ref, found = Adder.start(), dict[str, float]()
    began = time.perf_counter()
    for _ in range(TELLS):
        ref.tell(1)
    ref.ask("total")
    found["tells"] = TELLS / (time.perf_counter() - began)

    began = time.perf_counter()
    for _ in range(ASKS):
        ref.ask("total", timeout=5)
    found["asks"] = ASKS / (time.perf_counter() - began)

    began = time.perf_counter()
    for _ in range(ASKS // UNDER_WAY):
        pykka.get_all([ref.ask("total", block=False) for _ in range(UNDER_WAY)], timeout=5)
    found["asks_64"] = ASKS / (time.perf_counter() - began)

    began = time.perf_counter()
    refs = [Adder.start() for _ in range(STARTS)]
    for one in refs:
        one.ask("total")
    found["starts"] = STARTS / (time.perf_counter() - began)
    pykka.ActorRegistry.stop_all()
    sys.stdout.write(json.dumps(found) + "\n")


def idle() -> None:
    before = resident()
    refs = [Adder.start() for _ in range(IDLE)]
    for one in refs:
        one.ask("total")
    found = {"idle_kib_each": (resident() - before) * 1024 / IDLE}
    sys.stdout.write(json.dumps(found) + "\n")
    pykka.ActorRegistry.stop_all()


if __name__ == "__main__":
    idle() if "idle" in sys.argv else main()
