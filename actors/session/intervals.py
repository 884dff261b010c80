"""Step functions of time: a value and for how long it held.

LiveKit sends quality, speakers and mute only when they change, so counts of such events and last
values say little.  The useful figure is for how long each value held.  These classes have the
value, its begin, and the seconds of the values that are over.

Times are Unix seconds of the clock that the event carried.  Clocks are sometimes set back: a
stretch of negative length counts as nothing, and the next one is measured from the new time on.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import frozen

from actors.session.room_info import QUALITIES, Quality

QualitySeconds: TypeAlias = tuple[float, float, float, float]
"""Seconds in each level, in the order of `QUALITIES`."""

_INDEX: Final = {level: index for index, level in enumerate(QUALITIES)}


def stretch(since: float, until: float) -> float:
    """Seconds from `since` to `until`; never negative."""
    return until - since if until > since else 0.0


@frozen
class Interval:
    """Something that is on or off: talking, muted, watched."""

    seconds: float = 0.0
    """Seconds of the stretches that are over."""
    since: float | None = None
    """Unix seconds since when it is on; None while it is off."""

    def on(self, at: float) -> Interval:
        return self if self.since is not None else Interval(self.seconds, at)

    def off(self, at: float) -> Interval:
        return self if self.since is None else Interval(self.seconds + stretch(self.since, at))

    def total(self, now: float) -> float:
        """Seconds on, until `now`."""
        return self.seconds if self.since is None else self.seconds + stretch(self.since, now)


@frozen
class Levels:
    """A connection quality that holds until the next one; None is unknown."""

    level: Quality | None = None
    since: float = 0.0
    """Unix seconds since when `level` holds; meaningless while it is None."""
    seconds: QualitySeconds | None = None
    """Seconds in each level that is over; None until the first level."""

    def to(self, level: Quality | None, at: float) -> Levels:
        """The same function with `level` from `at` on."""
        if level == self.level:
            return self
        return Levels(level, at, self.totals(at) or (None if level is None else _NOTHING))

    def totals(self, now: float) -> QualitySeconds | None:
        """Seconds in each level until `now`; None before the first level."""
        if self.level is None or self.seconds is None:
            return self.seconds
        index = _INDEX[self.level]
        current = self.seconds[index] + stretch(self.since, now)
        before, after = self.seconds[:index], self.seconds[index + 1 :]
        return (*before, current, *after)  # pyright: ignore[reportReturnType]  (four, as before)


_NOTHING: Final[QualitySeconds] = (0.0, 0.0, 0.0, 0.0)

OFF: Final = Interval()
UNKNOWN: Final = Levels()


def add(one: QualitySeconds | None, other: QualitySeconds | None) -> QualitySeconds | None:
    """Both added up, level by level; None only if both are."""
    if one is None or other is None:
        return one or other
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])
