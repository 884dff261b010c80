"""A circuit breaker for each endpoint, with one probe at a time.

Closed, everything is sent.  After `FAILURES` failed attempts in a row it opens: nothing is sent for
a while.  Then it is half open: one delivery is tried.  If that one arrives, the breaker closes and
the backlog is sent at full speed; if it does not, the breaker waits twice as long.
"""

from __future__ import annotations

from typing import Final

from attrs import define

FAILURES: Final = 3
FIRST_PAUSE: Final = 1.0
"""Seconds for which it stays open the first time."""
LONGEST_PAUSE: Final = 60.0
"""Seconds.  A receiver that comes back waits so long at most."""


@define
class Breaker:
    """The breaker of one endpoint.  Times are on any clock that runs on."""

    failures: int = 0
    """In a row."""
    pause: float = FIRST_PAUSE
    """Seconds: the next one."""
    open_until: float | None = None
    """None while it is closed."""

    @property
    def closed(self) -> bool:
        return self.open_until is None

    def allows(self, now: float) -> bool:
        """True if an attempt may be made now: always while closed, one probe when it is time."""
        return self.open_until is None or now >= self.open_until

    def succeeded(self) -> None:
        self.failures, self.pause, self.open_until = 0, FIRST_PAUSE, None

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the receiver asked for; a wish for all its deliveries."""
        self.failures += 1
        if self.failures < FAILURES and self.open_until is None and retry_after is None:
            return
        pause = self.pause if retry_after is None else min(max(self.pause, retry_after), 3600.0)
        self.open_until = now + pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
