"""The pages about people: one person over all sessions, and who was in which session."""

from __future__ import annotations

from typing import Final, final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.attendance import days_of, read_attendance, read_visits, totals_of
from actors.journal.session_reader import BadCursor, SessionReader
from bridge.http.api.attendance_routes import SESSIONS_AT_ONCE, file_part
from bridge.http.api.days import day_view
from bridge.http.api.export import Export, Exports, FilePart
from bridge.http.pages.frame import Read, frame_of
from bridge.http.pages.rendering import html, render
from bridge.http.pages.search_form import Search, WrongSearch, fields, search
from bridge.http.server.routes import HttpRoute
from bridge.output.csv_columns import DAY_COLUMNS, as_csv

VISITS: Final = 200
"""Sessions of one person on a page."""
SESSIONS: Final = 50
"""Sessions on a page of the attendance."""
NOBODY: Final = "The store has nobody with this identity or person key."


@final
class PeoplePages:
    """Has the routes of these pages."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._exports = Exports()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("GET", "/people/{identity:path}", self._person),
            HttpRoute("GET", "/attendance", self._attendance),
            HttpRoute("GET", "/attendance.csv", self._save),
            HttpRoute("GET", "/days.csv", self._save_days),
        )

    async def _person(self, request: Request) -> Response:
        person, cursor = request.path_params["identity"], request.query_params.get("cursor")

        def draw(reader: SessionReader) -> str | None:
            page = read_visits(reader, person, VISITS, cursor)
            if not page.rows and cursor is None and page.next is None:
                return None
            return render(
                "person.html",
                **frame_of(request, "/history"),
                person=person,
                names=sorted({row.name for row in page.rows if row.name}),
                identities=sorted({row.identity for row in page.rows} - {person}),
                totals=totals_of(page.rows),
                days=days_of(page.spans),
                visits=page.rows,
                next=page.next,
                cursor=cursor,
            )

        try:
            drawn = await self._read(draw)
        except BadCursor:
            raise HTTPException(400, "There is no such page of the list.") from None
        if drawn is None:
            raise HTTPException(404, NOBODY)
        return html(drawn)

    async def _attendance(self, request: Request) -> Response:
        given, cursor = fields(request.query_params), request.query_params.get("cursor")
        frame = {**frame_of(request, "/history"), "given": given, "cursor": cursor}
        try:
            wanted = search(given)
        except WrongSearch as error:
            nothing = {"rows": (), "next": None}
            return html(render("attendance.html", **frame, **nothing, wrong=str(error)), 400)

        def draw(reader: SessionReader) -> str:
            page = read_attendance(reader, SESSIONS, cursor, wanted.filters)
            return render("attendance.html", **frame, rows=page.rows, next=page.next, wrong="")

        try:
            return html(await self._read(draw))
        except BadCursor:
            raise HTTPException(400, "There is no such page of the list.") from None

    async def _save_days(self, request: Request) -> Response:
        """Sessions and minutes by day of what the form selects, as a file."""
        wanted = _search(request)

        def read(reader: SessionReader) -> str:
            days = map(day_view, reader.days(*wanted.days, wanted.filters))
            return as_csv(DAY_COLUMNS, [(wanted.filters.room, day) for day in days])

        disposition = {"content-disposition": "attachment; filename=days.csv"}
        return Response(await self._read(read), 200, disposition, "text/csv")

    async def _save(self, request: Request) -> Response:
        """The attendance of all sessions that the form selects, as a file."""
        wanted = _search(request)

        def part(reader: SessionReader, cursor: str | None) -> FilePart:
            page = read_attendance(reader, SESSIONS_AT_ONCE, cursor, wanted.filters)
            return file_part(page.rows, cursor, page.next)

        async def read(cursor: str | None) -> FilePart:
            return await self._read(lambda reader: part(reader, cursor))

        return Export(self._exports, await read(None), read, "attendance.csv")


def _search(request: Request) -> Search:
    try:
        return search(fields(request.query_params))
    except WrongSearch as error:
        raise HTTPException(400, str(error)) from None
