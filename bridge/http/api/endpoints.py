"""`/api/v1`: rooms, sessions, workers and actors, for programs and for the page.

    query          the parameters of a request
    answer_types   the objects of the answers
    answers        JSON, CSV, ETags
    openapi        `/openapi.json`
    event_stream   `/api/v1/events`

Sessions come from the store, over a read-only connection of the request's own and in a
thread, so that no reader ever holds up an actor; a live room is what it was a tenth of a
second ago.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, final

import msgspec
import structlog
import trio
from attrs import evolve
from msgspec.structs import asdict, replace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_filters import CURSOR, FILTERS, Filters
from actors.journal.session_reader import (
    BadCursor,
    NoStore,
    OpenReader,
    OpenSession,
    SessionReader,
    SessionUnreadable,
    StoreRefused,
    TimelinePage,
)
from bridge.http.api.answer_types import RoomList, SessionAnswer, SessionList
from bridge.http.api.answers import JSON, Body, answer, body_of, wants_csv
from bridge.http.api.export import Export, Exports, FilePart, read_sessions
from bridge.http.api.openapi import api_index, openapi
from bridge.http.api.query import (
    EVENTS_CURSOR,
    EVENTS_LIMIT,
    FORMAT,
    LIMIT,
    MOST_EVENTS,
    PAGE,
    ROOMS_LIMIT,
    asked,
)
from bridge.http.api.worker_types import WorkerList, WorkerView
from bridge.http.server.routes import HttpRoute, access_of, root_of
from bridge.http.server.sign_in import cookie_name
from bridge.output.ascii_json import json_text
from bridge.output.csv_columns import PARTICIPANT_COLUMNS, SESSION_COLUMNS

log = structlog.get_logger()

T = TypeVar("T")

READERS: Final = 2
"""Requests that are read for at once; others wait."""


NO_SESSION: Final = (
    "no session with this id is kept, and no room of this name has one; /api/v1/sessions lists them"
)


class StoreUnreadable(HTTPException):
    """503: nothing can be read now."""

    def __init__(self) -> None:
        super().__init__(503, "the store cannot be read; the log says why")


@final
class StoreReaders:
    """Reads stored sessions in threads."""

    def __init__(
        self,
        open_reader: OpenReader,
        at_once: int = READERS,
        unreadable: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`unreadable` is called in the event loop with the reason why nothing could be read."""
        self._open_reader = open_reader
        self._unreadable = unreadable
        self._limiter = trio.CapacityLimiter(at_once)

    async def read(self, function: Callable[[SessionReader], T]) -> T:
        """Call `function` in a thread.  Raises what it raises, and `StoreUnreadable`."""

        def call() -> T:
            with self._open_reader() as reader:
                return function(reader)

        try:
            return await trio.to_thread.run_sync(
                call, limiter=self._limiter, abandon_on_cancel=True
            )
        except (NoStore, StoreRefused, ArchiveTrouble) as error:
            log.warning("store_unreadable_for_http", error=str(error))
            self._unreadable(str(error))
            raise StoreUnreadable from None

    async def of_session(self, name: str, function: Callable[[OpenSession], T]) -> T:
        """Call `function` with the session of this id, or the newest of the room of this name.

        Raises what it raises, and `HTTPException` where there is no such session, or where it
        cannot be read.
        """

        def read(reader: SessionReader) -> tuple[T] | None:
            with reader.open_session(name) as session:
                return None if session is None else (function(session),)

        try:
            answer = await self.read(read) if name else None
        except SessionUnreadable as error:
            log.warning("session_unreadable_for_http", error=str(error))
            raise HTTPException(500, "the stored data of this session cannot be read") from None
        if answer is None:
            raise HTTPException(404, NO_SESSION)
        return answer[0]


