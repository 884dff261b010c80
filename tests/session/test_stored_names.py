"""A store with names of an earlier version is read as if it had been written today."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, get_args

import attrs
import msgspec
import pytest

from actors.journal.archive import JournalRow
from actors.session import Record, SessionState, TimelineEntry, WebhookJoined, fold
from actors.session.codec import (
    decode_entries,
    decode_record,
    decode_state,
    encode_record,
    encode_state,
)
from actors.session.stored_names import NAMES, RENAMED_FIELDS, with_new_names
from bridge.store.journal_rows import unpack, unpack_chunk
from tests.session.every_record import BOB, RECORDS

STORES: Final = sorted((Path(__file__).parent / "stores").iterdir())
"""Stores with `RECORDS`, each written by the program of its time and never made anew.

`class_names`: records were stored under the names of their classes.  `tags`: under tags; the
fields had the old names.
"""


@pytest.fixture(params=STORES, ids=lambda path: path.name)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    file = tmp_path / "store.db"
    file.write_bytes(gzip.decompress(request.param.read_bytes()))
    with closing(sqlite3.connect(file)) as db:
        yield db


def folded() -> tuple[SessionState, list[list[TimelineEntry]]]:
    """The session of `RECORDS`, and the entries of each record."""
    state, timeline = None, list[list[TimelineEntry]]()
    for record in RECORDS:
        state, entries = fold(state, record)
        timeline.append(list(entries))
    assert state is not None
    return state, timeline


def rows(db: sqlite3.Connection) -> list[JournalRow]:
    """By number.  One that is in a chunk already may still be in the journal too."""
    found = [unpack(row) for (row,) in db.execute("SELECT lines FROM journal ORDER BY batch")]
    chunks = db.execute("SELECT lines FROM chunks ORDER BY first")
    found += [unpack_chunk(chunk) for (chunk,) in chunks]
    by_number = {row.seq: row for part in found for row in part}
    return [row for _, row in sorted(by_number.items())]


def test_every_record_and_its_entries_are_read_equal(store: sqlite3.Connection) -> None:
    stored = rows(store)
    _, timeline = folded()
    assert tuple(decode_record(row.kind, row.body) for row in stored) == RECORDS
    assert [list(decode_entries(row.entries)) if row.entries else [] for row in stored] == timeline


def _without_turns(state: SessionState) -> SessionState:
    """Turns of talk are newer than these stores."""
    present = {one: attrs.evolve(person, turns=None) for one, person in state.present.items()}
    past = state.past
    for person in tuple(past.values()):
        past = past.put(person.identity, attrs.evolve(person, turns=None))
    return attrs.evolve(state, present=present, past=past)


def test_the_state_is_read_equal_with_all_that_it_has(store: sqlite3.Connection) -> None:
    ((body,),) = store.execute("SELECT state FROM states").fetchall()
    state = _without_turns(folded()[0])
    read = decode_state(body)
    assert read == state
    assert type(read) is SessionState
    assert len(read.deferred) == 2
    assert read.present["bob"].pending_leave_since is not None
    assert any(join.end_from_webhook for one in read.past.values() for join in one.joins)
    assert read.truncated.dropped == 13
    assert fold(read, RECORDS[-1]) == fold(state, RECORDS[-1])


def test_the_session_has_every_kind_of_record_that_was_stored_then() -> None:
    assert {type(record) for record in RECORDS} <= set(get_args(Record))
    assert len({type(record) for record in RECORDS}) == 41


def test_each_old_name_is_one_of_an_earlier_version_and_each_new_one_is_a_field() -> None:
    for kind, names in RENAMED_FIELDS.items():
        fields = {field.name for field in attrs.fields(kind)}
        assert set(names.values()) <= fields
        assert not set(names) & (fields - set(names.values()))


def test_a_renamed_field_of_a_record_has_no_default() -> None:
    """A body with the old name is recognised by the field that it lacks."""
    for kind in set(RENAMED_FIELDS) & set(get_args(Record)):
        fields = attrs.fields_dict(kind)
        assert all(fields[new].default is attrs.NOTHING for new in RENAMED_FIELDS[kind].values())


def test_a_body_of_today_has_no_old_name() -> None:
    state, _ = folded()
    version, body = msgspec.msgpack.decode(encode_state(state))
    assert version == NAMES
    # Where no rule is, no track was measured and no agent came, a store has nothing of them.
    fields = {field.name for field in attrs.fields(SessionState)}
    assert set(body) == fields - {"rules", "track_stats", "agents"}
    assert with_new_names(SessionState, body)["deferred"] == body["deferred"]


def test_a_record_that_lacks_more_than_a_name_stays_unreadable() -> None:
    tag, body = encode_record(WebhookJoined(1.0, 2.0, BOB))
    fields = msgspec.msgpack.decode(body)
    del fields["participant"]
    with pytest.raises(ValueError, match="participant"):
        decode_record(tag, msgspec.msgpack.encode(fields))
