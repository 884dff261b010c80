"""An outbox as others see it: the JSON of `/api/v1/outbox` and of `outbox --json`."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from actors.outlets.outbox_port import OutletRow, Parked
from actors.session.time_text import rfc3339

MOST_LISTED: Final = 1_000
"""Deliveries that the API lists."""


@frozen
class OutletFacts:
    """One endpoint, as the API and the page have it."""

    name: str
    url: str
    """Without path and query."""
    worker: str
    """The instance of the worker that delivers to it; empty where none does."""
    delivered: int
    failed: int
    waiting: int
    dead: int
    dropped: int
    disabled: str | None
    last_error: str
    last_delivered_at: float | None
    """Unix seconds."""


def outlet_row(name: str, row: OutletRow) -> dict[str, Any]:
    """One endpoint."""
    return {
        "webhook": name,
        "waiting": row.waiting,
        "dead": row.dead,
        "dropped": row.dropped,
        "disabled": row.disabled,
    }


def delivery_row(name: str, one: Parked) -> dict[str, Any]:
    """One delivery that waits or was given up; without its data, which may be long."""
    delivery = one.delivery
    return {
        "id": delivery.id,
        "webhook": name,
        "event": delivery.event,
        "room": delivery.room,
        "session": delivery.session,
        "at": rfc3339(delivery.at),
        "attempts": one.attempts,
        "due": None if one.dead else rfc3339(one.due),
        "dead": one.dead,
        "error": one.error,
    }
