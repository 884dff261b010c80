"""One worker a data directory: a lock that the kernel drops with its process.

The file stays after the worker has ended: a process that deleted it could delete the lock of
another one.  Its content, the id of the process, is for people only.

A lock belongs to a file, and a directory that is moved takes the file along.  So the owner of the
lock checks again and again that the locked file is still the one of that name (`in_place`).
Where others may write to the directory, the name may be a link to a file of theirs, or to one of
ours that they want emptied.  So a link is never followed, and only a plain file with one name is
written to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Final, final

from actors.journal.session_reader import StoreRefused

NAME: Final = "lock"

_TRIES: Final = 10
_PAUSE: Final = 0.05
"""Seconds.  A process that only looks (`lock_owner`) has the lock for some microseconds."""
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""`O_NONBLOCK`: opening a pipe of that name would block for ever."""


@final
class DirectoryLock:
    """The lock of a directory, from its making until `release` or the end of the process."""

    def __init__(self, data_dir: Path) -> None:
        """Raises `StoreRefused` where another process has the lock or the file is no plain one,
        and OSError where the directory is missing."""
        self._path = data_dir / NAME
        self._file = _open(self._path)
        try:
            _lock(self._file, data_dir)
            if not self.in_place():  # moved away while we waited
                raise StoreRefused(f"{self._path} was replaced: try again")
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._file)
            raise

    def in_place(self) -> bool:
        """True if the locked file is still the one in the directory."""
        try:
            status = self._path.lstat()
        except OSError:
            return False
        return os.path.samestat(status, os.fstat(self._file))

    def release(self) -> None:
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_plain_file(path) from None
        raise
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(file)
        raise _no_plain_file(path)
    return file


def _no_plain_file(path: Path) -> StoreRefused:
    return StoreRefused(f"{path} is not a plain file of its own: remove it")


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


def require_plain_files(data_dir: Path, *names: str) -> None:
    """Raise `StoreRefused` where one of these, or the lock, exists and is no plain file.

    `start` calls it: nothing would ever mend such a file, so waiting is useless.
    """
    for name in (NAME, *names):
        path = data_dir / name
        try:
            # SQLite follows a link to its file; the lock is never one.
            status = path.lstat() if name == NAME else path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreRefused(f"{path}: {error.strerror}: remove it") from None
        if not stat.S_ISREG(status.st_mode):
            raise _no_plain_file(path)


def lock_owner(data_dir: Path) -> str | None:
    """The id of the process that has the lock; None where no worker runs."""
    try:
        file = os.open(data_dir / NAME, os.O_RDONLY | _FLAGS)
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
    content = os.pread(file, 20, 0).strip()
    return content.decode() if content.isdigit() else "unknown"
