"""Files to save from the page, written while the client reads them.

A file has all sessions of a search, or one session with all of its timeline.

The store is read part by part, each part in its own transaction.  So a slow client does not delay
the writer.  If a file breaks off, its connection ends.  The body is chunked, so the client knows
that the file is not complete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Final, TypeAlias, final
from urllib.parse import quote

from attrs import frozen
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actors.journal.session_filters import Filters
from actors.journal.session_reader import SessionReader, TimelinePage
from actors.session import SessionRow, SessionView
from bridge.http.api.answers import CSV, JSON, members
from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.exchange import BUDGET
from bridge.http.server.streamed_answer import busy, joined
from bridge.output.ascii_json import json_text
from bridge.output.csv_columns import SESSION_COLUMNS, csv_parts

ROWS: Final = 100
"""The most sessions that are read, and in memory, at a time."""
EVENTS: Final = 5_000
"""The same for a session's events, and at most `bridge.store.timeline_reader.PAGE_BYTES`."""
AT_ONCE: Final = 4
"""The most files that are written at the same time."""


@frozen
class FilePart:
    """One part of a file."""

    pieces: tuple[bytes, ...]
    next: str | None
    """The cursor of the next part; None if this is the last."""


ReadPart: TypeAlias = Callable[[str], Awaitable[FilePart]]
"""Reads the part at a cursor.  An error breaks the file off."""


def read_sessions(
    reader: SessionReader, filters: Filters, cursor: str | None, *, csv: bool
) -> FilePart:
    """The part after `cursor`; the first part if `cursor` is None."""
    page = reader.sessions(ROWS, cursor, filters)
    whole = _json(page.sessions, first=cursor is None, last=page.next is None)
    if csv:
        # Headings are in the first part only.
        whole = islice(csv_parts(SESSION_COLUMNS, page.sessions), cursor is not None, None)
    return FilePart(tuple(joined(whole)), page.next)


def _json(rows: list[SessionRow], *, first: bool, last: bool) -> Iterator[str]:
    """The API's object, one session a line, with no limit to their number."""
    if first:
        yield '{"sessions":['
    for number, row in enumerate(rows):
        yield ("\n" if first and number == 0 else ",\n") + json_text(row)
    if last:
        yield '\n],"next":null}\n'


def read_session(reader: SessionReader, name: str, cursor: str | None) -> FilePart | None:
    """A part of one session: its events after `cursor`.  The first part also has the rest.

    None if the store does not have the session.  Raises `SessionUnreadable`.
    """
    with reader.open_session(name) as session:
        if session is None:
            return None
        page = TimelinePage(None, None)
        if session.timeline is not None:
            page = session.timeline.page(EVENTS, cursor)
        whole = _session_json(session.view, page, first=cursor is None)
        return FilePart(tuple(joined(whole)), page.next)


def _session_json(session: SessionView, page: TimelinePage, *, first: bool) -> Iterator[str]:
    """The API's object, one event a line."""
    if first:
        yield from members(session, without=("timeline",))
        yield ',"timeline":'
        yield "null" if page.entries is None else "["
    for number, entry in enumerate(page.entries or ()):
        yield ("\n" if first and number == 0 else ",\n") + json_text(entry)
    if page.next is None:
        yield ',"next":null}\n' if page.entries is None else '\n],"next":null}\n'


@final
class Exports:
    """Counts the exports that are under way."""

    def __init__(self) -> None:
        self.count = 0


@final
class Export(Response):
    """The answer: `first`, then the parts that `more` reads."""

    def __init__(self, exports: Exports, first: FilePart, more: ReadPart, name: str) -> None:
        self._exports = exports
        self._first = first
        self._more = more
        kind = CSV if name.endswith(".csv") else JSON
        file = quote(name, safe="", errors="replace")
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{file}",
            "vary": "accept",
        }
        super().__init__(None, 200, headers, kind)
        del self.headers["content-length"]  # The length is not known.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._exports.count >= AT_ONCE:
            await busy("too many files are being saved")(scope, receive, send)
            return
        self._exports.count += 1
        try:
            await self._write(scope["extensions"][BUDGET], send)
        finally:
            self._exports.count -= 1

    async def _write(self, budget: AnswerBudget, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        part = self._first
        while True:
            async with budget.room(sum(map(len, part.pieces))):
                for piece in part.pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            if part.next is None:
                break
            part = await self._more(part.next)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
