"""`sessions`, `rooms` and `report`: what the store has, while a worker writes and after.

They read the file in the data directory and nothing else, need no LiveKit server and no
key, and import neither trio nor the SDK.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias, final

from actors.journal.archive import ArchiveTrouble
from bridge.config.settings import BY_NAME, SettingsError, data_dir_of
from bridge.config.values import BadValue, duration
from bridge.output.csv_columns import PERSON_COLUMNS, SESSION_COLUMNS, as_csv, csv_parts
from bridge.output.harmless import harmless
from bridge.output.text import go_duration, key_values, plain
from bridge.store.filters import CURSOR, Filters, WrongFilter, number, read_filters, read_value
from bridge.store.reader import (
    BadCursor,
    NoStore,
    Reader,
    SessionUnreadable,
    open_reader,
)
from bridge.store.store_errors import StoreRefused

if TYPE_CHECKING:
    from rich.text import Text

Flags: TypeAlias = Mapping[str, object]
Json: TypeAlias = dict[str, Any]

AT_ONCE: Final = 500
"""Sessions that are read from the store, and held in memory, at a time."""
LIMIT: Final = number("limit", "How many at most; without it, all.", 1, 1_000_000_000)
NAMED: Final = 3
"""Sessions that are named to somebody who asked for one that is not there."""
EVERY: Final = 1.0
"""Seconds between two tables of `--watch`."""
_CLEAR: Final = "\x1b[H\x1b[2J"
_AROUND: Final = 5
"""Lines of a terminal that are for more than rooms."""
GAPS: Final = 5
"""Newest ones that the report for people has."""
EVENTS: Final = 25
"""Newest ones that the report for people has."""


class StoreUnavailable(Exception):
    """There is nothing to show.  One line, exit code 1."""


def sessions(flags: Flags) -> None:
    """What is kept, as far as the filters want it: all of it, or `--limit` of it.

    Raises `StoreUnavailable` and `SettingsError`; so do the others.
    """
    try:
        filters = read_filters(flags)
        limit = read_value(LIMIT, str(flags["limit"])) if "limit" in flags else None
        cursor = read_value(CURSOR, str(flags["cursor"])) if "cursor" in flags else None
    except WrongFilter as error:
        raise SettingsError(f"--{error}") from None
    with _store(flags) as reader:
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

    `next` is known when all were taken: the cursor of what `limit` left out, or None.
    """

    def __init__(
        self, reader: Reader, filters: Filters, cursor: str | None, limit: int | None
    ) -> None:
        self._reader = reader
        self._filters = filters
        self._left = limit
        self.next = cursor

    def __iter__(self) -> Iterator[Json]:
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
        sys.stdout.write(separator + _ascii(json.dumps(row)))
        separator = ",\n"
    sys.stdout.write(f'\n], "next": {json.dumps(listed.next)}}}\n')


def _print_all(listed: _Listed) -> None:
    """Tables of at most `AT_ONCE` rows, below each other: a long list costs no memory."""
    rows = iter(listed)
    part = list(islice(rows, AT_ONCE))
    if not part:
        sys.stdout.write("none\n")
    while part:
        _print_rows(_SESSIONS, part)
        part = list(islice(rows, AT_ONCE))


def rooms(flags: Flags) -> None:
    """The sessions that are live, as far as the filters want them; with `--watch` again and
    again, until Ctrl-C."""
    try:
        filters = read_filters(flags)
    except WrongFilter as error:
        raise SettingsError(f"--{error}") from None
    if not flags.keys() & {"watch", "every"}:
        _rooms(flags, filters)
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
            show(flags, filters)
            sys.stdout.flush()
            due = max(due + every, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))


def _json_line(flags: Flags, filters: Filters) -> None:
    with _store(flags) as reader:
        worker, live = reader.worker(), reader.rooms(filters)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    running = worker is not None and worker.running
    line = {"at": now, "worker_running": running, "rooms": live}
    sys.stdout.write(_ascii(json.dumps(line)) + "\n")


def _table_anew(flags: Flags, filters: Filters) -> None:
    """In a terminal instead of the one before, and no longer than it; elsewhere below it."""
    terminal = sys.stdout.isatty()
    sys.stdout.write(f"{_CLEAR if terminal else ''}{_local(time.time())}\n")
    sys.stdout.flush()
    most = max(get_terminal_size().lines - _AROUND, 1) if terminal else None
    _rooms(flags, filters, most)
    sys.stdout.write("" if terminal else "\n")


