"""The texts of conversations in PostgreSQL, read and erased."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager

import psycopg

from actors.journal.archive import ArchiveTrouble
from actors.journal.conversation_texts import TextReader, TextTrouble
from actors.journal.session_reader import NoStore, StoreRefused
from bridge.postgres.postgres_connection import WRITER_LIMITS, connect, trouble_of_database
from bridge.postgres.postgres_reader import open_database_for_reading
from bridge.store.sql_texts import SqlTexts, TextQueries


def _search(words: Collection[str]) -> tuple[str, str]:
    return "words @@ plainto_tsquery('simple', ?)", " ".join(words)


@contextmanager
def open_database_texts(url: str) -> Generator[TextReader, None, None]:
    """The texts in this database.  Raises `TextTrouble`, also from within the block."""
    try:
        with open_database_for_reading(url) as db, db.snapshot():
            yield SqlTexts(
                TextQueries(execute=db.execute, like=db.like, equals=_equals, search=_search)
            )
    except (ArchiveTrouble, NoStore, StoreRefused) as error:
        raise TextTrouble(str(error)) from None


def _equals(column: str) -> str:
    return f"{column} = ?"


def erase_person_texts_in_database(
    url: str, names: Collection[str], room_sids: Collection[str]
) -> int:
    """As `bridge.store.text_file.erase_person_texts`.  Raises `TextTrouble`."""
    mine = "identity = ANY(%s)"
    try:
        with connect(url, WRITER_LIMITS) as db, db.transaction():
            rows = db.execute(f"SELECT DISTINCT room_sid FROM texts WHERE {mine}", (list(names),))  # noqa: S608
            rooms = {room_sid for (room_sid,) in rows} | set(room_sids)
            done = db.execute(f"DELETE FROM texts WHERE {mine}", (list(names),)).rowcount  # noqa: S608
            return (
                done
                + db.execute(
                    "DELETE FROM texts WHERE (speaker = 'agent' OR identity = '') "
                    "AND room_sid = ANY(%s)",
                    (list(rooms),),
                ).rowcount
            )
    except psycopg.Error as error:
        raise TextTrouble(str(trouble_of_database(url, error))) from None
    except StoreRefused as refused:
        raise TextTrouble(str(refused)) from None
