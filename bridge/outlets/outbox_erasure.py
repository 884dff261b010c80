"""One person erased from what waits in the outbox, also beside a running worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec
from attrs import evolve

from actors.outlets.outbox_port import OutboxTrouble
from actors.session.erasure import Erasure
from bridge.outlets.outbox_queries import OutboxConnection, decode_delivery, encode_delivery
from bridge.outlets.sqlite_outbox import FILE, closing_outbox
from bridge.output.harmless import harmless


def erase_deliveries(directory: Path, names: Collection[str], erasure: Erasure) -> int:
    """Rewrite the deliveries that name the person, and the file.  Gives their number.

    Those that wait are sent without the person.  Raises `OutboxTrouble`.
    """
    if not (directory / FILE).exists():
        return 0
    try:
        with closing_outbox(directory) as db:
            db.execute("PRAGMA secure_delete = ON")
            done = rewrite_deliveries(db, names, erasure)
            # Also without a hit: what was delivered is still in pages that are free.
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise OutboxTrouble(f"{directory / FILE}: {harmless(str(error))}") from None
    return done


def rewrite_deliveries(db: OutboxConnection, names: Collection[str], erasure: Erasure) -> int:
    needles = [name.encode() for name in names]
    done = 0
    for (number,) in db.execute("SELECT number FROM parked ORDER BY number").fetchall():
        row = db.execute("SELECT delivery FROM parked WHERE number = ?", (number,)).fetchone()
        if row is None or not any(needle in row[0] for needle in needles):
            continue
        with suppress(msgspec.MsgspecError):
            delivery = decode_delivery(row[0])
            after = evolve(delivery, data=erasure.tree(delivery.data))
            if after != delivery:
                sql = "UPDATE parked SET delivery = ? WHERE number = ?"
                done += db.execute(sql, (encode_delivery(after), number)).rowcount
    return done
