"""Times as text: RFC 3339, the one form of every time that is shown, stored as text or sent."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(at: float | None) -> str | None:
    """Unix seconds as RFC 3339 in UTC with milliseconds; None also where no calendar has it."""
    if at is None:
        return None
    try:
        minute, rest = divmod(round(at * 1000), 60_000)
        return f"{_minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"
    except (OverflowError, ValueError, OSError):
        return None


@lru_cache(maxsize=10_000)
def _minute(minute: int) -> str:
    """All of a time but its seconds.  A session has thousands of times and few minutes."""
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")[:16] + ":"
