"""The texts of conversations in PostgreSQL: the table `texts`, beside the sessions.

The column `words` is the index of a search, of PostgreSQL's own kind, with the words of the text
as they are, in every language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar, final

import psycopg
import trio

from actors.journal.conversation_texts import (
    ConversationText,
    TextRetention,
    TextTrouble,
    words_of,
)
from actors.journal.session_reader import StoreRefused
from bridge.postgres.postgres_connection import (
    WRITER_LIMITS,
    Database,
    connect,
    trouble_of_database,
)
from bridge.postgres.postgres_schema import migrate
from bridge.store.sqlite_texts import AT_ONCE
from bridge.store.text_file import replaced_kind, replaced_segments, row_of

T = TypeVar("T")

_WRITE: Final = """
    INSERT INTO texts (room, room_sid, job_id, item, kind, speaker, identity, at, text, ended_at,
        name, interim, expires, words)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_tsvector('simple', %s))
    ON CONFLICT (room_sid, job_id, item, kind) DO UPDATE SET
        identity = excluded.identity, at = excluded.at, text = excluded.text,
        ended_at = excluded.ended_at, name = excluded.name, interim = excluded.interim,
        expires = excluded.expires, words = excluded.words
    """
_REPLACE_SEGMENTS: Final = """
    DELETE FROM texts WHERE room_sid = %s AND interim = 1 AND speaker = %s AND at <= %s
        AND (identity = %s OR %s = '')
    """
_REPLACE_KIND: Final = """
    DELETE FROM texts WHERE room_sid = %s AND job_id = %s AND item = %s AND kind = %s
    """
_SIZE: Final = "SELECT coalesce(sum(length(text)), 0) FROM texts"


@final
class PostgresTexts:
    """See `TextStore`.  One connection; its calls run in a thread, one at a time."""

    def __init__(self, url: str, retention: TextRetention) -> None:
        self._url = url
        self._retention = retention
        self._db: Database | None = None
        self._lock = trio.Lock()

    async def write(self, texts: Sequence[ConversationText]) -> None:
        """See `TextStore`."""

        def write(db: Database) -> None:
            for text in texts:
                replaced = replaced_segments(text)
                if replaced is not None:
                    db.execute(_REPLACE_SEGMENTS, replaced)
                kind = replaced_kind(text)
                if kind is not None:
                    db.execute(_REPLACE_KIND, kind)
                words = " ".join(words_of(text.text))
                db.execute(_WRITE, (*row_of(text, self._retention), words))

        await self._call(write)

    async def prune(self, now: float) -> int:
        """See `TextStore`."""
        return await self._call(lambda db: _prune(db, self._retention, now))

    async def erase_run(self, room_sid: str, job_id: str) -> int:
        """See `TextStore`."""
        sql = "DELETE FROM texts WHERE room_sid = %s AND job_id = %s"
        return await self._call(lambda db: db.execute(sql, (room_sid, job_id)).rowcount)

    async def aclose(self) -> None:
        """See `TextStore`."""
        async with self._lock:
            await trio.to_thread.run_sync(self._disconnect)

    async def _call(self, work: Callable[[Database], T]) -> T:
        def run() -> T:
            try:
                if self._db is None or self._db.closed:
                    self._db = connect(self._url, WRITER_LIMITS)
                    migrate(self._db, self._url)
                with self._db.transaction():
                    return work(self._db)
            except psycopg.Error as error:
                self._disconnect()
                raise TextTrouble(str(trouble_of_database(self._url, error))) from None
            except StoreRefused as refused:
                self._disconnect()
                raise TextTrouble(str(refused)) from None

        async with self._lock:
            return await trio.to_thread.run_sync(run)

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error, OSError):
                db.close()


def _prune(db: Database, retention: TextRetention, now: float) -> int:
    dropped = 0
    for kinds, seconds in (
        (["speech", "chat"], retention.spoken),
        (["tool_arguments", "tool_output"], retention.tools),
    ):
        before = -1.0 if seconds is None else now - seconds
        dropped += db.execute(
            "DELETE FROM texts WHERE number IN (SELECT number FROM texts WHERE kind = ANY(%s) "
            "AND (expires < %s OR at < %s) ORDER BY number LIMIT %s)",
            (kinds, now, before, AT_ONCE),
        ).rowcount
    size = db.execute(_SIZE).fetchone()
    if not dropped and size is not None and size[0] > retention.size:
        dropped = db.execute(
            "DELETE FROM texts WHERE number IN (SELECT number FROM texts ORDER BY number LIMIT %s)",
            (AT_ONCE,),
        ).rowcount
    return dropped
