"""One worker a data directory: a lock that the kernel drops with its process.

The file stays where it is, also after the worker: who would delete it could delete the
lock of another.  Its content, the process's id, is for people only.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final, final

from bridge.store.errors import StoreRefused

NAME: Final = "lock"

_TRIES: Final = 10
_PAUSE: Final = 0.05
"""Seconds.  Whoever only looks (`holder`) has the lock for some microseconds."""


@final
class DirectoryLock:
    """Held from when it is made until `release` or the end of the process."""

    def __init__(self, data_dir: Path) -> None:
        """Raises `StoreRefused` where another process has it, OSError where there is none."""
        self._file = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._file, data_dir)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._file)
            raise

    def release(self) -> None:
        os.close(self._file)


def _lock(file: int, data_dir: Path) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return
    raise StoreRefused(
        f"another worker (process {_pid(file)}) keeps its sessions in {data_dir}: "
        "end it, or give this one a directory of its own"
    )


def holder(data_dir: Path) -> str | None:
    """The id of the process that has the lock; None where no worker runs."""
    try:
        file = os.open(data_dir / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(file)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(file)


def _pid(file: int) -> str:
    written = os.pread(file, 20, 0).strip()
    return written.decode() if written.isdigit() else "unknown"