def _rooms(flags: Flags, filters: Filters, most: int | None = None) -> None:
    with _store(flags) as reader:
        worker, live = reader.worker(), reader.rooms(filters)
    if worker is not None and not worker.running:
        ago = go_duration(time.time() - worker.alive_at)
        sys.stderr.write(
            f"no worker runs here: this is as it was when one was last seen, "
            f"{_local(worker.alive_at)} ({ago} ago)\n"
        )
    _show(flags, {"rooms": live}, live[:most], _ROOMS)
    if most is not None and len(live) > most:
        sys.stdout.write(f"and {len(live) - most} more: `top` scrolls\n")


def report(flags: Flags) -> None:
    """One session whole."""
    name = str(flags["session"]) if "session" in flags else None
    with _store(flags) as reader:
        try:
            show = _report_of(reader, name, flags)
        except SessionUnreadable as error:
            raise StoreUnavailable(
                f"what is kept of this session cannot be read: {error}"
            ) from None
        if show is None:
            raise StoreUnavailable(_there_is(reader, name))
    show()


def _report_of(reader: Reader, name: str | None, flags: Flags) -> Callable[[], None] | None:
    """What prints the report.  None where there is no such session.

    The store is read before anything is printed: who reads it for as long as a slow terminal
    takes holds up its writer's checkpoints.
    """
    with reader.open_session(name) as session:
        if session is None:
            return None
        timeline = session["timeline"]
        if "csv" in flags:
            people = as_csv(PERSON_COLUMNS, session["participants"])
            return lambda: _write(people)
        if "json" in flags:
            spool = TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 (closed by its garbage)
            _write_json(spool.write, session, timeline)
            return lambda: _copy(spool)
        newest = None if timeline is None else list(islice(timeline.backwards(), EVENTS))[::-1]
        count, drawing = len(timeline or ()), list(_drawing(session))
    return lambda: _print_report(session, drawing, newest, count)


def _write(text: str) -> None:
    sys.stdout.write(text)


def _copy(spool: TextIO) -> None:
    with spool:
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout)


# ---------------------------------------------------------------- the store


@contextmanager
def _store(flags: Flags) -> Generator[Reader, None, None]:
    if "json" in flags and "csv" in flags:
        raise SettingsError("--json and --csv: give one of them")
    # Names may have characters that the terminal's encoding lacks.
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    directory = data_dir_of(flags)
    try:
        with open_reader(directory) as reader:
            yield reader
    except NoStore:
        raise StoreUnavailable(no_store(directory)) from None
    except (StoreRefused, ArchiveTrouble) as error:
        raise StoreUnavailable(str(error)) from None


def no_store(directory: Path) -> str:
    """What to say where no session was ever kept."""
    row = BY_NAME["data-dir"]
    return (
        f"no sessions are kept in {directory}: name the directory of the worker by {row.how()}, "
        "or start one"
    )


def _there_is(reader: Reader, name: str | None) -> str:
    """What to say where the session that was asked for is not there."""
    if name is None:
        return "no session is kept yet"
    newest = reader.sessions(NAMED).sessions
    there = ", ".join(f"{harmless(row['room'])} ({row['id']})" for row in newest)
    return (
        f"no session or room '{harmless(name)}' is kept; there are {reader.count()}, "
        f"the newest: {there or 'none'}"
    )


# ---------------------------------------------------------------- lists

_FORMATS: Final = frozenset(("json", "csv"))


def _show(flags: Flags, whole: Json, rows: Sequence[Json], columns: Mapping[str, _Cell]) -> None:
    if "json" in flags:
        _print_json(whole)
    elif "csv" in flags:
        sys.stdout.write(as_csv(SESSION_COLUMNS, rows))
    elif rows:
        _print_rows(columns, rows)
    else:
        sys.stdout.write("none\n")


def _print_json(value: Json) -> None:
    sys.stdout.write(_ascii(json.dumps(value, indent=1)) + "\n")


def _write_json(
    write: Callable[[str], object], session: Json, timeline: Iterable[Json] | None
) -> None:
    """A session as `_print_json` prints it, its timeline entry by entry: it may be long."""
    last = {"timeline": None}
    others = {key: value for key, value in session.items() if key not in last}
    head = _ascii(json.dumps({**others, **last}, indent=1))
    if timeline is None:
        write(head + "\n")
        return
    write(head.removesuffix("null\n}") + "[")
    between = "\n  "
    for entry in timeline:
        write(between + _ascii(json.dumps(entry, indent=1).replace("\n", "\n  ")))
        between = ",\n  "
    write("]\n}\n" if between == "\n  " else "\n ]\n}\n")


