"""LiveKit's clock as this program estimates it.  All times of sessions are read here.

A join carries the server's time.  All other events of a room get their time when they arrive.
If the two clocks differ, the length of each stay is wrong by the difference.  So the program
estimates the server's clock and reads that instead of its own.

The estimate is based on a steady clock (`steady`), which nobody sets and which also runs
while the machine sleeps.  A step of this machine's wall clock therefore changes no time of
a session.  The estimated value is the difference `server - steady`.  Each answer of the
server bounds it (Cristian's algorithm): the server read its clock between our question and
its answer.  Three kinds of answers are used:

* The `Date` of an HTTP answer: whole seconds.  It comes first, and also with a refusal.
  Behind a proxy it is the proxy's clock.
* LiveKit's answer to the worker's ping: milliseconds, every 5 s.
* The time at which the server let our own participant into a room: milliseconds, between
  the beginning and the end of our connect call.

The bounds of all answers are intersected.  Between answers they widen by `DRIFT`, so that
the estimate follows a clock that drifts.  The last two kinds are LiveKit's own times
(`exact`): they outweigh a `Date` that contradicts them.

**A paused virtual machine.**  Some hypervisors stop every clock of the guest while they pause
it, the steady one too.  Then `bridge.livekit.heartbeat` notices nothing, and the server's clock
seems to jump ahead by the length of the pause.  After `DOUBTS` answers the estimate follows it.
This is no gap of the reason ``suspended``, because a server whose clock was set ahead looks the
same:

* Neither case shows a silence.  The worker's socket and the rooms were silent for
  the length of the pause, but only by clocks that stood still meanwhile.
* A room's connection breaks only after a long pause, and it breaks for many other reasons.
  A broken connection makes a gap of the reason ``reconnecting``.
* This machine's wall clock could tell: if NTP sets it ahead by as much, the steady clock lost
  the time.  But NTP does that minutes later or never.  By then the sessions have long recorded
  the events after the pause.

After a false gap, every leave of the next second would get the time of the gap's beginning, in
every room and for good.  So a pause of this kind counts as watched.  Until the estimate has
followed (`DOUBTS` pings), times are early by its length.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from math import inf
from typing import Final, final

from attrs import frozen

DRIFT: Final = 5e-4
"""Seconds per second by which two clocks drift at most: the fastest that NTP slews."""
DOUBTS: Final = 3
"""So many answers in a row that contradict the estimate and agree with each other mean that the
server's clock was set.  A single one may only have been delayed on its way."""
EXACT_FOR: Final = 600.0
"""Seconds for which LiveKit's own time outweighs the `Date` of an HTTP answer."""
CATCH_UP_RATE: Final = 0.5
"""Speed of our server clock while it is ahead of the estimate: it slows and never steps back."""
MOST_AHEAD: Final = 60.0
"""Seconds that are caught up in this way.  If our server clock is further ahead, it steps back.
Otherwise a server whose clock was a year ahead for a minute would put us ahead for two years."""
LAST_TIME: Final = 253_402_300_800.0
"""Unix seconds of the year 10000.  A time beyond it, or before 1970, is invalid."""
_DATE_BYTES: Final = 64
"""Of a `Date` header.  A valid one has 29 (RFC 9110, 5.6.7)."""
_DAY: Final = len("Sun, 06 Nov 1994 ")
_CLOCK: Final = re.compile(rb"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] GMT")
WORTH_A_WARNING: Final = 1.0
"""Seconds of offset of this machine's clock above which it is logged, and `check` fails.

The times of sessions are right all the same.  The times of the log, of other programs on this
machine, and of sessions before the first answer are wrong.  LiveKit's webhooks and `Date` have
whole seconds, so a smaller difference is not logged."""


def _wall() -> float:
    return time.time()


def _steady_clock() -> Callable[[], float]:
    # CLOCK_MONOTONIC does not run while the machine is suspended; CLOCK_BOOTTIME (Linux) does.
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


steady: Final = _steady_clock()
"""Seconds on a clock that nobody sets and that runs while the machine sleeps."""


@frozen
class _Bounds:
    """`server - steady` lies in [low, high], in seconds."""

    low: float
    high: float
    at: float
    """Steady seconds of the newest answer in it."""
    exact_at: float
    """Steady seconds of the newest answer that was LiveKit's own time; -inf without any."""

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def aged(self, at: float) -> _Bounds:
        drift = DRIFT * max(0.0, at - self.at)
        return _Bounds(self.low - drift, self.high + drift, at, self.exact_at)

    def narrowed(self, newer: _Bounds) -> _Bounds | None:
        """The bounds that both allow; None where they contradict each other."""
        old = self.aged(newer.at)
        low, high = max(old.low, newer.low), min(old.high, newer.high)
        if low > high:
            return None
        return _Bounds(low, high, newer.at, max(old.exact_at, newer.exact_at))

    def is_exact(self, at: float) -> bool:
        return at - self.exact_at < EXACT_FOR


JOINED_AHEAD: Final = 60.0
"""Seconds by which a join may be ahead of the time at which we get it, because clocks differ.  A
time further ahead is invalid: the length of the stay would be negative."""


