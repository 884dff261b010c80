"""One person erased from a store (`room-actors forget`).

The row of each session, its state, its chunks, its rows in the journal, and its alerts are
rewritten without the person (`actors.session.erasure`).  Everything is looked through, not only
the sessions that list the person: a row may name somebody whom no list has.

It works beside running workers: each write is a short transaction.  Sessions that a worker may
still write are left, because it would write the person again: those that have not ended, those
that ended within `RECENT` (a webhook may correct them), and those that may be continued.

What differs between the databases is a port, `ErasableStore`.  `bridge.store.sqlite_erasure` and
`bridge.postgres.postgres_erasure` fill it.  One contract suite in the tests runs over both.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Final, Protocol, TypeAlias

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
from bridge.store.journal_rows import (
    compress,
    encode_journal_row,
    pack,
    pack_whole,
    unpack,
    unpack_chunk,
)
from bridge.store.list_rows import FORM, encode_row
from bridge.store.read_connection import ReadConnection

DAY: Final = 86_400.0
"""Seconds in which a worker may continue a session that ended before its room."""

Progress = Callable[[str], object]
Key: TypeAlias = tuple[object, ...]
"""Of a chunk of one session, or of a batch of the journal, in one database."""
NewChunk: TypeAlias = tuple[int, float, bytes]
"""The number of its first row, the time of its last, its bytes."""


class ErasableStore(Protocol):
    """A store that is read and written.  Every method may raise the database's error."""

    @property
    def reading(self) -> ReadConnection:
        """The connection, which also takes statements that write."""
        ...

    def transaction(self) -> AbstractContextManager[object]:
        """All statements in the block, or none."""
        ...

    def is_running(self) -> bool:
        """True if a worker runs."""
        ...

    def chunk_keys(self, session: int) -> list[tuple[int, Key]]:
        """Of each chunk of a session, in order: the number of its first row, and its key."""
        ...

    def chunk(self, key: Key) -> bytes | None:
        """The bytes of a chunk; None where it was dropped meanwhile."""
        ...

    def replace_chunk(self, session: int, key: Key, chunks: Sequence[NewChunk]) -> None:
        """Store these in the place of a chunk, unless it was dropped meanwhile."""
        ...

    def batch_keys(self) -> list[Key]:
        """The batches of the journal, in order."""
        ...

    def batch(self, key: Key) -> bytes | None:
        """The pack of a batch; None where it was dropped meanwhile."""
        ...

    def replace_batch(self, key: Key, packed: bytes) -> None:
        """Store this as the pack of a batch."""
        ...


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
    room_sids: tuple[str, ...] = ()
    """Room SIDs of the sessions that list the person."""


def person_names(db: ReadConnection, person: str) -> tuple[str, ...]:
    """All identities and person keys of a person, who is given by one of them."""
    names, new = set[str](), {cut_identity(person)}
    while new:
        names |= new
        rows = [_related(db, one) for one in new]
        new = {name for of_one in rows for name in of_one} - names
    return tuple(sorted(names))


def _related(db: ReadConnection, name: str) -> set[str]:
    rows = db.execute(
        f"SELECT identity, person FROM people WHERE {db.equals('identity')} "  # noqa: S608
        f"OR ({db.equals('person')} AND person != '')",
        (name, name),
    )
    # A database may compare hashes.
    return {one for row in rows if name in row for one in row if one}


def _person_rooms(db: ReadConnection, names: Sequence[str]) -> tuple[str, ...]:
    rooms = dict[str, None]()
    for name in names:
        rows = db.execute(
            "SELECT identity, person, room_sid FROM people JOIN sessions USING (session) "  # noqa: S608
            f"WHERE {db.equals('identity')} OR {db.equals('person')}",
            (name, name),
        )
        rooms.update((row[2], None) for row in rows if name in row[:2])
    return tuple(rooms)


def erase_names(store: ErasableStore, names: Sequence[str], progress: Progress) -> ErasureReport:
    """Erase everything with these identities and person keys."""
    report = ErasureReport(tuple(names), room_sids=_person_rooms(store.reading, names))
    _StoreErasure(store, frozenset(names), report).erase_all(progress)
    return report


def erase_journal(store: ErasableStore, names: Sequence[str]) -> None:
    """Erase these identities and person keys from a journal alone, which nobody writes."""
    _StoreErasure(store, frozenset(names), ErasureReport()).erase_journal()


@define
class _StoreErasure:
    """The store, and what is looked for in it."""

    store: ErasableStore
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

    @property
    def db(self) -> ReadConnection:
        return self.store.reading

    def erase_all(self, progress: Progress) -> None:
        """Erase the person from all sessions."""
        runs = self.store.is_running()
        numbers = [number for (number,) in self.db.execute("SELECT session FROM sessions")]
        settled = [number for number in numbers if self._is_settled(number, runs=runs)]
        self.left = set(numbers).difference(settled)
        for count, number in enumerate(settled):
            progress(f"session {count + 1} of {len(settled)}")
            try:
                self._erase_session(number)
            except Unreadable:
                self.report.unreadable += 1
        self.erase_journal()
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
        for first, key in self.store.chunk_keys(number):
            chunk = self.store.chunk(key)
            before = [] if chunk is None else unpack_chunk(chunk)
            after = [self._row(row) for row in before]
            if after != before:
                self.store.replace_chunk(number, key, list(_chunks_of(first, after)))
        body = self.db.execute("SELECT state FROM states WHERE session = ?", (number,)).fetchone()
        if body is None or not (self._is_listed(number) or self._has_needle(body[0])):
            return
        state = decode_state(body[0])
        without = erasure.state(state)
        if without != state or self._is_listed(number):
            self.changed.add(number)
            self._replace_state(number, without, erasure)

    def _replace_state(self, number: int, state: SessionState, erasure: Erasure) -> None:
        _, text = encode_row(state)
        with self.store.transaction():
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
        if not self.db.has_alerts():
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

    def erase_journal(self) -> None:
        """In batches that stay for the followers of the feed.  Their number and order stay."""
        for key in self.store.batch_keys():
            with suppress(Unreadable):
                before = self._rows_of(key)
                after = [row if row.session in self.left else self._row(row) for row in before]
                if after != before:
                    packed = pack_whole([encode_journal_row(row) for row in after])
                    self.store.replace_batch(key, packed)

    def _rows_of(self, key: Key) -> list[JournalRow]:
        packed = self.store.batch(key)
        return [] if packed is None else unpack(packed)

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
        for key in self.store.batch_keys():
            with suppress(Unreadable):
                rows = self._rows_of(key)
                sessions |= {row.session for row in rows if self._names_person(row)}
        return sessions

    def _open_room(self, number: int) -> LeftSession:
        sql = "SELECT room_sid, room FROM sessions WHERE session = ?"
        return LeftSession(*self.db.execute(sql, (number,)).fetchone())


def _chunks_of(first: int, rows: Sequence[JournalRow]) -> Iterator[NewChunk]:
    """These rows as chunks.  Pseudonyms may be longer than names: one chunk may become two."""
    begin = 0
    for count, packed in pack(list(map(encode_journal_row, rows))):
        key = rows[begin].seq if begin else first
        begin += count
        yield key, rows[begin - 1].at, compress(packed)
