"""`sessions`, `rooms` and `report`: the store's content, while a worker writes and after it ended.

They read the file in the data directory and nothing else.  They need no LiveKit server and no key,
and import neither trio nor the SDK.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from shutil import get_terminal_size
from tempfile import TemporaryFile
from typing import Final, TextIO, final

from actors.journal.session_filters import (
    CURSOR,
    Filters,
    WrongFilter,
    number,
    read_filters,
    read_value,
)
from actors.journal.session_reader import (
    BadCursor,
    SessionReader,
    SessionUnreadable,
    Timeline,
    newest_worker,
)
from actors.session import SessionRow, SessionView
from actors.session.time_text import rfc3339
from bridge.cli.command import Flags
from bridge.cli.reading_tables import (
    ROOMS,
    SESSIONS,
    local_time,
    print_rows,
    show_list,
    write_json,
)
from bridge.cli.report_text import EVENTS_SHOWN, print_report, timeline_drawing
from bridge.cli.store_access import StoreUnavailable, open_store_of
from bridge.cli.time_flags import with_times, wrong_flag
from bridge.config.settings import SettingsError
from bridge.config.values import BadValue, duration
from bridge.output.ascii_json import spaced_json
from bridge.output.csv_columns import PARTICIPANT_COLUMNS, SESSION_COLUMNS, as_csv, csv_parts
from bridge.output.durations import go_duration
from bridge.output.harmless import harmless

AT_ONCE: Final = 500
"""Sessions that are read from the store, and are in memory, at a time."""
LIMIT: Final = number("limit", "How many at most; without it, all.", 1, 1_000_000_000)
NAMED: Final = 3
"""Sessions that the error names when the requested one does not exist."""
EVERY: Final = 1.0
"""Seconds between two tables of `--watch`."""
_CLEAR: Final = "\x1b[H\x1b[2J"
_AROUND: Final = 5
"""Lines of a terminal that are not rooms."""


def filters_of(flags: Flags) -> Filters:
    """The filters that the flags name.  Raises `SettingsError`."""
    try:
        filters = read_filters(with_times(flags))
    except WrongFilter as error:
        raise wrong_flag(error) from None
    require_time_order(filters.since, filters.until)
    return filters


def require_time_order(since: float | None, until: float | None) -> None:
    """Raise `SettingsError` where no time can be in both."""
    if since is not None and until is not None and until < since:
        raise SettingsError("--until is before --since, so nothing can match: exchange them")


def sessions(flags: Flags) -> None:
    """Print the stored sessions that match the filters: all of them, or `--limit` of them.

    Raises `StoreUnavailable` and `SettingsError`; so do the others.
    """
    filters = filters_of(flags)
    try:
        limit = read_value(LIMIT, str(flags["limit"])) if "limit" in flags else None
        cursor = read_value(CURSOR, str(flags["cursor"])) if "cursor" in flags else None
    except WrongFilter as error:
        raise wrong_flag(error) from None
    with open_store_of(flags) as reader:
        listed = _Listed(reader, filters, cursor, limit)
        try:
            if "json" in flags:
                _stream_json(listed)
            elif "csv" in flags:
                for part in csv_parts(SESSION_COLUMNS, listed):
                    sys.stdout.write(part)
            else:
                _print_all(listed)
        except BadCursor:
            raise SettingsError("--cursor: give the `next` of an earlier list") from None
    if listed.next is not None:
        sys.stdout.flush()
        sys.stderr.write(f"older ones are left out: --cursor {listed.next} goes on there\n")


@final
class _Listed:
    """Sessions, the newest first, read from the store part by part.

    After the iteration `next` is the cursor of the sessions that `limit` left out, or None.
    """

    def __init__(
        self, reader: SessionReader, filters: Filters, cursor: str | None, limit: int | None
    ) -> None:
        self._reader = reader
        self._filters = filters
        self._left = limit
        self.next = cursor

    def __iter__(self) -> Iterator[SessionRow]:
        while True:
            size = AT_ONCE if self._left is None else min(AT_ONCE, self._left)
            page = self._reader.sessions(size, self.next, self._filters)
            self.next = page.next
            yield from page.sessions
            if self._left is not None:
                self._left -= len(page.sessions)
            if page.next is None or self._left == 0:
                return


def _stream_json(listed: _Listed) -> None:
    """The API's object, a session a line."""
    sys.stdout.write('{"sessions": [')
    separator = "\n"
    for row in listed:
        sys.stdout.write(separator + spaced_json(row))
        separator = ",\n"
    sys.stdout.write(f'\n], "next": {spaced_json(listed.next)}}}\n')


def _print_all(listed: _Listed) -> None:
    """Tables of at most `AT_ONCE` rows, below each other: a long list costs no memory."""
    rows = iter(listed)
    part = list(islice(rows, AT_ONCE))
    if not part:
        sys.stdout.write("none\n")
    while part:
        print_rows(SESSIONS, part)
        part = list(islice(rows, AT_ONCE))


