"""A PostgreSQL for the tests: one server for a process of tests, started by the first that asks.

The driver is imported by the tests that use it only.

Without a PostgreSQL these tests fail where CI is set; elsewhere they are named as not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bridge.lab.postgres_server import PrivatePostgres, find_postgres
from tests.closing import NO_POSTGRES, not_run

NAME = "sessions"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres | None]:
    programs = find_postgres()
    if programs is None:
        yield None
        return
    base = tmp_path_factory.getbasetemp()
    # The processes of one run are beside each other.
    clusters = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clusters"
    folder = tmp_path_factory.mktemp("postgres")
    with PrivatePostgres.start(programs, folder, clusters=clusters) as server:
        yield server


@pytest.fixture
def postgres(
    request: pytest.FixtureRequest, postgres_server: PrivatePostgres | None
) -> PrivatePostgres:
    """A running server."""
    if postgres_server is None:
        if os.environ.get("CI"):
            pytest.fail("not run, because there is no PostgreSQL", pytrace=False)
        not_run(request.node, NO_POSTGRES, "there is no PostgreSQL on this machine")
    return postgres_server


@pytest.fixture
def empty_database(postgres: PrivatePostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without a table."""
    import psycopg

    with psycopg.connect(postgres.url(), autocommit=True) as db:
        db.execute("CREATE DATABASE empty TEMPLATE template0")
        yield postgres.url("empty")
        db.execute("DROP DATABASE empty WITH (FORCE)")


@pytest.fixture(scope="session")
def shared_database(postgres_server: PrivatePostgres | None) -> Iterator[str | None]:
    if postgres_server is None:
        yield None
        return
    import psycopg

    from bridge.postgres.postgres_connection import WRITER_LIMITS, connect
    from bridge.postgres.postgres_schema import make_partitions, migrate

    with psycopg.connect(postgres_server.url(), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {NAME} TEMPLATE template0")
    url = postgres_server.url(NAME)
    with connect(url, WRITER_LIMITS) as db:
        migrate(db, url)
        make_partitions(db)
    yield url


@pytest.fixture
def database_url(postgres: PrivatePostgres, shared_database: str) -> str:
    """The URL of a store to which nobody wrote."""
    from bridge.postgres.postgres_connection import WRITER_LIMITS, connect

    with connect(shared_database, WRITER_LIMITS) as db, db.transaction():
        tables = db.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
            "AND tablename != 'layout' AND tablename !~ '^chunks_'"
        ).fetchall()
        for (table,) in tables:
            db.execute(f"DELETE FROM {table}".encode())
    return shared_database
