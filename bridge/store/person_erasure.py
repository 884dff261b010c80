"""One person erased from the store of a directory (`room-actors forget`).

The row of each session, its state, its chunks, its rows in the journal, and its alerts are
rewritten without the person (`actors.session.erasure`).  Everything is looked through, not only
the sessions that list the person: a row may name somebody whom no list has.

It works beside a running worker, which waits a second for a lock: each write is a short
transaction.  Sessions that a worker may still write are left, because it would write the person
again: those that have not ended, those that ended within `RECENT` (a webhook may correct them), and
those that may be continued.

Afterwards no byte is left in pages that were freed: SQLite overwrites them only where that costs
nothing (`secure_delete = FAST`).  So free pages are given back to the disk, and the write-ahead log
is copied and emptied.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, evolve, field, frozen

from actors.journal.archive import RECENT, JournalRow
from actors.session import SessionState
from actors.session.codec import (
    Unreadable,
    decode_entries,
    decode_record,
    decode_state,
    encode_entries,
    encode_record,
    encode_state,
)
from actors.session.end_reasons import CONTINUABLE
from actors.session.erasure import SHORTEST_WORD, Erasure
from actors.session.texts import cut_identity
from bridge.store.alert_rows import has_alerts
from bridge.store.directory_lock import lock_owner
from bridge.store.journal_rows import (
    compress,
    encode_journal_row,
    pack,
    pack_whole,
    unpack,
    unpack_chunk,
)
from bridge.store.list_rows import FORM, encode_row
from bridge.store.schema import FILE, transaction
from bridge.store.sqlite_reader import open_database
from bridge.store.store_errors import trouble_of

LOCK_SECONDS: Final = 10.0
"""Seconds to wait for the worker's lock."""
DAY: Final = 86_400.0
"""Seconds in which a worker may continue a session that ended before its room."""
_VACUUM: Final = 256
"""Pages that are given back to the disk at once: a megabyte."""
_TRIES: Final = 50
_PAUSE: Final = 0.1
"""Seconds between two tries to empty the log: somebody reads."""

Progress = Callable[[str], object]


@frozen
class LeftSession:
    """A session that was left as it is, because a worker may still write it."""

    session: str
    room: str


@define
class ErasureReport:
    """What was done in one store."""

    identities: tuple[str, ...] = ()
    """Identities and person keys of the person, as the store had them."""
    sessions: int = 0
    """Sessions that had the person."""
    records: int = 0
    """Records that were rewritten."""
    alerts: int = 0
    left: list[LeftSession] = field(factory=list[LeftSession])
    unreadable: int = 0
    """Sessions with something that cannot be read, and so was left as it is."""


def person_names(data_dir: Path, person: str) -> tuple[str, ...]:
    """All identities and person keys of a person, who is given by one of them.

    Raises as `open_database` does.
    """
    with open_database(data_dir) as db:
        names, new = set[str](), {cut_identity(person)}
        while new:
            names |= new
            rows = [_related(db, one) for one in new]
            new = {name for of_one in rows for name in of_one} - names
    return tuple(sorted(names))


def _related(db: sqlite3.Connection, name: str) -> set[str]:
    rows = db.execute(
        "SELECT identity, person FROM people WHERE identity = ?1 OR (person = ?1 AND person != '')",
        (name,),
    )
    return {one for row in rows for one in row if one}


def erase_person(data_dir: Path, names: Sequence[str], progress: Progress) -> ErasureReport:
    """Erase everything with these identities and person keys.

    Raises as `open_database` does.
    """
    path = data_dir / FILE
    with open_database(data_dir):
        pass  # It is ours, and of this version.
    report, runs = ErasureReport(tuple(names)), lock_owner(data_dir) is not None
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")
            store = _Store(db, frozenset(names), report)
            store.erase_all(progress, runs=runs)
            progress("giving free pages back to the disk")
            _clean(db, whole=not runs)
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error
    return report


def empty_log(db: sqlite3.Connection) -> bool:
    """Copy the write-ahead log into the file and cut it to nothing.  False where somebody reads
    all the time."""
    for _ in range(_TRIES):
        with suppress(sqlite3.OperationalError):
            if not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                return True
        time.sleep(_PAUSE)
    return False