def _ascii(text: str) -> str:
    """JSON, which is ASCII already, with nothing in it that a terminal obeys."""
    return text.replace("\x7f", "\\u007f")


def _print_rows(columns: Mapping[str, _Cell], rows: Sequence[Json]) -> None:
    from bridge.output.table import print_table

    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


_Cell: TypeAlias = Callable[[Json], str]


def _value(value: object) -> str:
    return "-" if value is None else plain(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else go_duration(value)


def _time(rfc3339: str | None) -> str:
    """In this machine's time zone, to the second."""
    return "-" if rfc3339 is None else _local(datetime.fromisoformat(rfc3339).timestamp())


def _clock(rfc3339: str | None) -> str:
    """The same without its date: within a report, whose head has it."""
    return _time(rfc3339)[-8:]


def _local(seconds: float) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(seconds))


def _count(row: Json, of: str, key: str) -> str:
    return _value(None if row[of] is None else row[of][key])


def _left(person: Json) -> str:
    last = person["joins"][-1] if person["joins"] else None
    if last is None or last["left_at"] is None:
        return "-"
    within = last["left_within"]
    about = f"±{within:.0f}s" if within is not None and within >= 1 else None
    never = None if last["active"] else "never took part"
    rang = person["sip"] and person["sip"]["ringing_seconds"]
    call = f"rang {_seconds(rang)}" if rang else None
    parts = (_clock(last["left_at"]), about, last["leave_reason"], never, call)
    return " ".join(filter(None, parts))


def _quality(seconds: Json) -> str:
    known = {level: held for level, held in seconds.items() if held}
    total = sum(known.values())
    return ", ".join(f"{level} {held / total:.0%}" for level, held in known.items()) or "-"


_SESSIONS: Final[Mapping[str, _Cell]] = {
    "session": lambda row: row["id"] or "-",
    "room": lambda row: row["room"],
    "status": lambda row: row["end_reason"] or row["status"],
    "started": lambda row: _time(row["started_at"])[:-3],
    "duration": lambda row: _seconds(row["duration"]),
    "watched": lambda row: f"{row['coverage']:.0%}",
    "people": lambda row: _count(row, "people", "unique"),
    "messages": lambda row: _count(row, "data_messages", "total"),
}
_ROOMS: Final[Mapping[str, _Cell]] = {
    "room": lambda row: row["room"],
    "session": lambda row: row["id"] or "-",
    "since": lambda row: _time(row["started_at"])[:-3],
    "duration": lambda row: _seconds(row["duration"]),
    "watched": lambda row: f"{row['coverage']:.0%}",
    "people": lambda row: _count(row, "people", "current"),
    "tracks": lambda row: _count(row, "track_counts", "current"),
    "messages": lambda row: _count(row, "data_messages", "total"),
}
"""People and tracks are those that are there now."""
_PEOPLE: Final[Mapping[str, _Cell]] = {
    "identity": lambda person: person["identity"],
    "name": lambda person: person["name"] or "-",
    "kind": lambda person: person["kind"],
    "joined": lambda person: _clock(person["joins"][0]["joined_at"] if person["joins"] else None),
    "left": _left,
    "joins": lambda person: str(sum(join["active"] for join in person["joins"])),
    "present": lambda person: _seconds(person["seconds"]),
    "talked": lambda person: _seconds(person["talk_seconds"]),
    "messages": lambda person: _value(person["data_messages"]),
    "quality": lambda person: _quality(person["quality"]),
}


def _people_columns(people: Sequence[Json]) -> Mapping[str, _Cell]:
    """Who is whom, and who called whom, only where there is something to tell."""
    columns = dict(_PEOPLE)
    if any(person["person"] != person["identity"] for person in people):
        named = {"identity": columns.pop("identity"), "person": lambda person: person["person"]}
        columns = {**named, **columns}
    if any(person["sip"] for person in people):
        columns["call"] = _call
    return columns


def _call(person: Json) -> str:
    call = person["sip"]
    if not call:
        return "-"
    return f"{call['from'] or '?'} to {call['to'] or '?'}"


