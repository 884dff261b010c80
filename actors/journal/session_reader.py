"""The border between stored sessions and everything that shows them: what a reader must offer.

SQLite and PostgreSQL fill this port (`bridge.store.sql_reader`).  One contract suite in the tests
runs over each implementation.  The API, the pages and the commands know this module only.  They get
an `OpenReader` from the composition (`bridge.app.session_source`).

A reader never writes and never delays the writer.  It shows a live session as of now: the
newest checkpoint with the journal rows after it folded in.  Where no worker runs, it shows the
session as of the worker's last sign of life.

This module imports neither trio nor a database, so a command that reads starts fast.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Literal, Protocol, TypeAlias, final

from attrs import frozen
from msgspec.structs import replace

from actors.journal.alert_history import ALL_ALERTS, AlertFilters, AlertPage
from actors.journal.session_filters import ALL, Filters
from actors.session import EntryView, SessionRow, SessionState, SessionView


class NoStore(Exception):
    """No session was ever stored there.  The text says where."""


class StoreRefused(Exception):
    """The store is not ours to use.  The text says whose it is, and what to do."""


class SessionUnreadable(ValueError):
    """The session is there, but its stored state cannot be read."""


class BadCursor(ValueError):
    """No page gave this cursor."""


@frozen
class SessionPage:
    """A part of a list, the newest session first."""

    sessions: list[SessionRow]
    next: str | None
    """The cursor of the page after this.  None: this is the last one."""


@frozen
class Day:
    """Totals of the sessions that began on one day."""

    date: str
    """ISO 8601, in UTC."""
    sessions: int
    people_seconds: float
    peak: int
    """The highest number of people who were in one room at the same time."""


WorkerState: TypeAlias = Literal["running", "ended", "lost"]


@frozen
class WorkerRow:
    """A worker that writes to the store, or wrote to it."""

    instance: str
    """Its id, the same after a restart."""
    pid: int
    started_at: float
    """Unix seconds."""
    alive_at: float
    """Unix seconds of its last sign of life."""
    running: bool
    name: str = ""
    """As users know it; empty where it did not say it, as in a store of one worker."""
    version: str = ""
    """Of its program."""
    url: str = ""
    """Where its page is."""
    rooms: int = 0
    """Rooms that it is in, or on the way into."""
    max_rooms: int = 0
    """0: no limit, or not known."""
    load: float = 0.0
    """From 0 to 1."""
    draining: bool = False
    """It takes no room any more."""

    @property
    def state(self) -> WorkerState:
        """True while it runs.  A worker that ends in order drains first; another one is lost."""
        return "running" if self.running else "ended" if self.draining else "lost"


@frozen
class LiveSession:
    """A live session as of its newest journal row."""

    number: int
    """Its key in the store."""
    state: SessionState
    seq: int
    """Of that row."""
    lost: int
    """Rows of it that were dropped."""


@frozen
class TimelinePage:
    """A part of a timeline."""

    entries: list[EntryView] | None
    """None: the timeline is not stored any more."""
    next: str | None
    """The cursor of the page after this.  None: this is the last one."""


class Timeline(Collection[EntryView], Protocol):
    """The timeline of one session.  It may be larger than memory, so it is read in pieces."""

    def __iter__(self) -> Iterator[EntryView]:
        """All entries, the oldest first.  It leaves out those that cannot be read."""
        ...

    def backwards(self) -> Iterator[EntryView]:
        """All entries, the newest first."""
        ...

    def page(self, limit: int, cursor: str | None = None) -> TimelinePage:
        """At most `limit` entries, and a bounded number of bytes.  Raises `BadCursor`."""
        ...


@frozen
class OpenSession:
    """One session whole, within the block of `SessionReader.open_session`."""

    view: SessionView
    """Its `timeline` is the one below."""
    timeline: Timeline | None
    """To be read within the block.  None: the timeline is not stored any more."""


class SessionReader(Protocol):
    """Reads the stored sessions.  One thread at a time may use it.

    Every method may raise `ArchiveTrouble` (`actors.journal.archive`).
    """

    def workers(self) -> list[WorkerRow]:
        """The workers: those that run, then the others, each with the newest start first.

        Empty: none has written yet.

        A store with one writer gives the one that wrote last.
        """
        ...

    def count(self) -> int:
        """The number of stored sessions."""
        ...

    def sessions(
        self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL
    ) -> SessionPage:
        """One page of the sessions that the filters describe.

        The order is that in which sessions were stored first, the newest first.  It does not
        change while a session lives, so a cursor stays valid.  Raises `BadCursor`.
        """
        ...

    def alerts(
        self, limit: int = 50, cursor: str | None = None, filters: AlertFilters = ALL_ALERTS
    ) -> AlertPage:
        """One page of the alerts that fired, the newest first; those that fire still have no end.

        Raises `BadCursor`.
        """
        ...

    def rooms(self, filters: Filters = ALL) -> list[SessionRow]:
        """The live sessions that the filters describe, the newest first."""
        ...

    def days(self, first: date, last: date, filters: Filters = ALL) -> list[Day]:
        """Totals of each day (UTC) from the first through the last, also of days without any.

        Filters by people, quality and person may see a live session some seconds late.
        """
        ...

    def live(self) -> list[LiveSession]:
        """All live sessions that can be read, as states, the newest first.

        The next call of the same reader reads only what was written since.
        """
        ...

    def session(self, name: str | None = None) -> SessionView | None:
        """The same as `open_session`, with the whole timeline in memory."""
        ...

    def open_session(self, name: str | None = None) -> AbstractContextManager[OpenSession | None]:
        """One session with all that belongs to it.  None: there is no such session.

        `name` is a session's id or a room's name; of a room it gives the live session that
        began last, else the newest one.  None means all rooms.

        Raises `SessionUnreadable`.
        """
        ...

    def damage(self) -> str | None:
        """Read the whole store.  Gives what is wrong with it, or None."""
        ...


OpenReader: TypeAlias = Callable[[], AbstractContextManager[SessionReader]]
"""Opens the store.  Raises `NoStore`, `StoreRefused` and `ArchiveTrouble`, the last one also from
within the block."""


def newest_worker(reader: SessionReader) -> WorkerRow | None:
    """The running worker that started last, or else the last one; None if none has written yet."""
    return next(iter(reader.workers()), None)


def whole_view(session: OpenSession) -> SessionView:
    """The view with the timeline, if that is kept."""
    if session.timeline is None:
        return session.view
    return replace(session.view, timeline=tuple(session.timeline))


@final
class ListedTimeline:
    """A timeline that is in memory.  See `Timeline`."""

    def __init__(self, entries: Sequence[EntryView]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[EntryView]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: object) -> bool:
        return entry in self._entries

    def backwards(self) -> Iterator[EntryView]:
        """See `Timeline`."""
        return reversed(self._entries)

    def page(self, limit: int, cursor: str | None = None) -> TimelinePage:
        """See `Timeline`.  A cursor is the number of entries before it."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise BadCursor("this is not a cursor of a timeline")
        begin = 0 if cursor is None else int(cursor)
        end = begin + limit
        more = end < len(self._entries)
        return TimelinePage(list(self._entries[begin:end]), str(end) if more else None)
