"""Why sessions end, and what each reason means.

`END_REASONS` is the one table; everything else here is derived from it.  A stored session may
have a reason that is not in it, if a newer version wrote it: such a session is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from actors.session.events import GapReason

EndReason: TypeAlias = Literal[
    "room_closed",
    "room_deleted",
    "removed",
    "dispatch_deleted",
    "server_lost",
    "found_ended",
    "worker_stopped",
]
"""Why a session ended."""


@frozen
class EndMeaning:
    """The consequences of one end reason."""

    label: str
    """For people."""
    saw_end: bool = False
    """The worker saw the end of the room itself."""
    may_continue: bool = False
    """The room may live on; if it is watched again, the session goes on."""
    unwanted: bool = False
    """Nobody asked for this end: a room that lives on is watched again, whatever `--watch` says."""
    sent_out: bool = False
    """LiveKit or an operator sent our participant out of the room."""
    gap: GapReason = "connection_lost"
    """The reason of the gap until the session goes on."""


END_REASONS: Final[Mapping[EndReason, EndMeaning]] = {
    "room_closed": EndMeaning("LiveKit closed the room", saw_end=True),
    "room_deleted": EndMeaning("somebody deleted the room", saw_end=True),
    "removed": EndMeaning(
        "the agent was removed from the room", may_continue=True, sent_out=True, gap="removed"
    ),
    "dispatch_deleted": EndMeaning(
        "the agent's dispatch was deleted", may_continue=True, sent_out=True, gap="removed"
    ),
    "server_lost": EndMeaning(
        "the room could not be reached any more", may_continue=True, unwanted=True
    ),
    "found_ended": EndMeaning("the room ended while nobody watched"),
    "worker_stopped": EndMeaning(
        "the worker stopped", may_continue=True, unwanted=True, gap="worker_stopped"
    ),
}

DISPATCH_DELETED: Final[EndReason] = "dispatch_deleted"
SERVER_LOST: Final[EndReason] = "server_lost"
"""The connection was lost.  The server may have closed the room and made it anew."""
FOUND_ENDED: Final[EndReason] = "found_ended"
WORKER_STOPPED: Final[EndReason] = "worker_stopped"

SEEN_ENDS: Final[frozenset[str]] = frozenset(
    reason for reason, meaning in END_REASONS.items() if meaning.saw_end
)
CONTINUABLE: Final[frozenset[str]] = frozenset(
    reason for reason, meaning in END_REASONS.items() if meaning.may_continue
)
UNWANTED: Final[frozenset[str]] = frozenset(
    reason for reason, meaning in END_REASONS.items() if meaning.unwanted
)
SENT_OUT: Final[frozenset[str]] = frozenset(
    reason for reason, meaning in END_REASONS.items() if meaning.sent_out
)

END_OF_DISCONNECT: Final[Mapping[str | None, EndReason]] = {
    "room_closed": "room_closed",
    "room_deleted": "room_deleted",
    "participant_removed": "removed",
    "duplicate_identity": "removed",
}
"""LiveKit's reason for our own disconnect -> end reason.

With any other reason the connection was lost and the room may live on.
"""

_GAPS: Final[Mapping[str, GapReason]] = {
    reason: meaning.gap for reason, meaning in END_REASONS.items()
}


def gap_after(reason: str) -> GapReason:
    """The reason of the gap between this end and the time when the session goes on."""
    return _GAPS.get(reason, "connection_lost")
