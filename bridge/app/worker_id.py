"""Who this worker is: an id that stays the same when it is started again.

It is random and kept in the data directory, which belongs to one worker at a time.  So a
container with another name and the same volume is the same worker, and two workers are
never one, wherever they run.  The file also has its own inode: in a copy of the directory
that is another one, and the copy gets an id of its own.

What another id left behind here (a version before, a `--worker-name` before, a copy's
original) is known from the store: its agents may still be in rooms after a crash.
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

FILE: Final = "worker-id"
_CONTENT: Final = re.compile(rb"([0-9a-f]{12}) (\d+)\n")


@frozen
class WorkerId:
    """This worker's id, and those that wrote to its data directory before."""

    name: str
    former: frozenset[str] = frozenset()


def worker_id(settings: Settings) -> WorkerId:
    """Call it before the store is opened: that makes us the last that wrote there."""
    name = settings.worker_name or instance_of(settings.data_dir)
    before = None
    unreadable = suppress(NoStore, StoreRefused, ArchiveTrouble, sqlite3.Error, OSError)
    with unreadable, open_sessions(settings.data_dir) as reader:
        before = newest_worker(reader)
    former = {before.instance} if before is not None else set[str]()
    return WorkerId(name, frozenset(former - {name}))


def instance_of(data_dir: Path) -> str:
    """The id that is kept in this directory, made where there is none.

    Where it cannot be kept it is random all the same, and another one the next time.
    """
    path = data_dir / FILE
    with suppress(OSError):
        found = _read(path)
        if found is not None:
            return found
    name = secrets.token_hex(6)
    with suppress(OSError):
        _keep(path, name)
    return name


def _read(path: Path) -> str | None:
    """None where it is not what we wrote there."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        match = _CONTENT.fullmatch(os.read(file, 100)) if stat.S_ISREG(status.st_mode) else None
        return match[1].decode() if match and int(match[2]) == status.st_ino else None
    finally:
        os.close(file)


def _keep(path: Path, name: str) -> None:
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
