"""`/api/v1/alerts`: the alerts that are pending or fire, and those that are over.

Those that wait for their `for` are only in the state of a live session; all that ever fired are in
the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, final

from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.alert_history import AlertFilters, StoredAlert
from actors.journal.session_filters import regex_of
from actors.journal.session_reader import BadCursor, SessionReader
from actors.session import SessionState
from actors.session.alerts import OpenAlert, open_alerts
from actors.session.time_text import rfc3339
from bridge.http.api.answer_types import AlertList, AlertView
from bridge.http.api.answers import Body, answer, joined_json
from bridge.http.api.endpoints import StoreReaders
from bridge.http.api.query import ALERT_PARAMETERS, PAGE, asked
from bridge.http.server.routes import HttpRoute

FIRST: Final = "9" * 18
"""The cursor of all stored alerts."""


@frozen
class AlertSource:
    """What alerts are listed from."""

    live: Callable[[], Iterable[SessionState]] = tuple
    """Sessions that have not ended.  Called in the loop, and quick."""
    rules: Collection[str] | None = None
    """Names of the rules that make alerts; None where they are not known."""

    def states(self) -> list[SessionState]:
        """The sessions of which an alert may be pending or have data."""
        return list(self.live())


@final
class AlertRoutes:
    """Gives the row."""

    def __init__(self, readers: StoreReaders, source: AlertSource) -> None:
        self._readers = readers
        self._source = source

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/api/v1/alerts", self._alerts),)

    async def _alerts(self, request: Request) -> Response:
        given = asked(request, ALERT_PARAMETERS)
        limit, cursor = given.pop("limit", PAGE), given.pop("cursor", None)
        states, rules = self._source.states(), self._source.rules

        def read(reader: SessionReader) -> Body:
            whole = list_alerts(reader, states, rules, limit, cursor, given)
            return joined_json(whole, next=whole.next)

        try:
            return answer(request, await self._readers.read(read))
        except BadCursor:
            raise HTTPException(400, "cursor: give the `next` of an earlier page") from None


def list_alerts(
    reader: SessionReader,
    states: Sequence[SessionState],
    rules: Collection[str] | None,
    limit: int,
    cursor: str | None,
    filters: dict[str, Any],
) -> AlertList:
    """A page: what is pending, then what fired, the newest first.  Raises `BadCursor`."""
    status = filters.get("status")
    pending = list[AlertView]()
    if cursor is None and status in (None, "pending"):
        pending = [
            _pending_view(one)
            for one in open_alerts(states, rules)
            if one.phase == "pending" and _matches(one, filters)
        ]
    if status == "pending":
        return AlertList(alerts=tuple(pending[:limit]), next=None)
    if len(pending) >= limit:
        return AlertList(alerts=tuple(pending[:limit]), next=FIRST)
    page = reader.alerts(limit - len(pending), cursor, AlertFilters(**filters))
    watched = {state.room_sid for state in states if state.watching}
    fired = (_fired_view(one, watched) for one in page.alerts)
    return AlertList(alerts=(*pending, *fired), next=page.next)


def _matches(alert: OpenAlert, filters: dict[str, Any]) -> bool:
    room, person = filters.get("room"), filters.get("person")
    since, until = filters.get("since"), filters.get("until")
    return (
        (room is None or regex_of(room).match(alert.room) is not None)
        and (person is None or (bool(alert.on) and regex_of(person).match(alert.on) is not None))
        and (since is None or alert.since >= since)
        and (until is None or alert.since < until)
    )


def _pending_view(alert: OpenAlert) -> AlertView:
    return AlertView(
        rule=alert.rule,
        room=alert.room,
        session=alert.room_sid,
        on=alert.on or None,
        state="pending",
        no_data=alert.no_data,
        text=None,
        since=rfc3339(alert.since),
        until=None,
        seconds=None,
    )


def _fired_view(alert: StoredAlert, watched: Collection[str]) -> AlertView:
    over = alert.resolved_at
    return AlertView(
        rule=alert.rule,
        room=alert.room,
        session=alert.room_sid,
        on=alert.on or None,
        state="firing" if over is None else "resolved",
        no_data=over is None and alert.room_sid not in watched,
        text=alert.text or None,
        since=rfc3339(alert.fired_at),
        until=None if over is None else rfc3339(over),
        seconds=None if over is None else round(max(0.0, over - alert.fired_at), 3),
    )
