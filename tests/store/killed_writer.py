"""Writers that are killed, one after the other, and the process that checks what they left.

    python -m tests.store.killed_writer DIRECTORY TIMES

Each writer goes on with the session that the one before left.  It reports through a pipe the last
row that was written as far as it knows.  It is killed at a random moment.  The store must then have
that row or a later one, and the state to which its rows fold.  Each writer is a fork, so it lives
for milliseconds.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
from pathlib import Path
from typing import NoReturn

import trio

from actors.journal.archive import StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.session import (
    DataReceived,
    Record,
    Roster,
    SessionBegan,
    SessionContinued,
    SessionState,
    Watching,
    fold,
)
from bridge.store.sqlite_archive import open_store

T0 = 1_790_000_000.0
SEQ = struct.Struct("q")


def record(seq: int) -> Record:
    """Record `seq` of the session, the same for every writer."""
    if seq == 0:
        return SessionBegan(T0, "atlas", "RM_1", ("AJ_1",), "worker", "agent", T0)
    if seq == 1:
        return Watching(T0, Roster("RM_1"))
    if seq % 100 == 50:  # leads to a checkpoint at once
        return SessionContinued(T0 + seq, f"AJ_{seq}", None)
    return DataReceived(T0 + seq, "alice", "chat" * (seq % 7), seq, "text")


async def recovered(data_dir: Path) -> StoredSession | None:
    async with open_store(data_dir, instance="w") as archive:
        sessions = (await archive.load()).sessions
    assert len(sessions) < 2
    return sessions[0] if sessions else None


async def write_for_ever(data_dir: Path, report: int) -> NoReturn:
    async with open_store(data_dir, instance="w") as archive:
        backlog = Backlog()
        stored = (*(await archive.load()).sessions, None)[0]
        if stored is None:
            first = record(0)
            assert isinstance(first, SessionBegan)
            journal = Journal.begin(first, backlog)
        else:
            journal = Journal.resume(stored, backlog)
        while True:
            for seq in range(journal.seq + 1, journal.seq + random.randint(2, 60)):
                one = record(seq)
                if isinstance(one, SessionContinued):
                    journal.attach(one.at, one.job_id)
                else:
                    assert isinstance(one, Watching | DataReceived)
                    journal.record(one)
            await archive.write(backlog.take(journal.state.last_at))
            backlog.done()
            os.write(report, SEQ.pack(journal.seq))


def kill_one(data_dir: Path, seconds: float) -> int:
    """Let a writer write for so long.  Gives the last row that it knew to be written."""
    receiver, report = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            trio.run(write_for_ever, data_dir, report)
        finally:
            os._exit(1)
    os.close(report)
    reports = os.read(receiver, SEQ.size)  # it writes
    assert reports, "the writer failed"
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(receiver, "rb") as rest:
        reports += rest.read()
    whole = len(reports) // SEQ.size * SEQ.size
    return SEQ.unpack(reports[whole - SEQ.size : whole])[0]


def main(data_dir: Path, times: int) -> None:
    rng = random.Random(5)
    state: SessionState | None = None
    seq = -1
    for _ in range(times):
        known = kill_one(data_dir, rng.uniform(0.0, 0.03))
        stored = trio.run(recovered, data_dir)
        assert stored is not None
        assert stored.seq >= known, f"row {known} was written, the store has {stored.seq}"
        while seq < stored.seq:
            seq += 1
            state, _ = fold(state, record(seq))
        assert stored.state == state
    print(f"{times} writers killed, {seq + 1} rows stored")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
