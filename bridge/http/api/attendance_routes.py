"""Sessions by person and by day: `/api/v1/attendance`, `people/IDENTITY` and `days`.

Each session of an answer is opened, so an answer has a bounded number of sessions, and the next
page goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeAlias, final

from attrs import evolve
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.attendance import (
    AttendanceRow,
    days_of,
    read_attendance,
    read_visits,
    totals_of,
)
from actors.journal.session_filters import Filters
from actors.journal.session_reader import BadCursor, SessionReader
from bridge.http.api.answer_types import AttendanceList, DayList, PersonAnswer
from bridge.http.api.answers import Body, answer, body_of, wants_csv
from bridge.http.api.days import day_view, days_between
from bridge.http.api.endpoints import StoreReaders
from bridge.http.api.export import Export, Exports, FilePart
from bridge.http.api.query import (
    ATTENDANCE_PARAMETERS,
    DAY_PARAMETERS,
    PAGE,
    VISIT_PARAMETERS,
    VISITS,
    asked,
)
from bridge.http.server.routes import HttpRoute
from bridge.http.server.streamed_answer import joined
from bridge.output.csv_columns import ATTENDANCE_COLUMNS, DAY_COLUMNS, csv_parts

SESSIONS_AT_ONCE: Final = 50
"""Sessions that are opened for one part of a file."""

ReadBody: TypeAlias = Callable[[SessionReader], Body | None]


@final
class AttendanceRoutes:
    """Gives the rows."""

    def __init__(self, readers: StoreReaders) -> None:
        self._readers = readers
        self._exports = Exports()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("GET", "/api/v1/attendance", self._attendance),
            HttpRoute("GET", "/api/v1/people/{identity:path}", self._person),
            HttpRoute("GET", "/api/v1/days", self._days),
        )

    async def _attendance(self, request: Request) -> Response:
        given = asked(request, ATTENDANCE_PARAMETERS)
        csv = wants_csv(request, given.pop("format", None))
        whole = csv and not given.keys() & {"limit", "cursor"}
        limit, cursor = given.pop("limit", PAGE), given.pop("cursor", None)
        filters = Filters(**given)
        if whole:
            return await self._whole(filters)

        def read(reader: SessionReader) -> Body:
            page = read_attendance(reader, limit, cursor, filters)
            rows = AttendanceList(attendance=tuple(page.rows), next=page.next)
            body = body_of(rows, page.rows, ATTENDANCE_COLUMNS, csv=csv)
            return evolve(body, next=page.next)

        return await self._answer(request, read)

    async def _whole(self, filters: Filters) -> Response:
        """As CSV, which has no place to say that there are more."""

        def read(reader: SessionReader, cursor: str | None) -> FilePart:
            page = read_attendance(reader, SESSIONS_AT_ONCE, cursor, filters)
            return file_part(page.rows, cursor, page.next)

        async def part(cursor: str | None) -> FilePart:
            return await self._readers.read(lambda reader: read(reader, cursor))

        return Export(self._exports, await part(None), part, "attendance.csv")

    async def _person(self, request: Request) -> Response:
        given = asked(request, VISIT_PARAMETERS)
        csv = wants_csv(request, given.pop("format", None))
        limit, cursor = given.pop("limit", VISITS), given.pop("cursor", None)
        filters, person = Filters(**given), request.path_params["identity"]

        def read(reader: SessionReader) -> Body | None:
            page = read_visits(reader, person, limit, cursor, filters)
            if not page.rows and page.next is None and cursor is None and not given:
                return None
            whole = PersonAnswer(
                person=person,
                totals=totals_of(page.rows),
                days=tuple(days_of(page.spans)),
                visits=tuple(page.rows),
                next=page.next,
            )
            return evolve(body_of(whole, page.rows, ATTENDANCE_COLUMNS, csv=csv), next=page.next)

        return await self._answer(request, read)

    async def _days(self, request: Request) -> Response:
        given = asked(request, DAY_PARAMETERS)
        csv = wants_csv(request, given.pop("format", None))
        filters = Filters(**given)
        first, last = days_between(filters.since, filters.until, time.time())

        def read(reader: SessionReader) -> Body:
            days = [day_view(one) for one in reader.days(first, last, filters)]
            rows = [(filters.room, day) for day in days]
            whole = DayList(room=filters.room, days=tuple(days))
            return body_of(whole, rows, DAY_COLUMNS, csv=csv)

        return await self._answer(request, read)

    async def _answer(self, request: Request, read: ReadBody) -> Response:
        try:
            body = await self._readers.read(read)
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None
        if body is None:
            raise HTTPException(404, "nobody with this identity or person key is in the store")
        return answer(request, body)


def file_part(rows: list[AttendanceRow], cursor: str | None, following: str | None) -> FilePart:
    """A part of the file; headings are in the first one only."""
    lines = islice(csv_parts(ATTENDANCE_COLUMNS, rows), cursor is not None, None)
    return FilePart(tuple(joined(lines)), following)
