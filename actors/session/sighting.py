"""One view of a participant: what was seen, when, and how we know of it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import frozen

from actors.session.changes import change
from actors.session.participant import Join
from actors.session.room_info import ParticipantInfo

SightingSource: TypeAlias = Literal["event", "initial_roster", "resync", "webhook"]
"""How we know of a participant.

* ``event``: the room announced the join.
* ``initial_roster``: the roster at our own entry.
* ``resync``: a later roster.
* ``webhook``: LiveKit's webhook, while we were not in the room.

An event or a webhook may be late or doubled.  A roster is true at its moment.
"""

CALL_STATUS: Final = "sip.callStatus"
"""The attribute in which LiveKit's SIP service keeps the state of a call."""

RINGING: Final = frozenset({"dialing", "ringing"})
ANSWERED: Final = frozenset({"active", "automation"})
"""States of a call.  In ``automation`` the call is answered and digits are still dialled."""


@frozen
class Sighting:
    """A participant is in the room."""

    info: ParticipantInfo
    at: float
    """Unix seconds when we saw them."""
    source: SightingSource

    @property
    def identity(self) -> str:
        return self.info.identity

    @property
    def joined_at(self) -> float:
        """Unix seconds, the server's; if it gave none, when we saw them."""
        return self.info.joined_at if self.info.joined_at > 0 else self.at

    @property
    def back_at(self) -> float:
        """Unix seconds of the return, if it is one: an announcement is measured as received."""
        return self.at if self.source == "event" else self.joined_at

    @property
    def may_be_late(self) -> bool:
        return self.source in ("event", "webhook")

    def join(self) -> Join:
        """The join that begins."""
        return join_of(self.info, self.joined_at, answer_observed=self.may_be_late)


def join_of(info: ParticipantInfo, joined_at: float, *, answer_observed: bool) -> Join:
    """A join that begins, as `info` describes it.

    `answer_observed`: a call that is answered in `info` was answered when it began.
    """
    attributes = info.attributes or {}
    status = attributes.get(CALL_STATUS) if info.kind == "sip" else None
    return Join(
        info.sid,
        joined_at,
        kind=info.kind,
        active=info.active,
        ringing=status in RINGING,
        answered_at=joined_at if answer_observed and status in ANSWERED else None,
    )


def ended_join(join: Join, left_at: float, within: float | None = None) -> Join:
    return change(join, left_at=left_at, left_within=within)
