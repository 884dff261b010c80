"""The pages: live rooms, history, one session, the system; sign-in and errors.

The server makes everything from templates.  `static/page.js` only asks again and replaces the
parts that changed.  The store is read and drawn in a thread, and long work in the loop is done in
time slices.  So a page does not delay an actor.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar, final
from urllib.parse import quote

import trio
from attrs import frozen
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.session_reader import BadCursor, OpenSession, SessionReader, SessionUnreadable
from actors.runtime import Node
from actors.session import SessionState
from actors.session.end_reasons import WORKER_STOPPED
from bridge.http.api.alert_routes import AlertSource, list_alerts
from bridge.http.api.audio_routes import FindAudio
from bridge.http.api.conversation_routes import OpenTexts
from bridge.http.api.export import Export, Exports, FilePart, read_session, read_sessions
from bridge.http.api.openapi import near_address
from bridge.http.pages import actor_tree
from bridge.http.pages.conversation_view import conversation_view
from bridge.http.pages.days_svg import days_svg
from bridge.http.pages.event_rows import WantedEvents, event_page, wanted_events
from bridge.http.pages.frame import Read, frame_of
from bridge.http.pages.live_view import LiveView
from bridge.http.pages.rendering import html, page, render
from bridge.http.pages.search_form import WrongSearch, fields, search
from bridge.http.pages.sign_in_page import signin_rows
from bridge.http.pages.static_files import static_rows
from bridge.http.pages.timeline_svg import STYLE_HASH, timeline_svg
from bridge.http.server.problem import problem
from bridge.http.server.routes import HttpRoute
from bridge.output.timeline_lanes import starts_late

T = TypeVar("T")

SESSIONS: Final = 50
"""Sessions on a page of the history."""
ALERTS: Final = 50
"""Alerts that are over on a page."""
EVENTS: Final = 100
"""Events on a page of a session."""
MOST_LINES: Final = 500
"""The most people, tracks or topics of a session that are listed."""


UNREADABLE: Final = "The stored data of this session cannot be read."
NOT_KEPT: Final = "The store has no session with this id or of a room with this name."


Facts: TypeAlias = Sequence[tuple[str, object]]
"""Labels and values; whole numbers are shown with gaps between thousands."""


@frozen
class Section:
    """One part of the program, with its state."""

    title: str
    well: str
    """Its state if nothing is wrong."""
    trouble: str | None
    facts: Facts

    @property
    def key(self) -> str:
        return self.title.lower()


@frozen
class WorkerFacts:
    """One worker of a database, in words."""

    name: str
    state: str
    rooms: str
    load: str
    version: str
    url: str
    last_sign: str
    """When it last gave a sign of life."""


@frozen
class System:
    """The data of the system page.  `parts` and `dead_letters` are called in the loop and must be
    quick."""

    tree: Callable[[], Awaitable[Node]]
    parts: Callable[[], Iterable[Section]]
    dead_letters: Callable[[], Mapping[str, int]]
    """Their number by actor's path and message: `/a/b Add`."""
    workers: Callable[[], Iterable[WorkerFacts]] = tuple
    """All workers of the store, where there may be several."""


