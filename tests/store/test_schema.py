"""The versions of the file: each step, and what an earlier version wrote."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from bridge.output.csv_columns import SESSION_COLUMNS, as_csv
from bridge.store import list_rows as rows_of_store
from bridge.store import retention, schema, writer
from bridge.store.schema import FILE, STEPS, VERSION
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.session.session_story import as_json
from tests.store.stored_history import times

V1 = Path(__file__).with_name("v1.db.gz")
"""A store as the first version left it: one session over, one with rows after its
checkpoint.  Never made anew."""


def put_v1(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / FILE).write_bytes(gzip.decompress(V1.read_bytes()))


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w") as archive:
        (stored,) = [one for one in (await archive.load()).sessions if not one.state.ended]
    with open_reader(data_dir) as reader:
        assert reader.count() == 2
        session = reader.session("atlas")
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        assert schema.version_of(db) == VERSION
    assert (stored.state.room, stored.state.messages.total) == ("atlas", 8)
    assert session is not None
    assert [person.identity for person in session.participants] == ["alice", "bob"]
    assert times(session, "data_message") == 8


async def test_rows_of_the_first_version_have_all_keys_of_today_s(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w"):
        pass
    with open_reader(data_dir) as reader:
        rows = reader.sessions().sessions
        assert len(rows) == 2
        for row in rows:
            json = as_json(row)
            assert json.keys() == rows_of_store._EMPTY.keys()
            people = cast("dict[str, object]", rows_of_store._EMPTY["people"])
            assert json["people"].keys() == people.keys()
            whole = reader.session(row.id)
            assert whole is not None
            assert {key: as_json(whole)[key] for key in json} == json
        lines = as_csv(SESSION_COLUMNS, rows).splitlines()
        assert len(lines) == 3


async def test_a_row_of_another_form_without_a_state_lacks_nothing(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w"):
        pass
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        db.execute("UPDATE states SET state = x'00', form = 'other'")
        db.commit()
    with open_reader(data_dir) as reader:
        rows = reader.sessions().sessions
    assert as_csv(SESSION_COLUMNS, rows).count("\n") == 3
    assert all(as_json(row).keys() == rows_of_store._EMPTY.keys() for row in rows)


def test_each_step_is_taken_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    schema.open_for_writing(path).close()
    more = (*STEPS, "ALTER TABLE runs ADD COLUMN host TEXT;\nCREATE TABLE fresh (x)")
    for _ in range(2):
        with closing(schema.open_for_writing(path, more)) as db:
            assert schema.version_of(db) == VERSION + 1
    torn = (*more, "CREATE TABLE half (x);\nCREATE TABLE fresh (x)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.open_for_writing(path, torn)
    with closing(schema.open_for_writing(path, more)) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def test_what_every_start_and_every_step_of_pruning_asks_has_an_index(tmp_path: Path) -> None:
    queries = {
        writer._CONTINUABLE_SESSIONS: ("sessions_continued",),
        "SELECT session FROM sessions WHERE ended_at IS NULL": ("sessions_active",),
        retention._LARGEST_SESSION: ("sessions_by_bytes",),
        retention._FIRST_ENDED: ("sessions_in_order",),
        retention._OLDEST_CHUNK: ("sessions_with_lines", "PRIMARY KEY"),
    }
    with closing(schema.open_for_writing(tmp_path / FILE)) as db:
        for query, indexes in queries.items():
            values: dict[str, int] | tuple[int, ...] = (1,) * query.count("?")
            if ":before" in query:
                values = {"number": 1, "before": 1}
            plan = str(db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall())
            assert "SCAN sessions'" not in plan
            for index in indexes:
                assert index in plan
