"""Bans of several workers over one database."""

from __future__ import annotations

from pathlib import Path

import psycopg

from actors.acting.ban_list import BanList
from actors.session.rule_state import Ban
from bridge.app.forget import forget
from bridge.app.shared_bans import SharedBans
from bridge.config.store_address import StoreAddress
from bridge.postgres.postgres_archive import open_database_store

NOW = 1.7e9
HOSTILE = "x\x00'; DROP TABLE bans --" + "y" * 5_000


async def test_a_ban_holds_at_all_workers_until_its_end(database_url: str, tmp_path: Path) -> None:
    now = [NOW]
    lists = [BanList({"atlas": {"alice": Ban("rule", NOW + 60.0)}}), BanList()]
    workers = [SharedBans(database_url, bans, lambda: now[0]) for bans in lists]
    async with open_database_store(database_url, instance="w"):
        for worker in workers:
            await worker.look()
        assert lists[1].find("atlas", "alice", NOW) == Ban("rule", NOW + 60.0)
        # The longer one of two holds, and names may be anything.
        lists[1].learn("atlas", {"alice": Ban("limit", NOW + 90.0), HOSTILE: Ban("r", NOW + 5.0)})
        lists[0].learn("atlas", {"alice": Ban("rule", NOW + 70.0)})
        for worker in (*reversed(workers), *workers):
            await worker.look()
        for bans in lists:
            assert bans.find("atlas", "alice", NOW) == Ban("limit", NOW + 90.0)
            assert bans.find("atlas", HOSTILE, NOW) == Ban("r", NOW + 5.0)
        # A worker that starts now learns those that are not over.
        now[0] = NOW + 10.0
        late = BanList()
        new = SharedBans(database_url, late, lambda: now[0])
        await new.look()
        assert {room: {*of} for room, of in late.bans.items()} == {"atlas": {"alice"}}
    for worker in (*workers, new):
        await worker.aclose()
    report = forget(StoreAddress(tmp_path, database_url), "alice", lambda _: None)
    assert (report.bans, report.bans_left) == (["atlas"], [])
    with psycopg.connect(database_url) as db:
        assert (
            db.execute("SELECT 1 FROM room_actors.bans WHERE identity = 'alice'").fetchall() == []
        )
