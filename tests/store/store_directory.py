"""The directory of a store: helpers of the tests of its files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History


async def fill_store(data_dir: Path, sessions: int = 1) -> History:
    """Write a store, as a run that is over."""
    history = History()
    async with open_store(data_dir, instance="earlier") as archive:
        for number in range(sessions):
            journal = history.begin(f"room-{number}", f"RM_{number}")
            history.talk(journal, 5)
            await history.write_to(archive)
    return history


async def recovered_ids(data_dir: Path) -> list[str]:
    """The ids of the sessions that the next run recovers."""
    async with open_store(data_dir, instance="later") as archive:
        return [one.state.room_sid for one in (await archive.load()).sessions]


def contents(data_dir: Path) -> dict[str, bytes]:
    """The contents of all files but SQLite's shared memory and the lock."""
    others = ("-shm", "lock")
    return {p.name: p.read_bytes() for p in data_dir.iterdir() if not p.name.endswith(others)}


def quarantined(data_dir: Path) -> list[Path]:
    """The files that were moved aside because of damage."""
    return list(data_dir.glob(f"{FILE}.corrupt-*"))


def execute(data_dir: Path, *statements: str) -> None:
    """Change the file behind the program's back."""
    with closing(sqlite3.connect(data_dir / FILE, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
