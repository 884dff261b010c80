"""Stored sessions in memory, and a reader of them, for tests that need no disk.

The port without a database: it does with lists and filters what every store must do.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import final

from attrs import define, evolve, field
from msgspec.structs import replace

from actors.journal.alert_history import ALL_ALERTS, AlertFilters, AlertPage, StoredAlert
from actors.journal.archive import Batch
from actors.journal.session_filters import ALL, Filters, regex_of
from actors.journal.session_reader import (
    BadCursor,
    Day,
    ListedTimeline,
    LiveSession,
    NoStore,
    OpenSession,
    SessionPage,
    WorkerRow,
)
from actors.session import (
    SessionRow,
    SessionState,
    SessionView,
    TimelineEntry,
    entry_view,
    session_row,
)
from actors.session.view import everyone, view_with
from bridge.store.replay import entries_of, fold_row


@define
class _Stored:
    number: int
    state: SessionState
    seq: int
    lost: int
    entries: list[TimelineEntry] = field(factory=list[TimelineEntry])


@final
class MemorySessions:
    """The sessions of one worker, which runs."""

    def __init__(self) -> None:
        self._stored: dict[int, _Stored] = {}
        """By number, the oldest first."""
        self._alive_at = 0.0

    def add(self, batch: Batch) -> None:
        """Store a batch."""
        for row in batch.rows:
            stored = self._stored.get(row.session)
            if stored is not None:
                stored.state, stored.seq = fold_row(stored.state, stored.seq, row), row.seq
        for checkpoint in batch.checkpoints:
            number = checkpoint.session
            stored = self._stored.setdefault(number, _Stored(number, checkpoint.state, 0, 0))
            stored.state, stored.seq = checkpoint.state, checkpoint.seq
            stored.lost = checkpoint.lost
        for row in batch.rows:
            self._stored[row.session].entries += entries_of((row,))
        self._alive_at = batch.alive_at

    @contextmanager
    def open(self) -> Generator[MemoryReader, None, None]:
        """See `OpenReader`."""
        if not self._stored:
            raise NoStore("no sessions are kept in memory")
        yield MemoryReader(list(self._stored.values()), self._alive_at)


def _alerts_of(stored: _Stored) -> list[StoredAlert]:
    alerts = list[StoredAlert]()
    for entry in stored.entries:
        on = entry.data.get("on") or ""
        if entry.event == "alert_firing":
            rule, text, state = entry.data["rule"], entry.data["text"], stored.state
            alerts.append(StoredAlert(rule, state.room, state.room_sid, on, text, entry.at, None))
        elif entry.event == "alert_resolved":
            same = [
                n for n, one in enumerate(alerts) if (one.rule, one.on) == (entry.data["rule"], on)
            ]
            alerts[same[-1]] = evolve(alerts[same[-1]], resolved_at=entry.at)
    return alerts


def _alert_matches(alert: StoredAlert, filters: AlertFilters) -> bool:
    return (
        (filters.room is None or regex_of(filters.room).match(alert.room) is not None)
        and (
            filters.person is None
            or (bool(alert.on) and regex_of(filters.person).match(alert.on) is not None)
        )
        and (filters.since is None or alert.fired_at >= filters.since)
        and (filters.until is None or alert.fired_at < filters.until)
        and (filters.status is None or (alert.resolved_at is None) == (filters.status == "firing"))
    )


@final
class MemoryReader:
    """See `SessionReader`."""

    def __init__(self, stored: list[_Stored], alive_at: float) -> None:
        self._stored = stored
        self._alive_at = alive_at

    def workers(self) -> list[WorkerRow]:
        """See `SessionReader`."""
        return [WorkerRow("w", 1, self._alive_at, self._alive_at, running=True)]

    def count(self) -> int:
        """See `SessionReader`."""
        return len(self._stored)

    def sessions(
        self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL
    ) -> SessionPage:
        """See `SessionReader`.  A cursor is the number of sessions before it."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise BadCursor("this is not a cursor of a list")
        below = len(self._stored) if cursor is None else int(cursor)
        numbered = [
            (number, self._row(one))
            for number, one in reversed(list(enumerate(self._stored[:below])))
            if self._matches(one, filters)
        ]
        more = len(numbered) > limit
        rows = [row for _, row in numbered[:limit]]
        return SessionPage(rows, str(numbered[limit - 1][0]) if more else None)

    def alerts(
        self, limit: int = 50, cursor: str | None = None, filters: AlertFilters = ALL_ALERTS
    ) -> AlertPage:
        """See `SessionReader`.  A cursor is the number of alerts before it."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise BadCursor("this is not a cursor of a list")
        every = sorted(
            (alert for one in self._stored for alert in _alerts_of(one)),
            key=lambda alert: alert.fired_at,
        )
        below = len(every) if cursor is None else int(cursor)
        found = [
            (number, alert)
            for number, alert in reversed(list(enumerate(every[:below])))
            if _alert_matches(alert, filters)
        ]
        more = len(found) > limit
        alerts = [alert for _, alert in found[:limit]]
        return AlertPage(alerts, str(found[limit - 1][0]) if more else None)

    def rooms(self, filters: Filters = ALL) -> list[SessionRow]:
        """See `SessionReader`."""
        return [
            self._row(one)
            for one in reversed(self._stored)
            if not one.state.ended and self._matches(one, filters)
        ]

    def days(self, first: date, last: date, filters: Filters = ALL) -> list[Day]:
        """See `SessionReader`."""
        days: list[Day] = []
        for offset in range((last - first).days + 1):
            day = first + timedelta(offset)
            rows = [
                self._row(one)
                for one in self._stored
                if datetime.fromtimestamp(one.number / 1e6, UTC).date() == day
                and self._matches(one, filters)
            ]
            seconds = sum(row.people_seconds or 0.0 for row in rows)
            peak = max((row.people.peak or 0 for row in rows), default=0)
            days.append(Day(day.isoformat(), len(rows), seconds, peak))
        return days

    def live(self) -> list[LiveSession]:
        """See `SessionReader`."""
        return [
            LiveSession(one.number, one.state, one.seq, one.lost)
            for one in reversed(self._stored)
            if not one.state.ended
        ]

    def session(self, name: str | None = None) -> SessionView | None:
        """See `SessionReader`."""
        with self.open_session(name) as session:
            if session is None or session.timeline is None:
                return None
            return replace(session.view, timeline=tuple(session.timeline))

    @contextmanager
    def open_session(self, name: str | None = None) -> Generator[OpenSession | None, None, None]:
        """See `SessionReader`."""
        candidates = [one for one in self._stored if name in (None, one.state.room_sid)]
        candidates = candidates or [one for one in self._stored if one.state.room == name]
        if not candidates:
            yield None
            return
        chosen = ([one for one in candidates if not one.state.ended] or candidates)[-1]
        timeline = ListedTimeline([entry_view(entry) for entry in chosen.entries])
        yield OpenSession(view_with(chosen.state, _as_of(chosen.state), timeline), timeline)

    def damage(self) -> str | None:
        """See `SessionReader`."""
        return None

    # ------------------------------------------------------------------ inside

    def _row(self, one: _Stored) -> SessionRow:
        state = one.state
        return session_row(state, state.last_at if state.ended else _as_of(state))

    def _matches(self, one: _Stored, filters: Filters) -> bool:
        state, row = one.state, self._row(one)
        began = state.started_at or 0.0
        person = None if filters.person is None else regex_of(filters.person)
        return (
            (filters.room is None or bool(regex_of(filters.room).match(state.room)))
            and (filters.status is None or row.status == filters.status)
            and (filters.since is None or began >= filters.since)
            and (filters.until is None or began < filters.until)
            and (filters.people is None or (row.people.peak or 0) >= filters.people)
            and (filters.quality is None or bool(row.quality.of(filters.quality)))
            and (
                person is None
                or any(
                    any(map(person.match, (who.identity, who.name, who.person)))
                    for who in everyone(state)
                )
            )
        )


def _as_of(state: SessionState) -> float:
    return time.time() - (state.clock_offset or 0.0)
