"""What the writer of a database sends, as SQL."""

from __future__ import annotations

from typing import Final

from actors.session.end_reasons import CONTINUABLE

BIRTH: Final = """
    INSERT INTO workers (instance, epoch, pid, started_at, expires) VALUES
        (%(instance)s, greatest(%(least)s, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint),
        %(pid)s, %(started_at)s, now() + make_interval(secs => %(lease)s))
    ON CONFLICT (instance) DO UPDATE SET
        epoch = greatest(workers.epoch + 1, excluded.epoch), pid = excluded.pid,
        started_at = excluded.started_at, expires = excluded.expires
    RETURNING worker, epoch, alive_at
    """
"""An epoch is above the database's clock as well, so that none comes again after the database lost
its last commits."""
FENCE: Final = """
    UPDATE workers SET alive_at = %s, expires = now() + make_interval(secs => %s)
    WHERE worker = %s AND epoch = %s
    """
JOURNAL: Final = "INSERT INTO journal VALUES (%s, %s, %s, %s, %s)"
ROWS_ONLY: Final = """
    WITH fence AS (
        UPDATE workers SET alive_at = %s, expires = now() + make_interval(secs => %s)
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
FREE_KEY: Final = """
    SELECT n FROM generate_series(%s::bigint + 1, %s::bigint + 1000) AS n
    WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE session = n) LIMIT 1
    """
ALERT: Final = (
    "INSERT INTO alerts (session, rule, person, text, fired_at) VALUES (%s, %s, %s, %s, %s)"
)
RESOLVED: Final = """
    UPDATE alerts SET resolved_at = %s WHERE number = (SELECT max(number) FROM alerts
        WHERE session = %s AND rule = %s AND person = %s AND resolved_at IS NULL)
    """
OURS: Final = "SELECT session FROM sessions WHERE owner = %s"
CONTINUED: Final = (
    f"{OURS} AND end_reason IN {tuple(sorted(CONTINUABLE))} ORDER BY place DESC LIMIT %s"
)
ENDED_LATELY: Final = f"{OURS} AND ended_at > %s ORDER BY ended_at DESC LIMIT %s"
