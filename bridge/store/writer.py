"""What the one writer does with a connection: keep a batch, load what an earlier run left.

Everything here runs in a thread, one call at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import structlog
from attrs import frozen

from actors.rooms.archive import Batch, Checkpoint, Found, Kept, Line
from actors.rooms.book import CONTINUED
from actors.session import SessionState, session_row
from actors.session.codec import encode_state
from bridge.store.refold import refold
from bridge.store.schema import transaction

log = structlog.get_logger()

MOST_ENDED: Final = 1_000
"""Sessions that ended without their room and are loaded, the newest."""


@frozen
class Run:
    """This worker, this time."""

    name: str
    """No other run has it."""
    instance: str
    """The same after a restart."""
    pid: int
    started_at: float


# ---------------------------------------------------------------- write

_LINE: Final = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)"

_SESSION: Final = """
    INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session) DO UPDATE SET
        room = excluded.room, room_sid = excluded.room_sid, started_at = excluded.started_at,
        ended_at = excluded.ended_at, end_reason = excluded.end_reason,
        seq = excluded.seq, lines_lost = excluded.lines_lost, has_lines = 1,
        people_peak = excluded.people_peak, people_unique = excluded.people_unique,
        participant_seconds = excluded.participant_seconds,
        quality_excellent = excluded.quality_excellent, quality_good = excluded.quality_good,
        quality_poor = excluded.quality_poor, quality_lost = excluded.quality_lost
    """
_STATE: Final = "INSERT OR REPLACE INTO states VALUES (?, ?, ?)"
_PERSON: Final = "INSERT OR IGNORE INTO people VALUES (?, ?)"
_ALIVE: Final = """
    INSERT INTO runs (run, instance, pid, started_at, alive_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET alive_at = excluded.alive_at
    """


def write(db: sqlite3.Connection, batch: Batch, run: Run) -> None:
    """Keep all of the batch, durably.  Raises sqlite3.Error, and nothing is kept then."""
    with transaction(db):
        kept = db.executemany(
            _LINE,
            [(line.session, line.seq, line.at, line.kind, line.body, line.told)
             for line in batch.lines],
        ).rowcount  # fmt: skip
        if kept > 0:  # not those of a batch that was kept before
            db.execute(
                "INSERT INTO batches SELECT max(coalesce(max(batch), 0) + 1, ?), ?, ? FROM batches",
                (int(batch.alive_at * 1e6), batch.alive_at, json.dumps(_spans(batch.lines))),
            )
        for checkpoint in batch.checkpoints:
            _keep(db, checkpoint)
        row = (run.name, run.instance, run.pid, run.started_at, batch.alive_at)
        db.execute(_ALIVE, row)


def _spans(lines: Iterable[Line]) -> list[tuple[int, int, int]]:
    """Session, first and last line of each run of lines of one session."""
    spans: list[tuple[int, int, int]] = []
    for session, some in groupby(lines, key=lambda line: line.session):
        numbers = [line.seq for line in some]
        spans.append((session, numbers[0], numbers[-1]))
    return spans


def _keep(db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    session, state = checkpoint.session, checkpoint.state
    row = session_row(state, state.last_at)
    db.execute(_SESSION, _columns(checkpoint, row))
    # Escaped, as JSON can: a text that is no UTF-8 must not hold up a batch for ever.
    db.execute(_STATE, (session, encode_state(state), json.dumps(row, separators=(",", ":"))))
    db.executemany(_PERSON, [(session, _text(identity)) for identity in _identities(state)])


def _columns(checkpoint: Checkpoint, row: dict[str, Any]) -> tuple[object, ...]:
    state, quality = checkpoint.state, row["quality"]
    return (
        checkpoint.session,
        _text(state.room),
        _text(state.room_sid),
        state.started_at,
        state.ended_at,
        state.end_reason,
        checkpoint.seq,
        checkpoint.lost,
        row["participants"]["peak"],
        row["participants"]["unique"],
        row["participant_seconds"],
        *(quality[level] for level in ("excellent", "good", "poor", "lost")),
    )


def _identities(state: SessionState) -> Iterable[str]:
    yield from state.present
    for person in state.past.values():
        yield person.identity


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()


# ---------------------------------------------------------------- load


_CONTINUED: Final = (
    f"SELECT session FROM sessions WHERE end_reason IN {tuple(sorted(CONTINUED))} "  # noqa: S608
    "ORDER BY session DESC LIMIT ?"
)
"""As the index for it says it."""


def load(db: sqlite3.Connection, run: Run) -> Found:
    """What earlier runs left, the oldest session first.  Raises sqlite3.Error."""
    with transaction(db):
        alive = db.execute(
            "SELECT alive_at FROM runs WHERE run != ? ORDER BY id DESC LIMIT 1", (run.name,)
        ).fetchone()
        still_open = db.execute("SELECT session FROM sessions WHERE ended_at IS NULL")
        sessions = [session for (session,) in still_open]
        sessions += [session for (session,) in db.execute(_CONTINUED, (MOST_ENDED,))]
        found = [_load(db, session) for session in sorted(sessions)]
    return Found(tuple(one for one in found if one is not None), alive and alive[0])


def _load(db: sqlite3.Connection, session: int) -> Kept | None:
    room, lost = db.execute(
        "SELECT room, lines_lost FROM sessions WHERE session = ?", (session,)
    ).fetchone()
    try:
        found = refold(db, session)
    except ValueError as error:
        log.exception("stored_session_unreadable", room=room, session=session, error=error)
        return None
    if found.broken is not None:
        # Their numbers are given again to what is heard from now on.
        dropped = db.execute(
            "DELETE FROM events WHERE session = ? AND seq > ?", (session, found.seq)
        ).rowcount
        lost += dropped
        log.error(
            "stored_lines_unreadable",
            room=room,
            session=session,
            count=dropped,
            error=found.broken,
        )
    return Kept(session, found.seq, found.state, lost)