def rooms(flags: Flags) -> None:
    """Print the live sessions that match the filters; with `--watch` again and again, until
    Ctrl-C."""
    filters = filters_of(flags)
    try:
        limit = read_value(LIMIT, str(flags["limit"])) if "limit" in flags else None
    except WrongFilter as error:
        raise wrong_flag(error) from None
    if not flags.keys() & {"watch", "every"}:
        _rooms(flags, filters, limit=limit)
        return
    if "csv" in flags:
        raise SettingsError("--csv and --watch: give one of them")
    try:
        every = duration(0.1, 86_400.0)(flags.get("every", EVERY))
    except BadValue as error:
        raise SettingsError(f"--every: {error}") from None
    show = _json_line if "json" in flags else _table_anew
    due = time.monotonic()
    with suppress(KeyboardInterrupt):
        while True:
            show(flags, filters, limit)
            sys.stdout.flush()
            due = max(due + every, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))


def _json_line(flags: Flags, filters: Filters, limit: int | None) -> None:
    with open_store_of(flags) as reader:
        worker, live = newest_worker(reader), reader.rooms(filters)[:limit]
    running = worker is not None and worker.running
    line = {"at": rfc3339(time.time()), "worker_running": running, "rooms": live}
    sys.stdout.write(spaced_json(line) + "\n")


def _table_anew(flags: Flags, filters: Filters, limit: int | None) -> None:
    """A table that in a terminal replaces the one before and fits into it; elsewhere one below
    the other."""
    terminal = sys.stdout.isatty()
    sys.stdout.write(f"{_CLEAR if terminal else ''}{local_time(time.time())}\n")
    sys.stdout.flush()
    most = max(get_terminal_size().lines - _AROUND, 1) if terminal else None
    _rooms(flags, filters, most, limit=limit)
    sys.stdout.write("" if terminal else "\n")


def _rooms(
    flags: Flags, filters: Filters, most: int | None = None, *, limit: int | None = None
) -> None:
    with open_store_of(flags) as reader:
        worker, live = newest_worker(reader), reader.rooms(filters)[:limit]
    if worker is not None and not worker.running:
        ago = go_duration(time.time() - worker.alive_at)
        sys.stderr.write(
            f"no worker runs here: this is as it was when one was last seen, "
            f"{local_time(worker.alive_at)} ({ago} ago)\n"
        )
    show_list(flags, {"rooms": live}, live[:most], ROOMS)
    if most is not None and len(live) > most:
        sys.stdout.write(f"and {len(live) - most} more: `top` scrolls\n")


def report(flags: Flags) -> None:
    """Print one session whole."""
    name = str(flags["session"]) if "session" in flags else None
    with open_store_of(flags) as reader:
        try:
            show = _report_of(reader, name, flags)
        except SessionUnreadable as error:
            raise StoreUnavailable(
                f"the stored data of this session cannot be read: {error}"
            ) from None
        if show is None:
            raise StoreUnavailable(_not_stored(reader, name))
    show()


def _report_of(reader: SessionReader, name: str | None, flags: Flags) -> Callable[[], None] | None:
    """The function that prints the report.  None where there is no such session.

    The store is read before anything is printed.  A reader that waits for a slow terminal would
    hold up the writer's checkpoints.
    """
    with reader.open_session(name) as session:
        if session is None:
            return None
        view, timeline = session.view, session.timeline
        if "csv" in flags:
            people = as_csv(PARTICIPANT_COLUMNS, view.participants)
            return lambda: _write(people)
        if "json" in flags:
            spool = TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 (closed by its garbage)
            write_json(spool.write, view, timeline)
            return lambda: _copy(spool)
        newest = (
            None if timeline is None else list(islice(timeline.backwards(), EVENTS_SHOWN))[::-1]
        )
        count, drawing = len(timeline or ()), list(timeline_drawing(view))
        talk = _conversation(view, timeline, flags)
    return lambda: print_report(view, drawing, newest, count, talk)


def _conversation(view: SessionView, timeline: Timeline | None, flags: Flags) -> Sequence[str]:
    """The lines of the session's conversations with agents."""
    if view.agents is None:
        return ()
    from bridge.cli.conversation_text import conversation_report
    from bridge.cli.transcript_reading import texts_of_session

    entries = [one for one in timeline or () if one.event.startswith("agent_")]
    return conversation_report(view, entries, texts_of_session(flags, view.id))


def _write(text: str) -> None:
    sys.stdout.write(text)


def _copy(spool: TextIO) -> None:
    with spool:
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout)


def _not_stored(reader: SessionReader, name: str | None) -> str:
    """The error where the requested session does not exist."""
    newest, count = reader.sessions(NAMED).sessions, ""
    if name is None or not newest:
        return "no session is kept yet"
    names = ", ".join(f"{harmless(row.room)} ({row.id})" for row in newest)
    with suppress(NotImplementedError):  # The API does not count.
        count = f"there are {reader.count()}, "
    return f"no session or room '{harmless(name)}' is kept; {count}the newest: {names}"
