"""The reader of conversations' texts over a database (port: `TextReader`).

It is the same for SQLite and PostgreSQL, but for the search, which is each database's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, final

from actors.journal.conversation_texts import (
    ALL_TEXTS,
    ConversationText,
    TextFilters,
    TextPage,
    search_words,
)
from actors.journal.session_reader import BadCursor
from bridge.store.read_connection import Result, Values

COLUMNS: Final = (
    "room, room_sid, job_id, item, kind, speaker, identity, at, text, ended_at, name, interim"
)
_PLACE: Final = re.compile(r"([0-9]{1,12}\.[0-9]{1,17})_([0-9]{1,18})", re.ASCII)
HIGHEST: Final = 2**63 - 1
"""Above the number of every text."""


class TextQueries:
    """The differences between the databases."""

    def __init__(
        self,
        execute: Callable[[str, Values], Result],
        like: Callable[[str, str], tuple[str, str]],
        equals: Callable[[str], str],
        search: Callable[[Collection[str]], tuple[str, str]],
    ) -> None:
        self.execute = execute
        self.like = like
        self.equals = equals
        """A condition with one value: the column has this text."""
        self.search = search
        """A condition and its value: a text has all of these words."""


@final
class SqlTexts:
    """See `TextReader`."""

    def __init__(self, queries: TextQueries) -> None:
        self._queries = queries

    def transcript(self, room_sid: str, limit: int = 1_000, cursor: str | None = None) -> TextPage:
        """See `TextReader`.  A cursor is the place of the last text: its begin and its number."""
        after_at, after_number = (-1.0, 0) if cursor is None else _read_place(cursor)
        rows = self._queries.execute(
            f"SELECT number, {COLUMNS} FROM texts WHERE {self._queries.equals('room_sid')} "  # noqa: S608
            "AND (at, number) > (?, ?) ORDER BY at, number LIMIT ?",
            (room_sid, after_at, after_number, limit + 1),
        ).fetchall()
        texts = [_text(row[1:]) for row in rows[:limit]]
        more = len(rows) > limit
        return TextPage(texts, f"{texts[-1].at!r}_{rows[limit - 1][0]}" if more else None)

    def texts(
        self, limit: int = 50, cursor: str | None = None, filters: TextFilters = ALL_TEXTS
    ) -> TextPage:
        """See `TextReader`."""
        conditions, values = self._conditions(filters)
        sql = (
            f"SELECT number, {COLUMNS} FROM texts WHERE {' AND '.join(conditions)} "  # noqa: S608
            "AND number < ? ORDER BY number DESC LIMIT ?"
        )
        below = HIGHEST if cursor is None else _read_cursor(cursor)
        rows = self._queries.execute(sql, (*values, below, limit + 1)).fetchall()
        more = len(rows) > limit
        return TextPage(
            [_text(row[1:]) for row in rows[:limit]], str(rows[limit - 1][0]) if more else None
        )

    def _conditions(self, filters: TextFilters) -> tuple[list[str], list[object]]:
        conditions, values = ["TRUE"], list[object]()
        if filters.search is not None:
            words = search_words(filters.search)
            if not words:
                return ["FALSE"], []
            condition, value = self._queries.search(words)
            conditions.append(condition)
            values.append(value)
        for column, pattern in (("room", filters.room), ("identity", filters.person)):
            if pattern is not None:
                condition, value = self._queries.like(column, pattern)
                conditions.append(condition)
                values.append(value)
        for condition, bound in (("at >= ?", filters.since), ("at < ?", filters.until)):
            if bound is not None:
                conditions.append(condition)
                values.append(bound)
        return conditions, values


def _text(row: Sequence[Any]) -> ConversationText:
    return ConversationText(*row[:11], interim=bool(row[11]))


def _read_place(cursor: str) -> tuple[float, int]:
    match = _PLACE.fullmatch(cursor)
    if match is None:
        raise BadCursor("this is not a cursor of a transcript")
    return float(match[1]), int(match[2])


def _read_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadCursor("this is not a cursor of a list")
    return int(cursor)
