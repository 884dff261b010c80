"""What `check` says of a database before a worker uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import StoreRefused
from bridge.cli.database_check import check_database
from bridge.lab.postgres_server import PrivatePostgres
from bridge.postgres.database_probe import probe_database
from bridge.postgres.postgres_archive import open_database_store


@contextmanager
def made(server: PrivatePostgres, make: str, drop: str) -> Iterator[None]:
    with psycopg.connect(server.url(), autocommit=True) as db:
        db.execute(make.encode())
        try:
            yield
        finally:
            db.execute(drop.encode())


def test_an_empty_database_is_fine_and_stays_empty(empty_database: str) -> None:
    probe = probe_database(empty_database)
    assert (probe.is_tested, probe.sessions, probe.workers) == (True, 0, 0)
    assert probe_database(empty_database) == probe
    assert check_database("store", empty_database).status == "ok"


async def test_a_user_without_rights_is_refused_with_the_way_out(
    postgres: PrivatePostgres, empty_database: str
) -> None:
    url = empty_database.replace("postgres@", "guest@")
    with made(postgres, "CREATE ROLE guest LOGIN", "DROP ROLE guest"):
        with pytest.raises(StoreRefused, match="GRANT CREATE ON DATABASE"):
            probe_database(url)
        async with open_database_store(empty_database, instance="w"):
            pass
        with pytest.raises(StoreRefused, match="may not write to the schema room_actors"):
            probe_database(url)
        async with open_database_store(url, instance="w") as archive:
            with pytest.raises(ArchiveTrouble, match="give this user the right CREATE"):
                await archive.load()
    row = check_database("store", url)
    assert row.status == "failed"
    assert "ROOM_ACTORS_DATABASE_URL" in row.do


async def test_a_database_that_is_not_utf8_is_refused(postgres: PrivatePostgres) -> None:
    make = (
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with made(postgres, make, "DROP DATABASE ascii WITH (FORCE)"):
        with pytest.raises(StoreRefused, match="make a database with UTF8"):
            probe_database(postgres.url("ascii"))
        with pytest.raises(StoreRefused, match="make a database with UTF8"):
            await open_database_store(postgres.url("ascii"), instance="w").__aenter__()


def test_a_database_that_is_not_there_is_told_with_the_way_out(postgres: PrivatePostgres) -> None:
    with pytest.raises(ArchiveTrouble, match="does not exist"):
        probe_database(postgres.url("nowhere"))
    with pytest.raises(ArchiveTrouble, match="refused"):
        probe_database("postgresql://alice:hunter2@127.0.0.1:1/nowhere")
