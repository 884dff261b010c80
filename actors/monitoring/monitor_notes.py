"""The wishes of a monitor: a line of the log, a message to people, or its own end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen


@frozen
class LogNote:
    """A line of the log.  Room, identity and job id are added to the fields."""

    event: str
    fields: Mapping[str, Any] = field(factory=dict[str, Any])


@frozen
class PersonMessage:
    """A JSON object for people in the room."""

    to: Literal["person", "others"]
    """The monitored person, or everybody else."""
    payload: Mapping[str, Any]


@frozen
class MonitorEnd:
    """The monitor is over."""

    reason: str
    error: str | None = None
    """Why its job failed; None for a success."""


Note: TypeAlias = LogNote | PersonMessage | MonitorEnd
