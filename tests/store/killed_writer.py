"""Writers that are killed, one after the other, and the process that looks at what they left.

    python -m tests.store.killed_writer DIRECTORY TIMES

Each writer goes on with the session that the one before left, and tells through a pipe
which line was kept last as far as it knows.  It is killed at a random moment.  What is
found then must be that line or a later one, and the state that these lines fold to.
A fork for each writer, so that a life takes milliseconds.
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
    """Line `seq` of the session, whoever writes it."""
    if seq == 0:
        return SessionBegan(T0, "atlas", "RM_1", ("AJ_1",), "worker", "agent", T0)
    if seq == 1:
        return Watching(T0, Roster("RM_1"))
    if seq % 100 == 50:  # kept whole at once
        return SessionContinued(T0 + seq, f"AJ_{seq}", None)
    return DataReceived(T0 + seq, "alice", "chat" * (seq % 7), seq, "text")


async def found(data_dir: Path) -> StoredSession | None:
    async with open_store(data_dir, instance="w") as archive:
        sessions = (await archive.load()).sessions
    assert len(sessions) < 2
    return sessions[0] if sessions else None


async def write_for_ever(data_dir: Path, tell: int) -> NoReturn:
    async with open_store(data_dir, instance="w") as archive:
        backlog = Backlog()
        kept = (*(await archive.load()).sessions, None)[0]
        if kept is None:
            first = record(0)
            assert isinstance(first, SessionBegan)
            journal = Journal.begin(first, backlog)
        else:
            journal = Journal.resume(kept, backlog)
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
            os.write(tell, SEQ.pack(journal.seq))


def kill_one(data_dir: Path, seconds: float) -> int:
    """Let a writer write for so long; the last line it knew to be kept."""
    hear, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            trio.run(write_for_ever, data_dir, tell)
        finally:
            os._exit(1)
    os.close(tell)
    told = os.read(hear, SEQ.size)  # it writes
    assert told, "the writer failed"
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(hear, "rb") as rest:
        told += rest.read()
    whole = len(told) // SEQ.size * SEQ.size
    return SEQ.unpack(told[whole - SEQ.size : whole])[0]


def main(data_dir: Path, times: int) -> None:
    rng = random.Random(5)
    state: SessionState | None = None
    seq = -1
    for _ in range(times):
        known = kill_one(data_dir, rng.uniform(0.0, 0.03))
        kept = trio.run(found, data_dir)
        assert kept is not None
        assert kept.seq >= known, f"line {known} was kept, found are {kept.seq}"
        while seq < kept.seq:
            seq += 1
            state, _ = fold(state, record(seq))
        assert kept.state == state
    print(f"{times} writers killed, {seq + 1} lines kept")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
