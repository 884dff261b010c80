"""Bans that hold at all workers of a database: a room that is made anew may get another worker.

Each worker has the bans in memory and in its own file (`bridge.store.ban_file`), so they hold
while the database is away too.  This service adds those of this worker to the database, and learns
those of the others.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final, final

import trio

from actors.acting.ban_list import BanList
from actors.journal.archive import ArchiveTrouble
from actors.journal.process_ports import Clock
from actors.session.rule_state import Ban
from bridge.outlets.outbox_queries import OutboxConnection
from bridge.postgres.postgres_calls import PostgresCalls
from bridge.postgres.postgres_connection import PostgresConnection

LOOK_EVERY: Final = 2.0
"""Seconds between two looks for the bans of others."""
_ADD: Final = """
    INSERT INTO bans (room, identity, rule, until) VALUES (?, ?, ?, ?)
    ON CONFLICT (hashtextextended(room, 0), hashtextextended(identity, 0)) DO UPDATE
        SET rule = excluded.rule, until = excluded.until WHERE bans.until < excluded.until
    """


def erase_shared_bans(db: OutboxConnection, names: Collection[str]) -> tuple[list[str], list[str]]:
    """Lift the bans of these identities.  Gives the rooms where it did, and those where it left a
    ban because workers run, which have it in memory."""
    wanted, rooms = list(names), list[str]()
    for (room,) in db.execute("SELECT room FROM bans WHERE identity = ANY(?)", (wanted,)):
        rooms.append(room)
    (runs,) = db.execute("SELECT EXISTS (SELECT 1 FROM workers WHERE expires > now())").fetchone()
    if runs:
        return [], sorted(rooms)
    db.execute("DELETE FROM bans WHERE identity = ANY(?)", (wanted,))
    return sorted(rooms), []


@final
class SharedBans:
    """A service: `run`."""

    def __init__(
        self, url: str, bans: BanList, clock: Clock, look_every: float = LOOK_EVERY
    ) -> None:
        self._calls = PostgresCalls(url)
        self._bans = bans
        self._clock = clock
        self._look_every = look_every
        self._stored: set[tuple[str, str, float]] = set()
        """Bans that are in the database: room, identity, end."""

    async def run(self) -> None:
        """For as long as the program runs."""
        try:
            while True:
                with suppress(ArchiveTrouble):  # The store's actor announces it.
                    await self.look()
                await trio.sleep(self._look_every)
        finally:
            with trio.CancelScope(shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._calls.aclose()

    async def look(self) -> None:
        """Add the bans of this worker, and learn those of others.  Raises `ArchiveTrouble`."""
        now = self._clock()
        new = [
            (room, identity, ban.rule, ban.until)
            for room, of in self._bans.bans.items()
            for identity, ban in of.items()
            if ban.until > now and (room, identity, ban.until) not in self._stored
        ]

        def exchange(db: PostgresConnection) -> list[tuple[str, str, str, float]]:
            for one in new:
                db.execute(_ADD, one)
            if new:
                db.execute("DELETE FROM bans WHERE until <= ?", (now,))
            rows = db.execute(
                "SELECT room, identity, rule, until FROM bans WHERE until > ?", (now,)
            )
            return rows.fetchall()

        rooms: dict[str, dict[str, Ban]] = {}
        self._stored = set()
        for room, identity, rule, until in await self._calls.call(exchange):
            self._stored.add((room, identity, until))
            rooms.setdefault(room, {})[identity] = Ban(rule, until)
        # A shorter ban than the one in the database is not added again.
        self._stored.update((room, identity, until) for room, identity, _, until in new)
        for room, of in rooms.items():
            self._bans.learn(room, of)
