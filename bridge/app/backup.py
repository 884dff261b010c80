"""A backup of a data directory in one file, and back.

A backup is an SQLite file: the store (`bridge.store.schema`), and beside its tables those of the
outbox (`bridge.outlets.sqlite_outbox`) and of the texts of conversations, where they are kept
(`bridge.store.sqlite_texts`), under the same names.  A copy of `store.db` alone would lack
all that stands in its write-ahead log.  The id of the worker is not in it: two workers must never
have the same one.

The outbox is read as it was before the store was read.  So its cursors are never ahead of the
store, and after a restore a webhook may be sent twice, but none is left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from stat import S_ISREG
from typing import Final

from attrs import frozen

from actors.journal.session_reader import NoStore, StoreRefused
from bridge.outlets import sqlite_outbox
from bridge.store import schema, text_file
from bridge.store.directory_lock import DirectoryLock
from bridge.store.store_errors import is_damage, trouble_of

OUTBOX_TABLES: Final = ("outlets", "parked")
PAGES: Final = 4096
"""Pages that are copied between two reports of progress: 16 MiB."""
_COMPANIONS: Final = ("-wal", "-shm", "")
"""The file itself is the last: a log that stays behind would be taken for that of the next file."""

Progress = Callable[[str], object]


@frozen
class BackupContent:
    """The content of a backup, in numbers."""

    sessions: int
    webhooks: int
    """Webhooks that wait or were given up."""
    size: int
    """Bytes of the file."""


def write_backup(data_dir: Path, target: Path, progress: Progress) -> BackupContent:
    """Copy the store and the outbox of a directory into one file, also while a worker writes.

    The file appears whole or not at all.  It replaces only an earlier backup.

    Raises `NoStore`, `StoreRefused` (the target is another file or in no directory, or the store
    is not ours), and
    `ArchiveTrouble` (the disk).
    """
    source = data_dir / schema.FILE
    if not _is_file(source) or not source.stat().st_size:
        raise NoStore(f"no sessions are kept in {data_dir}")
    if not target.parent.is_dir():
        raise StoreRefused(f"{target}: there is no directory {target.parent}; make it first")
    if os.path.lexists(target):
        _require_backup(target)
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        texts_file = data_dir / text_file.FILE
        with (
            _errors_of(source),
            _snapshot(data_dir / sqlite_outbox.FILE) as outbox,
            _snapshot(texts_file) as texts,
        ):
            with closing(schema.open_for_reading(source)) as db:
                schema.require_ours(db, source)
                with _errors_of(part):
                    _copy(db, part, progress)
            with _errors_of(part), closing(_connect(part)) as copied:
                if outbox is not None:
                    _copy_outbox(outbox, copied)
                if texts is not None:
                    _copy_texts(texts, copied, text_file.SCHEMA[:1])
                progress("checking the copy")
                schema.require_whole(copied)
                content = _content(copied, part)
            _sync(part)
        part.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise trouble_of(target, error) from error
    finally:
        part.unlink(missing_ok=True)
    return content


def restore_backup(
    backup: Path, data_dir: Path, progress: Progress, *, replace: bool
) -> tuple[BackupContent, list[Path]]:
    """Put a backup into a directory in which no worker runs.  Also gives the files that made room.

    With `replace` a store that is there already gets another name and stays.

    Raises `StoreRefused` (no backup, a worker runs, or a store is there), and `ArchiveTrouble`
    (the disk, a damaged backup).
    """
    _require_backup(backup)
    files = [data_dir / one.FILE for one in (schema, sqlite_outbox, text_file)]
    parts = [Path(f"{path}.part-{os.getpid()}") for path in files]
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock(data_dir)
        try:
            there = [path for path in files if os.path.lexists(path)]
            if there and not replace:
                raise StoreRefused(
                    f"{there[0]} is there already: --replace moves it aside, or name another "
                    "directory by --data-dir"
                )
            with _errors_of(backup):
                with closing(schema.open_for_reading(backup)) as db:
                    progress("checking the backup")
                    schema.require_whole(db)
                    content = _content(db, backup)
                    _copy(db, parts[0], progress)
                with closing(_connect(parts[0])) as copied:
                    _move_outbox(copied, parts[1])
                    _move_texts(copied, parts[2])
            moved = [_move_aside(path) for path in there]
            for part, path in zip(parts, files, strict=True):
                if part.exists():
                    _sync(part)
                    part.replace(path)
            _sync(data_dir)
        finally:
            lock.release()
    except OSError as error:
        raise trouble_of(data_dir, error) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return content, moved


# ---------------------------------------------------------------- the parts of it


def _is_file(path: Path) -> bool:
    try:
        return S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise trouble_of(path, error) from error


def _require_backup(path: Path) -> None:
    """Raise `StoreRefused` where the file is no store of ours."""
    if not _is_file(path):
        what = "it is not a file" if path.exists() else "no such file"
        raise StoreRefused(f"{path} is no backup: {what}")
    try:
        with closing(schema.open_for_reading(path)) as db:
            schema.require_ours(db, path)
            if schema.version_of(db):
                return
    except sqlite3.Error as error:
        if not is_damage(error):
            raise trouble_of(path, error) from error
    raise StoreRefused(f"{path} is no backup of this program")


@contextmanager
def _errors_of(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise StoreRefused(f"{path} is damaged: {error}") from error
        raise trouble_of(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    """A new file: where writing it fails it is deleted, so it needs no journal beside it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = MEMORY")
    # What is moved out of a copy must not stay in its free pages.
    db.execute("PRAGMA secure_delete = ON")
    return db


