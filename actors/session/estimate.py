"""A time that nobody observed exactly: the best guess, and between which bounds it is right."""

from __future__ import annotations

from attrs import frozen


@frozen
class Estimate:
    """Unix seconds."""

    at: float
    low: float
    high: float

    @property
    def within(self) -> float:
        """Seconds by which `at` may be wrong."""
        return max(self.high - self.at, self.at - self.low, 0.0)

    def agreeing_with(self, other: Estimate) -> Estimate | None:
        """What both allow, as near to the other's best guess as that is; None where nothing is."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return None if low > high else Estimate(min(max(other.at, low), high), low, high)