def joined_at(server_time: float, now: float) -> float:
    """When a participant joined: the server's time, or `now` where that is invalid."""
    return server_time if 0.0 < server_time <= now + JOINED_AHEAD else now


@final
class ServerClock:
    """One for the whole program.  Every thread may read it and add answers to it.

    Before the first answer it is this machine's wall clock.
    """

    def __init__(
        self,
        steady: Callable[[], float] = steady,
        wall: Callable[[], float] = _wall,
    ) -> None:
        self.steady = steady
        self._wall = wall
        self._lock = threading.Lock()
        self._bounds: _Bounds | None = None
        self._doubt: _Bounds | None = None
        """Bounds of the last `_doubts` answers, which contradict the estimate."""
        self._doubts = 0
        self._unknown = wall() - steady()
        self._read = -inf
        """The last reading of `now`; `_read_at` is its time (steady seconds)."""
        self._read_at = -inf

    @property
    def known(self) -> bool:
        """True if any answer of the server had its time."""
        return self._bounds is not None

    @property
    def offset(self) -> float | None:
        """Seconds by which this machine's wall clock is ahead of the server's; None if unknown."""
        bounds = self._bounds
        return None if bounds is None else self._wall() - (self.steady() + bounds.middle)

    @property
    def uncertainty(self) -> float | None:
        """Seconds by which `offset` may be wrong, each way; None if it is unknown."""
        bounds = self._bounds
        if bounds is None:
            return None
        now = bounds.aged(self.steady())
        return (now.high - now.low) / 2

    @property
    def is_off(self) -> bool:
        """True if this machine's clock differs by more than `WORTH_A_WARNING` for certain."""
        offset, uncertainty = self.offset, self.uncertainty
        if offset is None or uncertainty is None:
            return False
        return abs(offset) - uncertainty > WORTH_A_WARNING

    def agreed(self) -> float | None:
        """Unix seconds where this machine's clock agrees with the server's, else None."""
        return self.now() if self.known and not self.is_off else None

    def now(self) -> float:
        """Unix seconds on the server's clock.

        Never less than the reading before, unless that was wrong by more than `MOST_AHEAD`.
        """
        with self._lock:
            at = self.steady()
            bounds = self._bounds
            reading = at + (self._unknown if bounds is None else bounds.middle)
            slowed = self._read + CATCH_UP_RATE * (at - self._read_at)
            if slowed - reading <= MOST_AHEAD:
                reading = max(reading, slowed)
            self._read, self._read_at = reading, at
            return reading

    def observe(
        self, sent_at: float, server_time: float, *, within: float = 0.001, exact: bool = True
    ) -> None:
        """An answer that has just come had the server's time.

        `sent_at` is when we asked (steady seconds).  When the server answered, its clock was in
        [`server_time`, `server_time` + `within`), in Unix seconds.
        """
        at = self.steady()
        low, high = server_time - at, server_time + within - sent_at
        if low > high or not 0.0 < server_time < LAST_TIME:
            return
        with self._lock:
            self._take(_Bounds(low, high, at, at if exact else -inf))

    def observe_date(self, headers: Sequence[tuple[bytes, bytes]], sent_at: float) -> None:
        """An HTTP answer has just come; without a `Date` it is ignored."""
        date = date_of(headers)
        if date is not None:
            self.observe(sent_at, date, within=1.0, exact=False)

    def _take(self, newer: _Bounds) -> None:
        known = self._bounds
        if known is None:
            self._bounds = newer
            self._read = -inf  # The readings before were of our own clock, which may be wrong.
            return
        both = known.narrowed(newer)
        if both is None:
            both = self._contradicted(known, newer)
        else:
            self._doubt, self._doubts = None, 0
        self._bounds = both

    def _contradicted(self, known: _Bounds, newer: _Bounds) -> _Bounds:
        was_exact, is_exact = known.is_exact(newer.at), newer.is_exact(newer.at)
        if is_exact != was_exact:
            return newer if is_exact else known
        doubt = newer if self._doubt is None else self._doubt.narrowed(newer)
        self._doubts = 1 if doubt is None else self._doubts + 1
        self._doubt = newer if doubt is None else doubt
        if self._doubts < DOUBTS:
            return known
        settled, self._doubt, self._doubts = self._doubt, None, 0
        return settled


def date_of(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Unix seconds (whole) of the `Date` header; None without a readable one."""
    for name, value in headers:
        if name.lower() == b"date" and len(value) <= _DATE_BYTES:
            try:
                day, clock = value[:_DAY], value[_DAY:]
                if _CLOCK.fullmatch(clock):
                    return _midnight(day) + _seconds(clock)
                return parsedate_to_datetime(value.decode("ascii")).timestamp()
            except Exception:  # noqa: BLE001  OverflowError, IndexError …: all mean "no date"
                return None
    return None


@lru_cache(maxsize=4)
def _midnight(day: bytes) -> float:
    """Unix seconds of the begin of a day.  Nearly all answers are of the same one, and to parse a
    date as a whole takes 20 times as long."""
    return parsedate_to_datetime(f"{day.decode('ascii')}00:00:00 GMT").timestamp()


def _seconds(clock: bytes) -> int:
    """Seconds since midnight."""
    return int(clock[:2]) * 3600 + int(clock[3:5]) * 60 + int(clock[6:8])
