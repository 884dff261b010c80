"""The id of this worker, which stays the same when it is started again.

It is random and stored in the data directory, which belongs to one worker at a time.  So a
container with another name and the same volume is the same worker, and two workers never have the
same id, wherever they run.  The file also has its own inode number.  A copy of the directory has
another inode, so the copy gets an id of its own.

The store has the id that wrote there before (an earlier version, an earlier `--worker-name`, the
original of a copy): its agents may still be in rooms after a crash.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, StoreRefused, newest_worker
from bridge.app.session_source import open_sessions
from bridge.config.settings import Settings
from bridge.config.store_address import StoreAddress

FILE: Final = "worker-id"
_CONTENT: Final = re.compile(rb"([0-9a-f]{12}) (\d+)\n")


@frozen
class WorkerId:
    """This worker's id, and the ids that wrote to its data directory before."""

    name: str
    former: frozenset[str] = frozenset()


def worker_id(settings: Settings) -> WorkerId:
    """Call it before the store is opened, because then this worker is the last that wrote there."""
    name = settings.worker_name or instance_of(settings.data_dir)
    if settings.database_url is not None:
        return WorkerId(name)  # The worker that started last there may be another one.
    before = None
    unreadable = suppress(NoStore, StoreRefused, ArchiveTrouble, sqlite3.Error, OSError)
    with unreadable, open_sessions(StoreAddress(settings.data_dir)) as reader:
        before = newest_worker(reader)
    former = {before.instance} if before is not None else set[str]()
    return WorkerId(name, frozenset(former - {name}))


def instance_of(data_dir: Path) -> str:
    """The id that is stored in this directory; it is made where there is none.

    Where it cannot be stored it is random, and different the next time.
    """
    path = data_dir / FILE
    with suppress(OSError):
        stored = _read(path)
        if stored is not None:
            return stored
    name = secrets.token_hex(6)
    with suppress(OSError):
        _write(path, name)
    return name


def _read(path: Path) -> str | None:
    """None where the file is not one that we wrote there."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        match = _CONTENT.fullmatch(os.read(file, 100)) if stat.S_ISREG(status.st_mode) else None
        return match[1].decode() if match and int(match[2]) == status.st_ino else None
    finally:
        os.close(file)


def _write(path: Path, name: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, temporary = tempfile.mkstemp(prefix=f"{FILE}-", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as output:
            output.write(f"{name} {os.fstat(file).st_ino}\n".encode())
            output.flush()
            os.fsync(file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
