"""One connection of a worker, used in a thread by one call at a time.

After any trouble the connection is closed, and the next call makes another one.  A server that
neither answers nor fails (a machine that is gone, a stopped process) counts as trouble after a
time: the socket is shut down, and the call in the thread fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TypeVar, final

import psycopg
import trio

from actors.journal.archive import ArchiveTrouble
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import Database, connect, hang_up, trouble_of_database

T = TypeVar("T")


@final
class DatabaseThread:
    """See the module.  Calls wait for each other."""

    def __init__(self, url: str, limits: Mapping[str, str]) -> None:
        """`limits` as of `connect`."""
        self._url: Final = url
        self._limits: Final = limits
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._db: Database | None = None

    async def run(self, function: Callable[[], T], seconds: float) -> T:
        """Call the function in the thread.  Raises `ArchiveTrouble` after so many seconds."""
        # A cancelled call goes on in its thread, and the next one waits for it.
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(
                function, limiter=self._one_at_a_time, abandon_on_cancel=True
            )
        hang_up(self._db)
        raise ArchiveTrouble(
            f"{shown_url(self._url)} did not answer for {seconds:g} s: see the server"
        )

    # ------------------------------------------------------------ in the thread

    @property
    def open(self) -> Database | None:
        """The connection, if there is one."""
        return None if self._db is None or self._db.closed else self._db

    def connect(self) -> Database:
        """Another connection.  Raises as `connect` does."""
        self.disconnect()
        self._db = connect(self._url, self._limits)
        return self._db

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self._db is not None:
            with suppress(psycopg.Error, OSError):
                self._db.close()
            self._db = None

    def trouble(self, error: psycopg.Error) -> ArchiveTrouble:
        """Close the connection, and give the error as the port has it."""
        self.disconnect()
        return trouble_of_database(self._url, error)
