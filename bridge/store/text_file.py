"""The file of conversations' texts, `texts.db` in the data directory: its tables, read and erased.

    texts      one row a text; `expires` is when its retention ends, as it was set when the text
               came
    words      the index of the words in `texts.text` (FTS5), which triggers keep up to date

A file of its own: it is made when texts are kept, it can be thrown away without harm to a session,
and trouble with it never delays a session.  `bridge.store.sqlite_texts` writes it.  This module is
imported without trio, so that a command that reads starts fast.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from actors.journal.conversation_texts import (
    ConversationText,
    TextReader,
    TextRetention,
    TextTrouble,
)
from bridge.output.harmless import harmless
from bridge.store.schema import open_for_reading, transaction
from bridge.store.sql_texts import SqlTexts, TextQueries
from bridge.store.sqlite_connection import glob_of

FILE: Final = "texts.db"
APPLICATION: Final = 0x526D5478
"""SQLite's `application_id`: "RmTx"."""
VERSION: Final = 1
LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that writes."""

SCHEMA: Final[tuple[str, ...]] = (
    """CREATE TABLE texts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        room TEXT NOT NULL,
        room_sid TEXT NOT NULL,
        job_id TEXT NOT NULL,
        item TEXT NOT NULL,
        kind TEXT NOT NULL,
        speaker TEXT NOT NULL,
        identity TEXT NOT NULL,
        at REAL NOT NULL,
        text TEXT NOT NULL,
        ended_at REAL,
        name TEXT NOT NULL,
        interim INTEGER NOT NULL,
        expires REAL NOT NULL
    )""",
    "CREATE UNIQUE INDEX texts_by_item ON texts (room_sid, job_id, item, kind)",
    "CREATE INDEX texts_of_session ON texts (room_sid, at)",
    "CREATE INDEX texts_by_end ON texts (expires)",
    "CREATE INDEX texts_by_identity ON texts (identity)",
    """CREATE VIRTUAL TABLE words USING fts5(text, content='texts', content_rowid='number',
        tokenize="unicode61 remove_diacritics 0")""",
    """CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN
        INSERT INTO words (rowid, text) VALUES (new.number, new.text); END""",
    """CREATE TRIGGER texts_dropped AFTER DELETE ON texts BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text); END""",
    """CREATE TRIGGER texts_replaced AFTER UPDATE OF text ON texts BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
        INSERT INTO words (rowid, text) VALUES (new.number, new.text); END""",
)

WRITE: Final = """
    INSERT INTO texts (room, room_sid, job_id, item, kind, speaker, identity, at, text, ended_at,
        name, interim, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (room_sid, job_id, item, kind) DO UPDATE SET
        identity = excluded.identity, at = excluded.at, text = excluded.text,
        ended_at = excluded.ended_at, name = excluded.name, interim = excluded.interim,
        expires = excluded.expires
    """
REPLACE_SEGMENTS: Final = """
    DELETE FROM texts WHERE room_sid = ? AND interim = 1 AND speaker = ? AND at <= ?
        AND (identity = ? OR ? = '')
    """


SEGMENT_LATE: Final = 5.0
"""Seconds after the end of a speech in which a segment of it may begin: speech recognition is late.
Only segments that were written before the item are replaced, so none of the next speech is."""
REPLACE_KIND: Final = """
    DELETE FROM texts WHERE room_sid = ? AND job_id = ? AND item = ? AND kind = ?
    """


def replaced_kind(text: ConversationText) -> tuple[object, ...] | None:
    """The values of `REPLACE_KIND`: an item is either spoken or written, by the newest word on it.
    None for payloads of tools."""
    others = {"speech": "chat", "chat": "speech"}
    other = others.get(text.kind)
    return None if other is None else (text.room_sid, text.job_id, text.item, other)


def row_of(text: ConversationText, retention: TextRetention) -> tuple[object, ...]:
    """The row of a text, in the order of `WRITE`."""
    seconds = retention.of(text.kind)
    return (
        text.room,
        text.room_sid,
        text.job_id,
        text.item,
        text.kind,
        text.speaker,
        text.identity,
        text.at,
        text.text,
        text.ended_at,
        text.name,
        int(text.interim),
        text.at + (0.0 if seconds is None else seconds),
    )


def replaced_segments(text: ConversationText) -> tuple[object, ...] | None:
    """The values of `REPLACE_SEGMENTS` for a text that takes the place of segments, else None."""
    if text.interim or text.kind != "speech":
        return None
    end = (text.at if text.ended_at is None else text.ended_at) + SEGMENT_LATE
    return (text.room_sid, text.speaker, end, text.identity, text.identity)


def storable_row(row: tuple[object, ...]) -> tuple[object, ...]:
    """Lone surrogates become "?": SQLite takes UTF-8 only."""
    return tuple(
        one.encode(errors="replace").decode() if isinstance(one, str) else one for one in row
    )


def open_text_file(path: Path) -> sqlite3.Connection:
    """A connection that writes; the file is made where it is not there.

    Raises sqlite3.Error, OSError and `TextTrouble`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and application == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        elif application != APPLICATION or version > VERSION:
            raise TextTrouble(f"{path} is not a store of texts of this version: move it away")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        if version == 0:
            with transaction(db):
                for statement in SCHEMA:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        db.close()
        raise
    return db


def erase_person_texts(data_dir: Path, names: Collection[str], room_sids: Collection[str]) -> int:
    """Drop what a person said and wrote, and what agents said in the sessions with the person.

    Agents repeat what they were told, so their texts of these sessions go as a whole, and so do
    texts of somebody who is not known.  Gives the number of texts.  Afterwards no byte of them is
    in the file or in its log.
    Raises `TextTrouble`.
    """
    path = data_dir / FILE
    if not path.exists():
        return 0
    try:
        with closing(open_text_file(path)) as db:
            with transaction(db):
                done, rooms = 0, set(room_sids)
                for name in names:
                    rows = db.execute("SELECT room_sid FROM texts WHERE identity = ?", (name,))
                    rooms |= {room_sid for (room_sid,) in rows}
                    done += db.execute("DELETE FROM texts WHERE identity = ?", (name,)).rowcount
                for room_sid in rooms:
                    done += db.execute(
                        "DELETE FROM texts WHERE room_sid = ? "
                        "AND (speaker = 'agent' OR identity = '')",
                        (room_sid,),
                    ).rowcount
                db.execute("INSERT INTO words (words) VALUES ('rebuild')")
            # Also without a hit: what was dropped before is still in pages that are free.
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise TextTrouble(f"{path}: {harmless(str(error))}") from None
    return done


def _search(words: Collection[str]) -> tuple[str, str]:
    quoted = " ".join(f'"{word}"' for word in words)
    return "number IN (SELECT rowid FROM words WHERE words MATCH ?)", quoted


@contextmanager
def open_texts(data_dir: Path) -> Generator[TextReader | None, None, None]:
    """The texts of this directory; None where none were ever kept.

    Raises `TextTrouble`, also from within the block.
    """
    path = data_dir / FILE
    if not path.exists() or not path.stat().st_size:
        yield None
        return
    try:
        with closing(open_for_reading(path)) as db:
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                yield None  # it is being made
                return
            with transaction(db, "DEFERRED"):
                yield SqlTexts(
                    TextQueries(
                        execute=db.execute,
                        like=lambda column, pattern: (f"{column} GLOB ?", glob_of(pattern)),
                        equals=lambda column: f"{column} = ?",
                        search=_search,
                    )
                )
    except sqlite3.Error as error:
        raise TextTrouble(f"{path}: {harmless(str(error))}") from None
