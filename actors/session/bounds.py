"""Limits of a session, in seconds, numbers and characters.

Names, topics and joins are chosen by everybody who has a token, so all that a session stores is
bounded.  Beyond a bound totals still count; `actors.session.state.Truncated` has how much got
no record of its own.
"""

from __future__ import annotations

from typing import Final

RECONNECT_WINDOW: Final = 5.0
"""Seconds within which a person who comes back did not leave but lost the connection."""

CONFIRM_AFTER: Final = 4.0
"""Seconds after which a leave without a reason is believed.

People who publish nothing are announced by the server on a tick of 3 s.
"""

ANNOUNCE_INTERVAL: Final = 3.0
"""Seconds between two announcements of people who publish nothing."""

MAX_PAST_PARTICIPANTS: Final = 10_000
"""People who left and are kept one by one; those beyond are in the totals only."""

MAX_PERSONS: Final = 20_000
"""With a person key: people who are known again under another identity."""

MAX_PAST_TRACKS: Final = 20_000
"""Ended tracks that are kept one by one."""

MAX_JOINS: Final = 100
"""Joins of one person that are kept one by one, the newest."""

MAX_TOPICS: Final = 1_000
"""Topics that are counted under their own name, the first ones."""

MAX_TOPIC_LENGTH: Final = 256
"""Characters of a topic that are kept as its name."""

MAX_RECORDINGS: Final = 100
"""Recordings of a session that are kept."""

MAX_DATA_TRACKS: Final = 1_000
"""Data tracks that are open at the same time and are known by their SID."""

MAX_UNANNOUNCED_SENDERS: Final = 1_000
"""Senders who were not announced yet, whose messages are kept for when they are."""

MAX_PAST_TEXT: Final = 16 * 1024 * 1024
"""Characters of metadata and attributes kept of all people who left (one may have 128 KB)."""

MAX_DEFERRED: Final = 2_000
"""Events that wait for the end of a reconnect; the roster makes up for those beyond."""

MAX_ABORTED_SIDS: Final = 100
"""Aborted joins that are remembered."""

MAX_EXPECTED: Final = 2_000
"""Joins that were told by a webhook and are to be announced; those beyond are not waited for."""

MAX_GAPS: Final = 100
"""Gaps that are kept one by one, the first ones; those beyond are added up."""

OTHER: Final = "…other"
"""The name under which what is beyond a bound is added up."""
