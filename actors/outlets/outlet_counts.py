"""The counts of one endpoint of webhooks."""

from __future__ import annotations

from attrs import define, field

from actors.journal.feed import Position


@define
class OutletCounts:
    """Counts of one endpoint in this run, for `/metrics`, the API and the page."""

    delivered: int = 0
    failed: int = 0
    """Attempts."""
    given_up: int = 0
    dropped: int = 0
    waiting: int = 0
    """Parked now, as of the last look."""
    dead: int = 0
    last_error: str = ""
    last_delivered_at: float | None = None
    """Unix seconds."""
    disabled: str | None = None
    position: Position = field(factory=lambda: Position({}))
    """Entries up to there were seen to."""
    behind: bool = False
    """The feed had dropped entries before this endpoint got them."""
    lag: float = 0.0
    """Seconds from the last delivered entry to its delivery."""