@final
class Pages:
    """Has the routes of the pages."""

    def __init__(
        self,
        read: Read,
        live: Callable[[], Iterable[SessionState]],
        system: System,
        alerts: AlertSource | None = None,
        *,
        root: str = "",
        clock: Callable[[], float] = time.time,
        open_texts: OpenTexts | None = None,
        find_audio: FindAudio | None = None,
    ) -> None:
        """`clock`: Unix seconds on the clock of the sessions.  `open_texts`, `find_audio`: texts
        and recordings of agents, where they are kept."""
        self._open_texts = open_texts
        self._find_audio = find_audio
        self._read = read
        self._live = live
        self._board = LiveView(live, clock, root=root)
        self._system = system
        self._alerts = alerts or AlertSource()
        self._exports = Exports()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("GET", "/", self._now),
            HttpRoute("GET", "/now", self._news),
            HttpRoute("GET", "/history", self._history),
            HttpRoute("GET", "/history.csv", self._save),
            HttpRoute("GET", "/history.json", self._save),
            HttpRoute("GET", "/sessions/{id:path}", self._session),
            HttpRoute("GET", "/timelines/{id:path}", self._timeline),
            HttpRoute("GET", "/whole/{id:path}", self._save_session),
            HttpRoute("GET", "/alerts", self._show_alerts),
            HttpRoute("GET", "/system", self._show_system),
            *signin_rows(),
            *static_rows(),
        )

    # ------------------------------------------------------------ now

    async def _now(self, request: Request) -> Response:
        news = await self._board.page()
        rows = Markup().join(Markup(news["rows"][key]) for key in news["order"])  # noqa: S704
        return page(
            "now.html",
            **frame_of(request, "/"),
            figures=news["figures"],
            place=news["place"],
            rows=rows,
        )

    async def _news(self, request: Request) -> Response:
        """The changes on the page since `?since=`."""
        news = await self._board.since(request.query_params.get("since", ""))
        return Response(news, media_type="application/json")

    # ------------------------------------------------------------ history

    async def _history(self, request: Request) -> Response:
        given, cursor = fields(request.query_params), request.query_params.get("cursor")
        frame = {**frame_of(request, "/history"), "given": given, "cursor": cursor}
        try:
            wanted = search(given)
        except WrongSearch as error:
            nothing = {"sessions": (), "next": None, "plot": None}
            text = render("history.html", **frame, **nothing, filtered=True, wrong=str(error))
            return html(text, 400)

        def draw(reader: SessionReader) -> str:
            session_page = reader.sessions(SESSIONS, cursor, wanted.filters)
            days = [] if cursor else reader.days(*wanted.days, wanted.filters)
            return render(
                "history.html",
                **frame,
                filtered=any(given.values()),
                wrong="",
                sessions=session_page.sessions,
                next=session_page.next,
                days=days,
                plot=days_svg(days) if any(day.sessions for day in days) else None,
            )

        try:
            return html(await self._read(draw))
        except BadCursor:
            raise HTTPException(400, "There is no such page of the list.") from None

    async def _save(self, request: Request) -> Response:
        """All sessions that the form selects, as a file."""
        csv = request.url.path.endswith(".csv")
        try:
            wanted = search(fields(request.query_params))
        except WrongSearch as error:
            raise HTTPException(400, str(error)) from None

        async def read(cursor: str | None) -> FilePart:
            return await self._read(
                lambda reader: read_sessions(reader, wanted.filters, cursor, csv=csv)
            )

        return Export(self._exports, await read(None), read, f"sessions.{'csv' if csv else 'json'}")

    async def _save_session(self, request: Request) -> Response:
        """One session with all of its timeline, as a file."""
        name = request.path_params["id"]

        async def read(cursor: str | None) -> FilePart:
            try:
                part = await self._read(lambda reader: read_session(reader, name, cursor))
            except SessionUnreadable:
                raise HTTPException(500, UNREADABLE) from None
            if part is None:
                raise HTTPException(404, NOT_KEPT)
            return part

        return Export(self._exports, await read(None), read, f"{name}.json")

    async def _session(self, request: Request) -> Response:
        wanted = wanted_events(request.query_params)

        def draw(session: OpenSession) -> str:
            # A session that ended with its worker goes on with the next worker.
            view = session.view
            live = view.status == "active" or view.end_reason == WORKER_STOPPED
            frame = frame_of(request, "/history", live=live)
            talk = conversation_view(session, self._open_texts, self._find_audio)
            return render("session.html", **frame, **_session_values(session, wanted), talk=talk)

        return html(await self._of_session(request, draw))

    async def _timeline(self, request: Request) -> Response:
        picture = await self._of_session(
            request, lambda session: str(timeline_svg(session.view, alone=True))
        )
        name = quote(f"{request.path_params['id']}.svg", safe="", errors="replace")
        return Response(
            picture,
            media_type="image/svg+xml",
            headers={
                "content-disposition": f"attachment; filename*=UTF-8''{name}",
                "content-security-policy": f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'",
            },
        )

    async def _of_session(self, request: Request, draw: Callable[[OpenSession], str]) -> str:
        """Draw the requested session in a thread."""
        name = request.path_params["id"]

        def read(reader: SessionReader) -> str | None:
            if not name:
                return None
            with reader.open_session(name) as session:
                return None if session is None else draw(session)

        try:
            drawn = await self._read(read)
        except SessionUnreadable:
            raise HTTPException(500, UNREADABLE) from None
        if drawn is None:
            raise HTTPException(404, NOT_KEPT)
        return drawn

    # ------------------------------------------------------------ alerts

    async def _show_alerts(self, request: Request) -> Response:
        """What is pending or fires, and what fired, page by page."""
        cursor = request.query_params.get("cursor")
        states, rules = self._alerts.states(), self._alerts.rules

        def draw(reader: SessionReader) -> str:
            open_ones = list_alerts(reader, states, rules, MOST_LINES, None, {"status": "firing"})
            pending = list_alerts(reader, states, rules, MOST_LINES, None, {"status": "pending"})
            over = list_alerts(reader, states, rules, ALERTS, cursor, {"status": "resolved"})
            return render(
                "alerts.html",
                **frame_of(request, "/alerts", live=cursor is None),
                open=(*open_ones.alerts, *pending.alerts),
                over=over.alerts,
                next=over.next,
                cursor=cursor,
            )

        try:
            return html(await self._read(draw))
        except BadCursor:
            raise HTTPException(400, "There is no such page of the list.") from None

    # ------------------------------------------------------------ the system

    async def _show_system(self, request: Request) -> Response:
        root = await self._system.tree()
        letters = dict(self._system.dead_letters())
        names = {state.room_sid: state.room for state in self._live()}
        parts, workers = list(self._system.parts()), list(self._system.workers())

        def draw() -> str:
            most_first = sorted(letters.items(), key=lambda item: -item[1])
            split = ((key.rpartition(" "), times) for key, times in most_first)
            return render(
                "system.html",
                **frame_of(request, "/system", live=True),
                parts=parts,
                workers=workers,
                rows=list(actor_tree.rows(root, names)),
                letters=[
                    (actor or message, message, count) for (actor, _, message), count in split
                ],
                letters_total=sum(letters.values()),
            )

        return html(await trio.to_thread.run_sync(draw))


