"""Leases as the manager of rooms asks about them, and what a lease says of its room."""

from __future__ import annotations

from typing import Protocol

from actors.journal.room_leases import RoomLease
from actors.session.end_reasons import CONTINUABLE, DISPATCH_DELETED


class LeaseView(Protocol):
    """The leases of this worker, where several workers share a database."""

    def session_number(self, room_sid: str) -> int | None:
        """The key of a new session of this room; None where no lease gave one."""
        ...

    def is_reserved(self, room_sid: str) -> bool:
        """True if another worker hands the room over to this one and still writes its session."""
        ...


def is_over(lease: RoomLease) -> bool:
    """True if the stored session says that the room ended, or that its dispatch was deleted."""
    state = None if lease.stored is None else lease.stored.state
    return (
        state is not None
        and state.ended_at is not None
        and (state.end_reason not in CONTINUABLE or state.end_reason == DISPATCH_DELETED)
    )
