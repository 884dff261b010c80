"""The sessions of a worker on another machine: `SessionReader` over its API."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NoReturn, final

from msgspec.structs import asdict

from actors.journal.alert_history import ALL_ALERTS, AlertFilters, AlertPage
from actors.journal.conversation_texts import ALL_TEXTS, TextFilters
from actors.journal.session_filters import ALL, FILTERS, Filters
from actors.journal.session_reader import (
    BadCursor,
    Day,
    ListedTimeline,
    LiveSession,
    OpenSession,
    SessionPage,
    WorkerRow,
    whole_view,
)
from actors.journal.text_filters import TEXT_FILTERS
from actors.session import EntryView, SessionRow, SessionView
from actors.session.time_text import rfc3339
from bridge.cli.api_connection import ApiConnection, NotThere, WrongCursor, path_of
from bridge.http.api.answer_types import (
    AlertList,
    ApiIndex,
    DayList,
    RoomList,
    SessionAnswer,
    SessionList,
)
from bridge.http.api.conversation_types import TextList, TranscriptAnswer
from bridge.http.api.worker_types import OutboxAnswer, WorkerList, WorkerView

API: Final = "/api/v1"


def query_of(filters: Filters) -> dict[str, object]:
    """The filters as the API takes them."""
    query = dict[str, object]()
    for parameter in FILTERS:
        value = getattr(filters, parameter.name)
        if value is not None:
            is_time = parameter.name in ("since", "until")
            query[parameter.name] = rfc3339(value) if is_time else value
    return query


def _unix(time: str | None, otherwise: float) -> float:
    return otherwise if time is None else datetime.fromisoformat(time).timestamp()


@final
class ApiReader:
    """See `SessionReader`.  Every method may raise `ApiTrouble`."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection

    def require_ours(self) -> None:
        """Raise `ApiTrouble` where something else answers."""
        self._connection.get(API, ApiIndex)

    def worker_views(self) -> tuple[WorkerView, ...]:
        """The workers; the one that answers describes itself, the first one."""
        return self._connection.get(f"{API}/workers", WorkerList).workers

    def workers(self) -> list[WorkerRow]:
        """See `SessionReader`.  The worker that answers runs; a server of all workers may show
        some that do not."""
        now = datetime.now(UTC).timestamp()
        return [
            WorkerRow(
                one.id,
                0,
                _unix(one.started_at, now),
                now if one.answers else _unix(one.last_seen, now),
                running=one.state == "running",
                name=one.name or "",
                version=one.version,
                url=one.url or "",
                rooms=one.rooms,
                max_rooms=one.max_rooms,
                load=one.load,
                draining=one.draining,
            )
            for one in self.worker_views()
        ]

    def count(self) -> int:
        """See `SessionReader`.  The API does not count."""
        self._cannot("count sessions")

    def sessions(
        self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL
    ) -> SessionPage:
        """See `SessionReader`."""
        query = {**query_of(filters), "limit": limit}
        if cursor is not None:
            query["cursor"] = cursor
        try:
            page = self._connection.get(f"{API}/sessions", SessionList, query)
        except WrongCursor as error:
            raise BadCursor(str(error)) from None
        return SessionPage(list(page.sessions), page.next)

    def alerts(
        self,
        limit: int = 50,  # noqa: ARG002 - the port's
        cursor: str | None = None,  # noqa: ARG002
        filters: AlertFilters = ALL_ALERTS,  # noqa: ARG002
    ) -> AlertPage:
        """See `SessionReader`.  No command asks for stored alerts from another machine."""
        self._cannot("give stored alerts")

    def outbox(self) -> OutboxAnswer:
        """The endpoints of webhooks, and what waits or was given up."""
        return self._connection.get(f"{API}/outbox", OutboxAnswer)

    def transcript(
        self, session: str, limit: int = 1_000, cursor: str | None = None
    ) -> TranscriptAnswer:
        """The texts of one session, the oldest first."""
        query = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        path = f"{API}{path_of('sessions', session)}/transcript"
        return self._connection.get(path, TranscriptAnswer, query)

    def texts(
        self, limit: int = 50, cursor: str | None = None, filters: TextFilters = ALL_TEXTS
    ) -> TextList:
        """A list of texts of all sessions, the newest first."""
        query: dict[str, object] = {"limit": limit}
        for one in TEXT_FILTERS:
            value = getattr(filters, one.name)
            if value is not None:
                query[one.name] = rfc3339(value) if one.name in ("since", "until") else value
        if cursor is not None:
            query["cursor"] = cursor
        try:
            return self._connection.get(f"{API}/transcripts", TextList, query)
        except WrongCursor as error:
            raise BadCursor(str(error)) from None

    def firing_rules(self) -> tuple[str, ...]:
        """The rules of the alerts that fire now, at most 500, one for each alert."""
        query = {"status": "firing", "limit": 500}
        alerts = self._connection.get(f"{API}/alerts", AlertList, query).alerts
        return tuple(one.rule for one in alerts)

    def rooms(self, filters: Filters = ALL) -> list[SessionRow]:
        """See `SessionReader`."""
        return list(self._connection.get(f"{API}/rooms", RoomList, query_of(filters)).rooms)

    def days(self, first: date, last: date, filters: Filters = ALL) -> list[Day]:
        """See `SessionReader`."""
        span = {
            "since": first.isoformat() if filters.since is None else rfc3339(filters.since),
            "until": (last + timedelta(1)).isoformat()
            if filters.until is None
            else rfc3339(filters.until),
        }
        days = self._connection.get(f"{API}/days", DayList, {**query_of(filters), **span}).days
        return [Day(one.date, one.sessions, one.people_minutes * 60, one.peak) for one in days]

    def live(self) -> list[LiveSession]:
        """See `SessionReader`.  States do not leave their machine."""
        self._cannot("give the states of live sessions")

    def session(self, name: str | None = None) -> SessionView | None:
        """See `SessionReader`."""
        with self.open_session(name) as session:
            return None if session is None else whole_view(session)

    @contextmanager
    def open_session(self, name: str | None = None) -> Generator[OpenSession | None, None, None]:
        """See `SessionReader`.  The timeline is read whole: it is in memory."""
        if name is None:
            newest = self.sessions(1).sessions
            name = (newest[0].id or newest[0].room) if newest else ""
        if not name:
            yield None
            return
        try:
            first = self._part(name, None)
        except NotThere:
            yield None
            return
        timeline = None
        if first.timeline is not None:
            parts = self._parts(name, first)
            timeline = ListedTimeline([entry for part in parts for entry in part])
        fields: dict[str, Any] = asdict(first)
        del fields["next"]
        yield OpenSession(SessionView(**{**fields, "timeline": timeline}), timeline)

    def damage(self) -> str | None:
        """See `SessionReader`.  Only `check` on the machine itself reads the whole store."""
        self._cannot("check the store")

    def _part(self, name: str, cursor: str | None) -> SessionAnswer:
        query = {} if cursor is None else {"cursor": cursor}
        return self._connection.get(f"{API}{path_of('sessions', name)}", SessionAnswer, query)

    def _parts(self, name: str, first: SessionAnswer) -> Iterator[list[EntryView]]:
        part = first
        while True:
            yield list(part.timeline or ())
            if part.next is None:
                return
            # By its id: another session may be the room's newest meanwhile.
            part = self._part(first.id or name, part.next)

    def _cannot(self, what: str) -> NoReturn:
        raise NotImplementedError(f"the API does not {what}")