# ---------------------------------------------------------------- a session


def _session_values(opened: OpenSession, wanted: WantedEvents) -> dict[str, Any]:
    session, timeline = opened.view, opened.timeline
    events = None
    if timeline is not None:
        events = event_page(timeline.backwards(), wanted.choice(session), wanted.at, EVENTS)
    by_topic = {} if session.data_messages is None else session.data_messages.by_topic
    topics = sorted(by_topic.items(), key=lambda item: -item[1])
    return {
        "session": session,
        # An agent's identity is a job's id; its name says more.
        "agents": defaultdict(
            str, {one.identity: one.agent.name for one in session.participants if one.agent}
        ),
        "picture": timeline_svg(session),
        "late": starts_late(session),
        "people": session.participants[:MOST_LINES],
        "tracks": session.tracks[:MOST_LINES],
        "measured": any(track.stats is not None for track in session.tracks[:MOST_LINES]),
        "topics": topics[:MOST_LINES],
        "recordings": (session.recordings or ())[:MOST_LINES],
        "events": events,
        "wanted": wanted,
    }


# ---------------------------------------------------------------- errors


def explain(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None
) -> Response:
    """An error: a page for a browser, a problem (RFC 9457) for programs."""
    programs = request.url.path.startswith(("/api/", "/livekit/", "/metrics", "/openapi"))
    if programs or "text/html" not in request.headers.get("accept", ""):
        if status == HTTPStatus.NOT_FOUND and detail in ("", HTTPStatus.NOT_FOUND.phrase):
            detail = near_address(request.url.path)
        return problem(status, detail, headers)
    title = HTTPStatus(status).phrase
    text = render(
        "error.html",
        **frame_of(request, "none"),
        status=status,
        title=title,
        detail="" if detail in ("", title) else f"{detail[0].upper()}{detail[1:].rstrip('.')}.",
    )
    return html(text, status, headers)
