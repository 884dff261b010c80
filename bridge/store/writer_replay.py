"""The replay of a writer that recovers a session.

Apart from `bridge.store.replay`, because the commands that read a store do not load structlog.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from actors.journal.archive import JournalRow
from actors.session.codec import Unreadable
from bridge.store.read_connection import ReadConnection
from bridge.store.replay import ReplayedSession, replay

log = structlog.get_logger()


def replay_or_log(
    db: ReadConnection, session: int, room: str, newest: Sequence[JournalRow]
) -> ReplayedSession | None:
    """The session as it is now.  Rows that cannot be read are logged.

    None where the checkpoint cannot be read.  `newest` has at least one row.
    """
    try:
        replayed = replay(db, session, newest)
    except Unreadable as error:
        log.exception("stored_session_unreadable", session=session, room=room, error=error)
        return None
    if replayed.error is not None:
        log.error(
            "stored_lines_unreadable",
            session=session,
            room=room,
            count=newest[-1].seq - replayed.seq,
            error=replayed.error,
        )
    return replayed
