"""`/api/v1/agents`, `/api/v1/transcripts`, and of a session `/runs`, `/turns` and `/transcript`.

Where no text is kept, transcripts are empty, and turns have their numbers only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, TypeAlias, TypeVar, final

import structlog
import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.agent_statistics import read_agent_statistics
from actors.journal.conversation_texts import TextFilters, TextPage, TextReader, TextTrouble
from actors.journal.conversations import ConversationPart, conversation, turns_of
from actors.journal.session_filters import Filters
from actors.journal.session_reader import (
    BadCursor,
    OpenSession,
)
from actors.session import EntryView
from bridge.http.api.answers import answer, joined_json
from bridge.http.api.conversation_types import (
    RunsAnswer,
    SessionAgent,
    TextList,
    TranscriptAnswer,
    TurnsAnswer,
    text_views,
)
from bridge.http.api.endpoints import StoreReaders, StoreUnreadable
from bridge.http.api.query import (
    AGENT_DAYS,
    AGENT_PARAMETERS,
    TEXT_PARAMETERS,
    TEXTS,
    TRANSCRIPT_PARAMETERS,
    TRANSCRIPT_TEXTS,
    TURN_PARAMETERS,
    TURNS,
    asked,
)
from bridge.http.server.routes import HttpRoute

log = structlog.get_logger()

T = TypeVar("T")

OpenTexts: TypeAlias = Callable[[], AbstractContextManager[TextReader | None]]
"""Opens the texts; None where none were ever kept.  Raises `TextTrouble`."""
MOST_PARTS: Final = 5_000
"""Entries and texts of a conversation that are read, the newest entries and the oldest texts."""
DAY: Final = 86_400.0
READERS: Final = 2
"""Requests that are read for at once; others wait."""


@final
class TextReaders:
    """Reads texts in threads."""

    def __init__(self, open_texts: OpenTexts) -> None:
        self.open_texts: Final = open_texts
        self._limiter = trio.CapacityLimiter(READERS)

    async def read(self, function: Callable[[TextReader], T], nothing: T) -> T:
        """Call `function` in a thread; `nothing` where no texts were ever kept.

        Raises what it raises, and `StoreUnreadable`.
        """

        def call() -> T:
            with self.open_texts() as reader:
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
            HttpRoute("GET", "/api/v1/agents", self._agents),
            HttpRoute("GET", "/api/v1/sessions/{id:path}/transcript", self._transcript),
            HttpRoute("GET", "/api/v1/sessions/{id:path}/turns", self._turns),
            HttpRoute("GET", "/api/v1/sessions/{id:path}/runs", self._runs),
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
        session, room, _ = await self._open(name, lambda _: None)
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

    async def _turns(self, request: Request) -> Response:
        given = asked(request, TURN_PARAMETERS)
        limit, begin = given.get("limit", TURNS), int(given.get("cursor", "0"))
        session, room, parts = await self._conversation(request)
        if parts is None:
            nothing = TurnsAnswer(session=session, room=room, turns=None, calls=(), next=None)
            return answer(request, joined_json(nothing, next=None))
        turns, calls = turns_of(parts)
        more = begin + limit < len(turns)
        whole = TurnsAnswer(
            session=session,
            room=room,
            turns=tuple(turns[begin : begin + limit]),
            calls=() if more else tuple(calls),
            next=str(begin + limit) if more else None,
        )
        return answer(request, joined_json(whole, next=whole.next))

    async def _conversation(
        self, request: Request
    ) -> tuple[str, str, list[ConversationPart] | None]:
        """Id and room of the requested session, and its conversation; None where its timeline is
        not kept."""
        name = request.path_params["id"]
        opened = await self._open(name, lambda session: _agent_entries(session, MOST_PARTS))
        session, room, entries = opened
        texts = await self._texts.read(
            lambda reader: reader.transcript(session, MOST_PARTS).texts, ()
        )
        return session, room, None if entries is None else conversation(entries, texts)

    async def _open(self, name: str, function: Callable[[OpenSession], T]) -> tuple[str, str, T]:
        """Id and room of a session, and what `function` makes of it.  Raises `HTTPException`."""

        return await self._readers.of_session(
            name, lambda session: (session.view.id, session.view.room, function(session))
        )

    async def _runs(self, request: Request) -> Response:
        asked(request)
        session, room, agents = await self._open(
            request.path_params["id"],
            lambda session: tuple(
                SessionAgent(identity=one.identity, agent=one.agent)
                for one in session.view.participants
                if one.agent is not None
            ),
        )
        whole = RunsAnswer(session=session, room=room, agents=agents)
        return answer(request, joined_json(whole, next=None))

    async def _agents(self, request: Request) -> Response:
        given = asked(request, AGENT_PARAMETERS)
        given.setdefault("since", time.time() - AGENT_DAYS * DAY)
        filters = Filters(**given)
        whole = await self._readers.read(lambda reader: read_agent_statistics(reader, filters))
        return answer(request, joined_json(whole, next=None))


def _agent_entries(session: OpenSession, most: int) -> list[EntryView] | None:
    """The newest entries about agents; None where the timeline is not kept."""
    if session.timeline is None:
        return None
    newest = (one for one in session.timeline.backwards() if one.event.startswith("agent_"))
    return list(islice(newest, most))[::-1]
