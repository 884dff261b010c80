"""Limits of a session, in seconds, numbers and characters.

Names, topics and joins are chosen by everybody who has a token, so all that a session stores is
bounded.  Beyond a bound totals still count; `actors.session.state.Truncated` has how much got
no record of its own.
"""

from __future__ import annotations

from typing import Final

RECONNECT_WINDOW: Final = 5.0
"""Seconds between a leave and a join within which the join is a reconnect."""

CONFIRM_AFTER: Final = 4.0
"""Seconds after which a provisional leave is confirmed.

People who publish nothing are announced by the server on a tick of 3 s.
"""

ANNOUNCE_INTERVAL: Final = 3.0
"""Seconds between two announcements of people who publish nothing."""

MAX_PAST_PARTICIPANTS: Final = 10_000
"""People who left and have a record of their own; those beyond are in the totals only."""

MAX_PERSONS: Final = 20_000
"""With a person key: people who are recognised under another identity."""

MAX_PAST_TRACKS: Final = 20_000
"""Ended tracks that have a record of their own."""

MAX_JOINS: Final = 100
"""Joins of one participant that have a record of their own: the newest."""

MAX_TOPICS: Final = 1_000
"""Topics that are counted under their own name: the first ones."""

MAX_TOPIC_LENGTH: Final = 256
"""Characters of a topic's name."""

MAX_RECORDINGS: Final = 100
"""Recordings of a session."""

MAX_DATA_TRACKS: Final = 1_000
"""Data tracks that are open at the same time."""

MAX_UNANNOUNCED_SENDERS: Final = 1_000
"""Senders who were not announced yet and whose messages are counted for them."""

MAX_PAST_TEXT: Final = 16 * 1024 * 1024
"""Characters of metadata and attributes of all people who left (one may have 128 KB)."""

MAX_DEFERRED: Final = 2_000
"""Deferred events; the roster makes up for those beyond."""

MAX_ABORTED_SIDS: Final = 100
"""SIDs of aborted joins that are remembered."""

MAX_EXPECTED: Final = 2_000
"""Joins that a webhook reported and the room is expected to announce; those beyond are ignored."""

MAX_GAPS: Final = 100
"""Gaps that have a record of their own: the first ones.  Those beyond are added up."""

MAX_EPISODES: Final = 10_000
"""Episodes of rules that are pending or firing at the same time."""

MAX_OPEN_ACTS: Final = 2_000
"""Acts of rules that are intended and not reported; those beyond are refused."""

MAX_BANS: Final = 1_000
"""People who are banned from a room; those beyond are removed once."""

OTHER: Final = "…other"
"""The name under which everything beyond a bound is added up."""
