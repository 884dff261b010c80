"""The errors of SQLite and of the disk, in words for the owner of a data directory.

SQLite's own texts ("disk I/O error") do not say what to do.  An error has one of three results:
the call is tried again (`ArchiveTrouble`), the file is quarantined (`is_damage`), or the program
must not use the store (`StoreRefused`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from actors.journal.archive import ArchiveTrouble

_DAMAGE: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))

_TEXTS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_READONLY: "may not be written to: give this user the right to (chmod, chown)",
    sqlite3.SQLITE_PERM: "may not be written to: give this user the right to (chmod, chown)",
    sqlite3.SQLITE_BUSY: "is locked by another program: end it (an open sqlite3, a backup)",
    sqlite3.SQLITE_LOCKED: "is locked by another program: end it (an open sqlite3, a backup)",
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened: see that the directory is there, that this user may write to it, "
        "and that the open-file limit is not reached"
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk fails to read or write: see the system's log, and whether a quota is used up"
    ),
    sqlite3.SQLITE_NOMEM: "there is not enough memory to work with it",
}


def _primary(error: sqlite3.Error) -> int:
    """The first byte of SQLite's code.  The other bytes make no difference for what to do."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """True if the file is damaged, or is not a database."""
    return _primary(error) in _DAMAGE


def trouble_of(path: Path, error: sqlite3.Error | OSError) -> ArchiveTrouble:
    """The error as the port has it, with a text that says what to do."""
    if isinstance(error, OSError):
        return ArchiveTrouble(f"{error.filename or path}: {error.strerror or error}")
    text = _TEXTS.get(_primary(error))
    name = getattr(error, "sqlite_errorname", "")
    return ArchiveTrouble(
        f"{path}: {text} ({name})" if text else f"{path}: {error} {name}".rstrip()
    )