@final
class Api:
    """Gives the rows.  `workers` is called in the loop and must be quick, `actors` takes turns."""

    def __init__(
        self,
        readers: StoreReaders,
        *,
        workers: Callable[[], Sequence[WorkerView]],
        actors: Callable[[], Awaitable[Mapping[str, Any]]],
        version: str,
    ) -> None:
        self._readers = readers
        self._workers = workers
        self._actors = actors
        self._version = version
        self._exports = Exports()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("GET", "/api/v1", self._index),
            HttpRoute("GET", "/api/v1/rooms", self._rooms),
            HttpRoute("GET", "/api/v1/sessions", self._sessions),
            HttpRoute("GET", "/api/v1/sessions/{id:path}", self._session),
            HttpRoute("GET", "/api/v1/workers", self._list_workers),
            HttpRoute("GET", "/api/v1/actors", self._tree),
            HttpRoute("GET", "/openapi.json", self._openapi),
        )

    async def _rooms(self, request: Request) -> Response:
        given = asked(request, (*FILTERS, ROOMS_LIMIT, FORMAT))
        csv, limit = wants_csv(request, given.pop("format", None)), given.pop("limit", None)

        def read(reader: SessionReader) -> Body:
            live = tuple(reader.rooms(Filters(**given))[:limit])
            return body_of(RoomList(rooms=live), live, SESSION_COLUMNS, csv=csv)

        return answer(request, await self._readers.read(read))

    async def _sessions(self, request: Request) -> Response:
        given = asked(request, (*FILTERS, LIMIT, CURSOR, FORMAT))
        csv = wants_csv(request, given.pop("format", None))
        whole = csv and not given.keys() & {"limit", "cursor"}
        limit, cursor = given.pop("limit", PAGE), given.pop("cursor", None)
        if whole:
            return await self._all_sessions(Filters(**given))

        def read(reader: SessionReader) -> Body:
            page = reader.sessions(limit, cursor, Filters(**given))
            whole = SessionList(sessions=tuple(page.sessions), next=page.next)
            body = body_of(whole, whole.sessions, SESSION_COLUMNS, csv=csv)
            return evolve(body, next=page.next)

        try:
            return answer(request, await self._readers.read(read))
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None

    async def _all_sessions(self, filters: Filters) -> Response:
        """As CSV, which has no place to say that there are more."""

        async def read(cursor: str | None) -> FilePart:
            return await self._readers.read(
                lambda reader: read_sessions(reader, filters, cursor, csv=True)
            )

        return Export(self._exports, await read(None), read, "sessions.csv")

    async def _session(self, request: Request) -> Response:
        given = asked(request, (EVENTS_LIMIT, EVENTS_CURSOR, FORMAT))
        csv = wants_csv(request, given.get("format"))
        limit, cursor = given.get("limit", MOST_EVENTS), given.get("cursor")
        name = request.path_params["id"]

        def read(session: OpenSession) -> Body:
            page = TimelinePage(None, None)
            if session.timeline is not None and not csv:
                page = session.timeline.page(limit, cursor)
            view, entries = session.view, page.entries
            whole = SessionAnswer(**asdict(replace(view, timeline=entries)), next=page.next)
            body = body_of(
                whole, view.participants, PARTICIPANT_COLUMNS, csv=csv, lasts=view.status == "ended"
            )
            return evolve(body, next=page.next)

        try:
            body = await self._readers.of_session(name, read)
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None
        return answer(request, body)

    async def _index(self, request: Request) -> Response:
        asked(request)
        return Response(json_text(api_index(self._version)), media_type=JSON)

    async def _list_workers(self, request: Request) -> Response:
        asked(request)
        workers = WorkerList(workers=tuple(self._workers()))
        return Response(json_text(workers), media_type=JSON)

    async def _tree(self, request: Request) -> Response:
        asked(request)
        return Response(msgspec.json.encode(await self._actors()), media_type=JSON)

    async def _openapi(self, request: Request) -> Response:
        asked(request)
        cookie = None if access_of(request) is None else cookie_name(request.scope)
        return JSONResponse(openapi(self._version, cookie, root_of(request)))