def _clean(db: sqlite3.Connection, *, whole: bool) -> None:
    if whole:
        # It also rewrites the pages that stay, and needs the space of the file once more.
        with suppress(sqlite3.OperationalError):
            db.execute("VACUUM")
    before = -1
    while (free := db.execute("PRAGMA freelist_count").fetchone()[0]) not in (0, before):
        before = free
        db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()
    empty_log(db)


@define
class _Store:
    """The file, and what is looked for in it."""

    db: sqlite3.Connection
    names: frozenset[str]
    report: ErasureReport
    needles: tuple[bytes, ...] = field(init=False)
    erasures: dict[int, Erasure] = field(factory=dict[int, Erasure], init=False)
    """By session that has the person: each has pseudonyms of its own, so that nobody can follow
    the person over sessions."""
    left: set[int] = field(factory=set[int], init=False)
    """Sessions that a worker may still write."""
    changed: set[int] = field(factory=set[int], init=False)
    """Sessions in which something was replaced."""

    def __attrs_post_init__(self) -> None:
        # A short name is looked for with MessagePack's length before it: as bytes it is everywhere.
        self.needles = tuple(
            name.encode() if len(name) >= SHORTEST_WORD else msgspec.msgpack.encode(name)
            for name in self.names
        )

    def erase_all(self, progress: Progress, *, runs: bool) -> None:
        """Erase the person from all sessions.  `runs`: a worker may write meanwhile."""
        numbers = [number for (number,) in self.db.execute("SELECT session FROM sessions")]
        settled = [number for number in numbers if self._is_settled(number, runs=runs)]
        self.left = set(numbers).difference(settled)
        for count, number in enumerate(settled):
            progress(f"session {count + 1} of {len(settled)}")
            try:
                self._erase_session(number)
            except Unreadable:
                self.report.unreadable += 1
        self._erase_journal()
        self.report.sessions = len(self.changed)
        self.report.left = [self._open_room(n) for n in sorted(self.left) if self._has_person(n)]

    def _is_settled(self, number: int, *, runs: bool) -> bool:
        """No worker writes this session any more."""
        ended_at, reason = self.db.execute(
            "SELECT ended_at, end_reason FROM sessions WHERE session = ?", (number,)
        ).fetchone() or (None, None)
        if ended_at is None or not runs:
            return ended_at is not None
        return time.time() - ended_at > (DAY if reason in CONTINUABLE else RECENT)

    def _erasure(self, number: int) -> Erasure:
        if number not in self.erasures:
            names = {name: f"erased-{secrets.token_hex(6)}" for name in sorted(self.names)}
            self.erasures[number] = Erasure(names)
        return self.erasures[number]

    # ------------------------------------------------------------ one session

    def _erase_session(self, number: int) -> None:
        erasure = self._erasure(number)
        for first, chunk in self._chunks(number):
            before = unpack_chunk(chunk)
            after = [self._row(row) for row in before]
            if after != before:
                self._replace_chunk(number, first, after)
        body = self.db.execute("SELECT state FROM states WHERE session = ?", (number,)).fetchone()
        if body is None or not (self._is_listed(number) or self._has_needle(body[0])):
            return
        state = decode_state(body[0])
        without = erasure.state(state)
        if without != state or self._is_listed(number):
            self.changed.add(number)
            self._replace_state(number, without, erasure)

    def _chunks(self, number: int) -> Iterator[tuple[int, bytes]]:
        sql = "SELECT first FROM chunks WHERE session = ? ORDER BY first"
        for (first,) in self.db.execute(sql, (number,)).fetchall():
            row = self.db.execute(
                "SELECT lines FROM chunks WHERE session = ? AND first = ?", (number, first)
            ).fetchone()
            if row is not None:
                yield first, row[0]

    def _replace_chunk(self, number: int, first: int, rows: Sequence[JournalRow]) -> None:
        """In one transaction.  Pseudonyms may be longer than names: one chunk may become two."""
        chunks, begin = list[tuple[int, int, float, bytes]](), 0
        for count, packed in pack(list(map(encode_journal_row, rows))):
            key = rows[begin].seq if begin else first
            begin += count
            chunks.append((number, key, rows[begin - 1].at, compress(packed)))
        with transaction(self.db):
            before = self.db.execute(
                "DELETE FROM chunks WHERE session = ? AND first = ? RETURNING length(lines)",
                (number, first),
            ).fetchone()
            if before is None:  # It was too old, and was dropped meanwhile.
                return
            self.db.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", chunks)
            self.db.execute(
                "UPDATE sessions SET bytes = max(0, bytes + ?) WHERE session = ?",
                (sum(len(lines) for *_, lines in chunks) - before[0], number),
            )

    def _replace_state(self, number: int, state: SessionState, erasure: Erasure) -> None:
        _, text = encode_row(state)
        with transaction(self.db):
            self.db.execute(
                "UPDATE states SET state = ?, row = ?, form = ? WHERE session = ?",
                (encode_state(state), text, FORM, number),
            )
            listed = self.db.execute(
                "SELECT identity, person FROM people WHERE session = ?", (number,)
            ).fetchall()
            for identity, person in listed:
                if identity in self.names or person in self.names:
                    self.db.execute(
                        "UPDATE people SET identity = ?, name = '', person = ?"
                        " WHERE session = ? AND identity = ?",
                        (erasure.text(identity), erasure.text(person), number, identity),
                    )
            self._erase_alerts(number, erasure)

    def _erase_alerts(self, number: int, erasure: Erasure) -> None:
        if not has_alerts(self.db):
            return
        rows = self.db.execute(
            "SELECT number, person, text FROM alerts WHERE session = ?", (number,)
        ).fetchall()
        for key, person, text in rows:
            mine = person in self.names
            after = (erasure.text(person), "" if mine else erasure.text(text))
            if after != (person, text):
                self.report.alerts += 1
                self.db.execute(
                    "UPDATE alerts SET person = ?, text = ? WHERE number = ?", (*after, key)
                )

    # ------------------------------------------------------------ rows of the journal

    def _erase_journal(self) -> None:
        """In batches that stay for the followers of the feed.  Their number and order stay."""
        for (batch,) in self.db.execute("SELECT batch FROM journal ORDER BY batch").fetchall():
            stored = self.db.execute("SELECT lines FROM journal WHERE batch = ?", (batch,))
            packed = next((lines for (lines,) in stored), b"")
            with suppress(Unreadable):
                before = unpack(packed)
                after = [row if row.session in self.left else self._row(row) for row in before]
                if after != before:
                    lines = pack_whole([encode_journal_row(row) for row in after])
                    with transaction(self.db):
                        self.db.execute(
                            "UPDATE journal SET lines = ? WHERE batch = ?", (lines, batch)
                        )

    def _row(self, row: JournalRow) -> JournalRow:
        """The row without the person."""
        if not self._names_person(row):
            return row
        erasure = self._erasure(row.session)
        kind, body = encode_record(erasure.record(decode_record(row.kind, row.body)))
        entries = row.entries
        if entries:
            entries = encode_entries(map(erasure.entry, decode_entries(entries)))
        after = evolve(row, kind=kind, body=body, entries=entries)
        if after != row:
            self.report.records += 1
            self.changed.add(row.session)
        return after

    def _names_person(self, row: JournalRow) -> bool:
        return self._has_needle(row.body) or self._has_needle(row.entries)

    def _has_needle(self, body: bytes) -> bool:
        return any(needle in body for needle in self.needles)

    # ------------------------------------------------------------ what was left

    def _is_listed(self, number: int) -> bool:
        rows = self.db.execute("SELECT identity, person FROM people WHERE session = ?", (number,))
        return any(one in self.names for row in rows for one in row)

    def _has_person(self, number: int) -> bool:
        return self._is_listed(number) or number in self._of_newest()

    def _of_newest(self) -> set[int]:
        """Sessions whose newest rows name the person: a live one may have no checkpoint yet."""
        sessions = set[int]()
        for (packed,) in self.db.execute("SELECT lines FROM journal"):
            with suppress(Unreadable):
                sessions |= {row.session for row in unpack(packed) if self._names_person(row)}
        return sessions

    def _open_room(self, number: int) -> LeftSession:
        sql = "SELECT room_sid, room FROM sessions WHERE session = ?"
        return LeftSession(*self.db.execute(sql, (number,)).fetchone())