_TRACKS: Final[Mapping[str, _Cell]] = {
    "track": lambda track: track["sid"],
    "by": lambda track: track["identity"],
    "source": lambda track: track["source"],
    "published": lambda track: _clock(track["published_at"]),
    "unpublished": lambda track: _clock(track["unpublished_at"]),
    "muted": lambda track: _seconds(track["muted_seconds"]),
}
_RECORDINGS: Final[Mapping[str, _Cell]] = {
    "recording": lambda one: one["id"] or "-",
    "kind": lambda one: one["kind"] or "-",
    "started": lambda one: _clock(one["started_at"]),
    "ended": lambda one: _clock(one["ended_at"]),
    "status": lambda one: one["status"] or "-",
    "file": lambda one: one["file"] or one["error"] or "-",
}
_EVENTS: Final[Mapping[str, _Cell]] = {
    "at": lambda entry: _clock(entry["at"]),
    "event": lambda entry: entry["event"],
    "": lambda entry: key_values(
        {key: value for key, value in entry.items() if key not in ("at", "event") and value}
    ),
}


# ---------------------------------------------------------------- report


def _print_report(
    session: Json, drawing: Sequence[Text], newest: Sequence[Json] | None, count: int
) -> None:
    from bridge.output.table import print_lines

    lines = {
        "Session": f"{session['id'] or '-'} of room {harmless(session['room'])}",
        "Status": session["end_reason"] or session["status"],
        "Time": f"{_time(session['started_at'])} to {_time(session['ended_at'])}"
        f" ({_seconds(session['duration'])}), watched {session['coverage']:.0%} of it"
        f"{_entered(session['entered_after'])}",
        "Unwatched": _gaps(session["gaps"]),
        "Clock": _offset(session["clock_offset"]),
        "People": _counts(session["people"])
        + f"; present {_seconds(session['people_seconds'])} in all",
        "Tracks": _counts(session["track_counts"]),
        "Messages": _messages(session),
        "Quality": _quality(session["quality"]),
        "Talk": _seconds(session["talk"]["seconds"]),
        "Metadata": harmless(session["metadata"] or "-"),
    }
    if session["encrypted"]:
        lines["Encrypted"] = "end to end"
    sys.stdout.write("".join(f"{name:<10}{line}\n" for name, line in lines.items()))
    sys.stdout.write("\nTimeline\n")
    print_lines(drawing)
    _print_part("People", _people_columns(session["participants"]), session["participants"])
    _print_part("Tracks", _TRACKS, session["tracks"])
    _print_part("Recordings", _RECORDINGS, session["recordings"] or ())
    if newest is None:
        sys.stdout.write("\nIts events are not kept any more.\n")
        return
    all_of_it = f"the last {len(newest)} of {count}, --json has all"
    title = "Events" if len(newest) == count else f"Events ({all_of_it})"
    _print_part(title, _EVENTS, newest)


def _messages(session: Json) -> str:
    counts = dict(session["data_messages"] or {})
    if not counts:
        return "unknown: the room is encrypted end to end"
    more = " (or more)" if counts.pop("lower_bound") else ""
    return _counts(counts) + more


def _entered(after: float | None) -> str:
    return f", entered {_seconds(after)} after the first person" if after else ""


def _gaps(gaps: Sequence[Json]) -> str:
    """The newest ones, with their reasons."""
    shown = [
        f"{_clock(gap['from'])} to {_clock(gap['to']) if gap['to'] else 'now'} ({gap['reason']})"
        for gap in gaps[-GAPS:]
    ]
    more = f"{len(gaps) - GAPS} before, " if len(gaps) > GAPS else ""
    return more + ", ".join(shown) or "-"


def _offset(seconds: float | None) -> str:
    if seconds is None:
        return "not compared with LiveKit's"
    if abs(seconds) < 0.001:
        return "times are LiveKit's; the worker's clock agreed with it"
    side = "ahead of" if seconds > 0 else "behind"
    return f"times are LiveKit's; the worker's clock was {abs(seconds):.3f} s {side} it"


def _drawing(session: Json) -> Iterator[Text]:
    from bridge.output.timeline_text import ASCII, UNICODE, draw

    glyphs = UNICODE
    try:
        UNICODE.all.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        glyphs = ASCII
    return draw(session, get_terminal_size().columns, glyphs)


def _counts(counts: Json) -> str:
    """`current 1, peak 2, by_source microphone=1, camera=1`."""
    return ", ".join(
        f"{name} {harmless(_value(count))}" for name, count in counts.items() if count != {}
    )


def _print_part(title: str, columns: Mapping[str, _Cell], rows: Sequence[Json]) -> None:
    if rows:
        sys.stdout.write(f"\n{title}\n")
        _print_rows(columns, rows)