def _copy(source: sqlite3.Connection, target: Path, progress: Progress) -> None:
    # The copy begins anew where the source changes; in a transaction it sees no change.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def report(_status: int, left: int, total: int) -> None:
        progress(f"{100 * (total - left) // max(total, 1)} % copied")

    with closing(_connect(target)) as db:
        source.backup(db, pages=PAGES, progress=report)
        # The mode of the source comes with its first page.  Without a log it is one file.
        db.execute("PRAGMA journal_mode = DELETE")
    source.execute("ROLLBACK")


@contextmanager
def _snapshot(path: Path) -> Generator[sqlite3.Connection | None, None, None]:
    """The file as it is now, until the end of the block; None where there is none."""
    if not _is_file(path):
        yield None
        return
    with closing(schema.open_for_reading(path)) as db:
        db.execute("BEGIN")
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        yield db if tables else None


def _copy_outbox(outbox: sqlite3.Connection, target: sqlite3.Connection) -> None:
    with schema.transaction(target):
        for statement in sqlite_outbox.SCHEMA.strip().split(";\n"):
            target.execute(statement)
        for table in OUTBOX_TABLES:
            rows = outbox.execute(f"SELECT * FROM {table}")  # noqa: S608
            marks = ", ".join("?" * len(rows.description))
            target.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608


def _move_outbox(copied: sqlite3.Connection, target: Path) -> None:
    """Out of the copy of a backup into a file of its own."""
    tables = {name for (name,) in copied.execute("SELECT name FROM sqlite_master")}
    if not tables.issuperset(OUTBOX_TABLES):
        return
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connect(target)) as db:
        _copy_outbox(copied, db)
        db.execute(f"PRAGMA application_id = {sqlite_outbox.APPLICATION}")
        db.execute(f"PRAGMA user_version = {sqlite_outbox.VERSION}")
    with schema.transaction(copied):
        for table in OUTBOX_TABLES:
            copied.execute(f"DROP TABLE {table}")


def _copy_texts(
    texts: sqlite3.Connection, target: sqlite3.Connection, schema_of_texts: Sequence[str]
) -> None:
    with schema.transaction(target):
        for statement in schema_of_texts:
            target.execute(statement)
        rows = texts.execute("SELECT * FROM texts")
        marks = ", ".join("?" * len(rows.description))
        target.executemany(f"INSERT INTO texts VALUES ({marks})", rows)  # noqa: S608


def _move_texts(copied: sqlite3.Connection, target: Path) -> None:
    """Out of the copy of a backup into a file of its own, with its index of words."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'texts'"
    if not copied.execute(query).fetchone()[0]:
        return
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connect(target)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _copy_texts(copied, db, text_file.SCHEMA)
        db.execute(f"PRAGMA application_id = {text_file.APPLICATION}")
        db.execute(f"PRAGMA user_version = {text_file.VERSION}")
    with schema.transaction(copied):
        copied.execute("DROP TABLE texts")


def _content(db: sqlite3.Connection, path: Path) -> BackupContent:
    sessions = db.execute("SELECT count(*) FROM sessions").fetchone()[0]
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'parked'"
    has_outbox = db.execute(query).fetchone()[0]
    webhooks = db.execute("SELECT count(*) FROM parked").fetchone()[0] if has_outbox else 0
    return BackupContent(sessions, webhooks, path.stat().st_size)


def _move_aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.replaced-{stamp}-{n}") for n in count(1))
    target = next(name for name in names if not name.exists())
    for ending in _COMPANIONS:
        old = Path(f"{path}{ending}")
        if os.path.lexists(old):
            old.rename(f"{target}{ending}")
    return target


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
