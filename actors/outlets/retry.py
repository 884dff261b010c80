"""When a delivery that failed is tried again.

The ladder is the one that the Standard Webhooks specification recommends (1.0.0, "Deliverability
and reliability"): ten attempts over three days, with jitter, so that endpoints that failed together
do not come back together.
"""

from __future__ import annotations

import random
from typing import Final

LADDER: Final = (
    5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0
)  # fmt: skip
"""Seconds to wait after the first, second, … failed attempt: 77 hours in all."""

JITTER: Final = 0.1
"""A delay varies by so much of itself."""

LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds.  A receiver that asks for more gets this."""


def next_delay(attempts: int, rng: random.Random, retry_after: float | None = None) -> float | None:
    """Seconds to wait after `attempts` failed ones (from 1); None where it is given up.

    A receiver may ask for more time by `Retry-After`, never for less.
    """
    if attempts > len(LADDER):
        return None
    delay = LADDER[attempts - 1] * rng.uniform(1 - JITTER, 1 + JITTER)
    if retry_after is not None:
        delay = max(delay, min(retry_after, LONGEST_RETRY_AFTER))
    return delay
