"""Damage to a data directory while no worker runs, as one table.

Whatever it was: the next worker takes the store, sets it aside whole, or refuses it with one
line; readers give sessions or one line; and what is written afterwards is kept.  A disk that
fails while a worker runs is in `tests/store` (test_file.py, test_killed.py) and
`tests/app/test_store.py`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pytest
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, SessionUnreadable, StoreRefused
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import T0, History

Outcome: TypeAlias = Literal["taken", "set aside", "refused", "trouble"]
"""`taken`: the sessions are there; `set aside`: a new store, the old file whole beside it;
`refused`: no worker starts; `trouble`: it starts, and says that nothing is written."""


def _overwrite(at: float, length: int = 8_192) -> Callable[[Path], None]:
    """Zeros over a part of the file; `at` is 0 to 1."""

    def strike(store: Path) -> None:
        size = store.stat().st_size
        with store.open("r+b") as file:
            file.seek(int(size * at) // 4_096 * 4_096)
            file.write(b"\0" * length)

    return strike


def _cut(share: float) -> Callable[[Path], None]:
    return lambda store: os.truncate(store, int(store.stat().st_size * share))


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def strike(store: Path) -> None:
        store.unlink()
        make(store)

    return strike


def _statement(sql: str) -> Callable[[Path], None]:
    def strike(store: Path) -> None:
        with closing(sqlite3.connect(store)) as db:
            db.execute(sql)
            db.commit()

    return strike


def _another_programs(store: Path) -> None:
    with closing(sqlite3.connect(store)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()


CASES: Final[dict[str, tuple[Callable[[Path], object], Outcome]]] = {
    "nothing": (lambda _: None, "taken"),
    "an empty log beside it": (lambda store: Path(f"{store}-wal").touch(), "taken"),
    "garbage for a log": (lambda store: Path(f"{store}-wal").write_bytes(b"x" * 9_999), "taken"),
    "garbage for shared memory": (
        lambda store: Path(f"{store}-shm").write_bytes(b"x" * 32_768), "taken",
    ),
    "garbage behind its end": (
        lambda store: store.write_bytes(store.read_bytes() + b"x" * 777), "taken",
    ),
    "its beginning gone": (_overwrite(0.0), "set aside"),
    "its middle gone": (_overwrite(0.5, 65_536), "set aside"),
    "cut in half": (_cut(0.5), "set aside"),
    "cut to a few bytes": (_cut(0.001), "set aside"),
    "text instead": (_instead(lambda store: store.write_text("hello\n" * 999)), "set aside"),
    "a table gone": (_statement("DROP TABLE chunks"), "trouble"),
    "a newer version": (_statement("PRAGMA user_version = 999"), "refused"),
    "another program's": (_instead(_another_programs), "refused"),
    "a directory instead": (_instead(Path.mkdir), "trouble"),
    "a FIFO instead": (_instead(os.mkfifo), "trouble"),
    "a link to itself": (_instead(lambda store: store.symlink_to(store)), "trouble"),
    "a link to nothing": (_instead(lambda store: store.symlink_to("/nonexistent/x")), "trouble"),
    "a link to a device": (_instead(lambda store: store.symlink_to("/dev/full")), "trouble"),
}  # fmt: skip


async def _fill(data_dir: Path) -> None:
    history = History()
    async with open_store(data_dir, instance="w") as archive:
        for number in range(40):
            journal = history.begin("atlas", f"RM_{number}")
            history.talk(journal, 20)
            journal.end(history.now, "room_closed")
        await history.write_to(archive)


def _read(data_dir: Path) -> list[str]:
    """The SIDs of all sessions that readers give; a reader says anything else in one line."""
    try:
        with open_reader(data_dir) as reader:
            rows = reader.sessions(100).sessions
            for row in rows:
                try:
                    assert reader.session(row.id) is not None
                except SessionUnreadable as error:
                    _one_line(error)
            return [row.id for row in rows]
    except (NoStore, StoreRefused, ArchiveTrouble) as error:
        _one_line(error)
        return []


def _one_line(error: Exception) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 1_000


@pytest.mark.parametrize("case", CASES)
async def test_whatever_happened_to_it_nothing_is_overwritten_and_it_goes_on(
    case: str, tmp_path: Path
) -> None:
    strike, expected = CASES[case]
    data_dir, store = tmp_path / "data", tmp_path / "data" / FILE
    await _fill(data_dir)
    strike(store)
    before = store.read_bytes() if store.is_file() and not store.is_symlink() else None
    _read(data_dir)
    outcome: Outcome = "taken"
    with capture_logs():
        try:
            async with open_store(data_dir, instance="w") as archive:
                history = History(T0 + 86_400.0)
                history.begin("borealis", "RM_new").end(history.now, "room_closed")
                try:
                    await archive.load()
                    await history.write_to(archive)
                except ArchiveTrouble as error:
                    _one_line(error)
                    outcome = "trouble"
        except StoreRefused as error:
            _one_line(error)
            outcome = "refused"
    aside = [path for path in data_dir.iterdir() if path.name.startswith(f"{FILE}.corrupt-")]
    if aside:
        outcome = "set aside"
        assert before in [path.read_bytes() for path in aside], "the damaged file is whole"
    assert outcome == expected
    recovered = _read(data_dir)
    if outcome in ("taken", "set aside"):
        assert recovered[0] == "RM_new"
        assert len(recovered) == (41 if outcome == "taken" else 1)
    elif before is not None:
        assert store.read_bytes() == before, "not touched"
