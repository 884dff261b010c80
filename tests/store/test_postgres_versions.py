"""The store in every version of PostgreSQL that this machine has."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.journal.feed import Position
from actors.journal.session_filters import Filters
from bridge.lab.postgres_server import PrivatePostgres, all_postgres
from bridge.postgres.database_probe import probe_database
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_feed import PostgresFeed
from bridge.postgres.postgres_reader import open_database_reader
from tests.store.stored_history import History, prune_all


@pytest.mark.chaos
@pytest.mark.parametrize("programs", all_postgres(), ids=str)
async def test_a_store_works_in_each_version(programs: Path, tmp_path: Path) -> None:
    with PrivatePostgres.start(programs, tmp_path / "postgres") as server:
        url, history = server.url(), History(time.time())
        async with open_database_store(url, instance="w") as archive:
            history.add_ended(5)
            journal = history.begin()
            history.talk(journal, 3)
            await history.write_to(archive)
            history.talk(journal, 3)
            await history.write_to(archive)
            await prune_all(archive, time.time())
            with open_database_reader(url) as reader:
                assert [one.state for one in reader.live()] == [journal.state]
                page = reader.sessions(filters=Filters(room="team-?", person="person-4"))
                assert [row.id for row in page.sessions] == ["RM_4"]
            entries = (await PostgresFeed(url).after(Position({}), 10_000)).entries
            assert [one.room_sid for one in entries].count("RM_1") > 0
        probe = probe_database(url)
        assert (probe.is_tested, probe.sessions, probe.workers) == (True, 6, 0)
