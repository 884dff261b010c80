"""A histogram of a run, for metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import final


@final
class Histogram:
    """Counts values by upper bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Per bucket, not cumulative; the last one is for values beyond the bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
