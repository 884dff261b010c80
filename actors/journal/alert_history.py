"""The alerts that fired, as a list: which of them are wanted, and the pages of it."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class AlertFilters:
    """The conditions that the alerts of a list meet.  A filter that is None does not matter."""

    room: str | None = None
    """A pattern of the room's name (`actors.journal.session_filters.pattern_parts`)."""
    person: str | None = None
    """A pattern of the identity of the person whom it is on."""
    status: Literal["firing", "resolved"] | None = None
    since: float | None = None
    """Unix seconds: it fired then or later."""
    until: float | None = None
    """Unix seconds: it fired before."""


ALL_ALERTS = AlertFilters()


@frozen
class StoredAlert:
    """One episode of a rule that is an alert, from its first firing."""

    rule: str
    room: str
    room_sid: str
    on: str
    """The identity of a person; empty for the room."""
    text: str
    fired_at: float
    """Unix seconds."""
    resolved_at: float | None
    """None while it fires."""


@frozen
class AlertPage:
    """A part of the list, the newest first."""

    alerts: list[StoredAlert]
    next: str | None
    """The cursor of the page after this.  None: this is the last one."""
