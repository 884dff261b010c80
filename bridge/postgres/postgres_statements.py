"""What the writer of a database sends, as SQL."""

from __future__ import annotations

from typing import Final

from actors.journal.backlog import CHECKPOINT_AGE

FENCE: Final = """
    UPDATE workers SET alive_at = %s, written_at = now(),
        expires = now() + make_interval(secs => %s)
    WHERE worker = %s AND epoch = %s
    """
JOURNAL: Final = "INSERT INTO journal VALUES (%s, %s, %s, %s, %s)"
ROWS_ONLY: Final = """
    WITH fence AS (
        UPDATE workers SET alive_at = %s, written_at = now(),
            expires = now() + make_interval(secs => %s)
        WHERE worker = %s AND epoch = %s RETURNING worker)
    INSERT INTO journal SELECT worker, %s, %s, %s, %s FROM fence
    """
"""The fence and one row of the journal at once: it costs half of a transaction."""
CHUNK: Final = (
    "INSERT INTO chunks (session, first, day, at, lines) VALUES (%s, %s, current_date, %s, %s) "
    "ON CONFLICT (session, first, day) DO UPDATE SET at = excluded.at, lines = excluded.lines"
)
SESSION: Final = """
    INSERT INTO sessions (
        session, owner, room, room_sid, started_at, ended_at, end_reason, seq, lines_lost,
        has_lines, people_peak, people_unique, participant_seconds,
        quality_excellent, quality_good, quality_poor, quality_lost, bytes, state_bytes
    ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (session) DO UPDATE SET
        room = excluded.room, room_sid = excluded.room_sid, started_at = excluded.started_at,
        ended_at = excluded.ended_at, end_reason = excluded.end_reason,
        seq = excluded.seq, lines_lost = excluded.lines_lost, has_lines = true,
        people_peak = excluded.people_peak, people_unique = excluded.people_unique,
        participant_seconds = excluded.participant_seconds,
        quality_excellent = excluded.quality_excellent, quality_good = excluded.quality_good,
        quality_poor = excluded.quality_poor, quality_lost = excluded.quality_lost,
        bytes = sessions.bytes + excluded.bytes, state_bytes = excluded.state_bytes
    WHERE sessions.owner = excluded.owner
    """
STATE: Final = """
    INSERT INTO states (session, state, row, form) VALUES (%s, %s, %s, %s)
    ON CONFLICT (session) DO UPDATE SET
        state = excluded.state, row = excluded.row, form = excluded.form
    """
PERSON: Final = """
    INSERT INTO people (session, identity, name, person) VALUES (%s, %s, %s, %s)
    ON CONFLICT (session, hashtextextended(identity, 0)) DO UPDATE
        SET name = excluded.name, person = excluded.person
        WHERE people.name != excluded.name OR people.person != excluded.person
    """
OWN: Final = "UPDATE sessions SET owner = %s WHERE session = ANY(%s)"
END_LEASES: Final = "DELETE FROM room_leases WHERE session = ANY(%s) AND owner = %s"
RELEASE: Final = """
    UPDATE room_leases SET owner = NULL, epoch = NULL, offered = false, unwatched_since = NULL,
        seen_until = %s, released_at = now()
    WHERE session = ANY(%s) AND owner = %s
    """
RETIRED_AFTER: Final = 86_400.0
"""Seconds after the end of its lease at which a worker's journal goes.  Followers of the feed come
back within `bridge.store.retention.REPLAY`."""
FORGOTTEN_AFTER: Final = 7 * RETIRED_AFTER
"""Seconds after the end of its lease at which the row of a worker goes that owns nothing."""
ALERT: Final = (
    "INSERT INTO alerts (session, rule, person, text, fired_at) VALUES (%s, %s, %s, %s, %s)"
)
RESOLVED: Final = """
    UPDATE alerts SET resolved_at = %s WHERE number = (SELECT max(number) FROM alerts
        WHERE session = %s AND rule = %s AND person = %s AND resolved_at IS NULL)
    """
NOT_STORED: Final = CHECKPOINT_AGE + 1.0
"""Seconds before the last sign of life of which the database may lack rows, where a worker has its
journal on its own machine."""
SEEN_UNTIL: Final = f"alive_at - CASE WHEN local_events THEN {NOT_STORED} ELSE 0 END"
"""Of a row of `workers`: until when what it saw is in the database."""
