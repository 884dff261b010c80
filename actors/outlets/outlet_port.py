"""The border between an outbox and the network: what a sender and an outbox store must offer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from attrs import frozen


@frozen
class Delivery:
    """One event on its way to one endpoint."""

    id: str
    """The same over all attempts and restarts: the receiver tells duplicates by it."""
    sequence: int
    """Ascending within the session, with gaps where an endpoint does not want an entry."""
    session: str
    """The session's id."""
    room: str
    room_sid: str
    event: str
    at: float
    """Unix seconds of what happened."""
    data: Mapping[str, Any]
    """As in the timeline, for `session_ended` with the whole summary."""


class AttemptResult(Enum):
    """The result of one attempt."""

    DELIVERED = "delivered"
    """The receiver answered 2xx."""
    FAILED = "failed"
    """Anything else: tried again later."""
    GONE = "gone"
    """410: the receiver wants nothing more."""


@frozen
class Attempt:
    """The end of one attempt."""

    result: AttemptResult
    detail: str = ""
    """The fault, in a few words of ours.  Never text of the receiver."""
    status: int | None = None
    """The answer's status; None where there was no answer."""
    retry_after: float | None = None
    """Seconds that the receiver asked us to wait."""

    @property
    def delivered(self) -> bool:
        return self.result is AttemptResult.DELIVERED


class Sender(Protocol):
    """Sends to one endpoint.  One caller at a time."""

    async def send(self, delivery: Delivery) -> Attempt:
        """Try once, within a bounded time and memory.  Raises nothing but `Cancelled`."""
        ...

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        ...
