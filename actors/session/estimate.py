"""A time that was not observed exactly: the best guess and its bounds."""

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
        """A time that both bounds allow, as near as possible to the other's best guess.

        None if no time is within both.
        """
        low, high = max(self.low, other.low), min(self.high, other.high)
        return None if low > high else Estimate(min(max(other.at, low), high), low, high)
