"""`/api/v1/transcripts` and `/api/v1/sessions/{id}/transcript`: texts of conversations with agents.

Where no text is kept they are empty.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias, TypeVar, final

import structlog
import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.conversation_texts import TextFilters, TextPage, TextReader, TextTrouble
from actors.journal.session_reader import BadCursor, SessionReader
from bridge.http.api.answers import answer, joined_json
from bridge.http.api.conversation_types import TextList, TranscriptAnswer, text_views
from bridge.http.api.endpoints import StoreReaders, StoreUnreadable
from bridge.http.api.query import (
    TEXT_PARAMETERS,
    TEXTS,
    TRANSCRIPT_PARAMETERS,
    TRANSCRIPT_TEXTS,
    asked,
)
from bridge.http.server.routes import HttpRoute

log = structlog.get_logger()

T = TypeVar("T")

OpenTexts: TypeAlias = Callable[[], AbstractContextManager[TextReader | None]]
"""Opens the texts; None where none were ever kept.  Raises `TextTrouble`."""
READERS: Final = 2
"""Requests that are read for at once; others wait."""
NO_SESSION: Final = (
    "no session with this id is kept, and no room of this name has one; /api/v1/sessions lists them"
)


@final
class TextReaders:
    """Reads texts in threads."""

    def __init__(self, open_texts: OpenTexts) -> None:
        self._open_texts = open_texts
        self._limiter = trio.CapacityLimiter(READERS)

    async def read(self, function: Callable[[TextReader], T], nothing: T) -> T:
        """Call `function` in a thread; `nothing` where no texts were ever kept.

        Raises what it raises, and `StoreUnreadable`.
        """

        def call() -> T:
            with self._open_texts() as reader:
                return nothing if reader is None else function(reader)

        try:
            return await trio.to_thread.run_sync(
                call, limiter=self._limiter, abandon_on_cancel=True
            )
        except TextTrouble as error:
            log.warning("store_unreadable_for_http", error=str(error))
            raise StoreUnreadable from None


@final
class ConversationRoutes:
    """Gives the rows.  They come before that of `/api/v1/sessions/{id}`, whose id takes all."""

    def __init__(self, readers: StoreReaders, texts: TextReaders) -> None:
        self._readers = readers
        self._texts = texts

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("GET", "/api/v1/transcripts", self._search),
            HttpRoute("GET", "/api/v1/sessions/{id:path}/transcript", self._transcript),
        )

    async def _search(self, request: Request) -> Response:
        given = asked(request, TEXT_PARAMETERS)
        limit, cursor = given.pop("limit", TEXTS), given.pop("cursor", None)
        filters = TextFilters(**given)
        try:
            page = await self._texts.read(
                lambda reader: reader.texts(limit, cursor, filters), TextPage((), None)
            )
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None
        whole = TextList(texts=text_views(page.texts), next=page.next)
        return answer(request, joined_json(whole, next=page.next))

    async def _transcript(self, request: Request) -> Response:
        given = asked(request, TRANSCRIPT_PARAMETERS)
        limit, cursor = given.get("limit", TRANSCRIPT_TEXTS), given.get("cursor")
        name = request.path_params["id"]
        row = await self._readers.read(lambda reader: _identify(reader, name)) if name else None
        if row is None:
            raise HTTPException(404, NO_SESSION)
        session, room = row
        try:
            page = await self._texts.read(
                lambda reader: reader.transcript(session, limit, cursor), TextPage((), None)
            )
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None
        whole = TranscriptAnswer(
            session=session, room=room, texts=text_views(page.texts), next=page.next
        )
        return answer(request, joined_json(whole, next=page.next))


def _identify(reader: SessionReader, name: str) -> tuple[str, str] | None:
    """Id and room of the session with this id, or the newest one of this room."""
    with reader.open_session(name) as session:
        return None if session is None else (session.view.id, session.view.room)
