"""The store of conversations' texts in SQLite (port: `TextStore`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from actors.journal.conversation_texts import ConversationText, TextRetention, TextTrouble
from bridge.output.harmless import harmless
from bridge.store.schema import transaction
from bridge.store.text_file import (
    FILE,
    REPLACE_KIND,
    REPLACE_SEGMENTS,
    WRITE,
    open_text_file,
    replaced_kind,
    replaced_segments,
    row_of,
    storable_row,
)

T = TypeVar("T")

MERGE_EVERY: Final = 3_600.0
"""Seconds between two merges of the whole index of words, which rewrite it."""
AT_ONCE: Final = 500
"""Texts that one step of pruning drops."""


@final
class SqliteTexts:
    """See `TextStore`.  One connection; its calls run in a thread, one at a time."""

    def __init__(self, data_dir: Path, retention: TextRetention) -> None:
        self.path: Final = data_dir / FILE
        self._retention = retention
        self._words_left = False
        """Words of dropped texts may be in the index."""
        self._merged_at = -inf
        """Unix seconds."""
        self._db: sqlite3.Connection | None = None
        self._lock = trio.Lock()

    async def write(self, texts: Sequence[ConversationText]) -> None:
        """See `TextStore`."""

        def write(db: sqlite3.Connection) -> None:
            for text in texts:
                replaced = replaced_segments(text)
                if replaced is not None:
                    db.execute(REPLACE_SEGMENTS, storable_row(replaced))
                kind = replaced_kind(text)
                if kind is not None:
                    db.execute(REPLACE_KIND, storable_row(kind))
                db.execute(WRITE, storable_row(row_of(text, self._retention)))

        await self._call(write)

    async def prune(self, now: float) -> int:
        """See `TextStore`."""
        dropped = await self._call(lambda db: _prune(db, self._retention, now))
        self._words_left = self._words_left or dropped > 0
        if self._words_left and abs(now - self._merged_at) >= MERGE_EVERY:
            self._words_left, self._merged_at = False, now
            await self._call(_merge_words)
        return dropped

    async def erase_run(self, room_sid: str, job_id: str) -> int:
        """See `TextStore`."""
        sql = "DELETE FROM texts WHERE room_sid = ? AND job_id = ?"
        return await self._call(lambda db: db.execute(sql, (room_sid, job_id)).rowcount)

    async def aclose(self) -> None:
        """See `TextStore`."""
        async with self._lock:
            db, self._db = self._db, None
            if db is not None:
                await trio.to_thread.run_sync(db.close)

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                if self._db is None:
                    self._db = open_text_file(self.path)
                with transaction(self._db):
                    return work(self._db)
            except (sqlite3.Error, OSError) as error:
                db, self._db = self._db, None
                if db is not None:
                    with suppress(sqlite3.Error):
                        db.close()
                raise TextTrouble(f"{self.path}: {harmless(str(error))}") from None

        async with self._lock:
            return await trio.to_thread.run_sync(run)


def _prune(db: sqlite3.Connection, retention: TextRetention, now: float) -> int:
    dropped = 0
    for kinds, seconds in (
        (("speech", "chat"), retention.spoken),
        (("tool_arguments", "tool_output"), retention.tools),
    ):
        before = -1.0 if seconds is None else now - seconds
        dropped += db.execute(
            "DELETE FROM texts WHERE number IN (SELECT number FROM texts WHERE kind IN (?, ?) "
            "AND (expires < ? OR at < ?) ORDER BY number LIMIT ?)",
            (*kinds, now, before, AT_ONCE),
        ).rowcount
    if not dropped and _size(db) > retention.size:
        dropped = db.execute(
            "DELETE FROM texts WHERE number IN (SELECT number FROM texts ORDER BY number LIMIT ?)",
            (AT_ONCE,),
        ).rowcount
    if dropped:
        db.execute("PRAGMA incremental_vacuum(256)").fetchall()
    return dropped


def _merge_words(db: sqlite3.Connection) -> None:
    """Words of dropped texts stay in the index until its parts are merged."""
    db.execute("INSERT INTO words (words) VALUES ('optimize')")


def _size(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
