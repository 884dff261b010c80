"""The process of an outbox alone: a journal, and an endpoint that wants all of it.

    python -m bench.outlets.alone DATA_DIR ENTRIES URL

Says `filled` once the journal is written.  At a line on stdin it begins to deliver, and says
`{"parked": N, "seconds": …}` where the receiver is down and all of it waits on the disk, then
`{"delivered": N, "cpu": seconds of a core}`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

import trio

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.runtime import open_system
from actors.session import (
    ParticipantInfo,
    QualityChanged,
    Roster,
    SessionBegan,
    Watching,
)
from bench.outlets.watched import NAME, endpoint
from bridge.app.interpreter import tune_interpreter
from bridge.app.outlets import Outlet, start_outlets
from bridge.config.store_address import StoreAddress
from bridge.livekit.tokens import ApiKey
from bridge.outlets.sqlite_outbox import SqliteOutbox
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_feed import SqliteFeed

SESSIONS: Final = 100
BATCH: Final = 200
"""Entries in a batch of the journal: a tenth of a second of 2,000 a second."""
PEOPLE: Final = ("alice", "bob", "carol")
AHEAD: Final = 300.0
"""Seconds by which entries are in the future: what is late is parked first, which costs more."""
LOOK: Final = 0.02
QUALITIES: Final = ("good", "poor")


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


async def fill(data_dir: Path, entries: int) -> int:
    """Write the journal; how many entries it has."""
    backlog, now, written = Backlog(), time.time() + AHEAD, 0
    async with open_store(data_dir, instance=NAME) as archive:
        journals = list[Journal]()
        for number in range(SESSIONS):
            sid = f"RM_{number}"
            journal = Journal.begin(
                SessionBegan(now, f"room-{number}", sid, ("AJ_1",), NAME, "agent", now), backlog
            )
            people = tuple(ParticipantInfo(one, f"PA_{one}", now) for one in PEOPLE)
            journal.record(Watching(now, Roster(sid, "", people, now)))
            journals.append(journal)
            written += 1 + len(PEOPLE)
        for number in range(max(0, entries - written)):
            journal, turn = journals[number % SESSIONS], number // SESSIONS
            quality = QUALITIES[(turn // len(PEOPLE)) % 2]
            who = PEOPLE[turn % len(PEOPLE)]
            journal.record(QualityChanged(now, who, f"PA_{who}", quality))
            written += 1
            if number % BATCH == BATCH - 1:
                await archive.write(backlog.take(time.time()))
                backlog.done()
        await archive.write(backlog.take(time.time()))
        backlog.done()
    return written


async def deliver(data_dir: Path, entries: int, url: str) -> None:
    store = SqliteOutbox(data_dir)
    await store.save(NAME, cursor="1-0")
    never = trio.Event()
    async with open_system() as system:
        used, began = time.process_time(), time.monotonic()
        running = start_outlets(
            [endpoint(url)],
            system,
            StoreAddress(data_dir),
            SqliteFeed(data_dir, lambda: never),
            ApiKey("bench", "bench" * 8),
            instance="bench",
            clock=time.time,
            announce=lambda _, **__: None,
        )
        (outlet,) = running.outlets
        if await _until(outlet, entries, parked=True):
            say({"parked": outlet.counts.waiting, "seconds": time.monotonic() - began})
            used = time.process_time()
            await _until(outlet, entries, parked=False)
        say({"delivered": outlet.counts.delivered, "cpu": time.process_time() - used})


async def _until(outlet: Outlet, entries: int, *, parked: bool) -> bool:
    """Wait until all is parked, or all is delivered.  True if it is parked."""
    counts = outlet.counts
    while counts.delivered < entries:
        if parked and counts.waiting >= entries:
            return True
        await trio.sleep(LOOK)
    return False


async def main(data_dir: Path, entries: int, url: str) -> None:
    written = await fill(data_dir, entries)
    say({"filled": written})
    await trio.to_thread.run_sync(sys.stdin.readline)
    await deliver(data_dir, written, url)


if __name__ == "__main__":
    tune_interpreter()
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
