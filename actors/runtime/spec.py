"""The specification of a child: its start, its restarts and its stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Generic, TypeAlias, TypeVar, final

from attrs import Attribute, field, frozen, validators

from actors.runtime.actor import Actor
from actors.runtime.errors import Exit, ExitKind
from actors.runtime.mailbox import DEFAULT_MAILBOX, MailboxSpec

M = TypeVar("M")

_ID: Final = validators.min_len(1)
_SECONDS: Final = validators.ge(0.0)
_SHARE: Final = validators.and_(validators.ge(0.0), validators.le(1.0))


class Restart(Enum):
    """After which ends a child is restarted.

    A child that its supervisor stopped is never restarted.
    """

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after a crash."""
    TEMPORARY = "temporary"
    """Never."""

    def applies_to(self, end: Exit) -> bool:
        """True if `end` is followed by a new incarnation."""
        if end.kind in (ExitKind.SHUTDOWN, ExitKind.KILLED):
            return False
        return self is Restart.PERMANENT or (
            self is Restart.TRANSIENT and end.kind is ExitKind.CRASHED
        )


class Strategy(Enum):
    """The rule for the other children when a child is restarted."""

    ONE_FOR_ONE = "one_for_one"
    """None."""
    REST_FOR_ONE = "rest_for_one"
    """The children that were started after it: stopped in reverse order, started in order."""


@frozen
class Intensity:
    """Restart intensity: at most `restarts` within `within` seconds."""

    restarts: int = field(default=3, validator=validators.ge(0))
    within: float = field(default=5.0, validator=validators.gt(0.0))


@frozen
class Backoff:
    """The pause before a restart: exponential, with jitter, reset after a calm time.

    The n-th restart in a row waits ``min(most, first * factor**(n-1))`` seconds, less a
    random share of up to `jitter` (0..1).
    """

    first: float = field(default=0.1, validator=_SECONDS)
    factor: float = field(default=2.0, validator=validators.ge(1.0))
    most: float = field(default=30.0, validator=_SECONDS)
    jitter: float = field(default=0.5, validator=_SHARE)
    reset_after: float = field(default=30.0, validator=_SECONDS)
    """Seconds that an incarnation must live until the next restart counts as the first."""

    def bound(self, attempt: int) -> float:
        """Seconds before restart number `attempt` (1, 2, ...) in a row, without jitter."""
        # The exponent is capped, since 2.0**1024 is an OverflowError.
        return min(self.most, self.first * self.factor ** min(attempt - 1, 64))

    def delay(self, attempt: int, random: random.Random) -> float:
        """Seconds before restart number `attempt` (1, 2, ...) in a row."""
        return self.bound(attempt) * (1.0 - self.jitter * random.random())


def _callable_start(child: ChildSpec[Any], _: Attribute[Any], start: object) -> None:
    if not callable(start):
        raise TypeError(
            f"child {child.id!r}: `start` is called for each incarnation, so it must be a class"
            f" or a function that makes the actor, not {start!r}"
        )


@frozen
class ChildSpec(Generic[M]):
    """One actor under a supervisor."""

    id: str = field(validator=_ID)
    start: Callable[[], Actor[M]] = field(validator=_callable_start)
    """Makes the actor object of an incarnation; called anew for each."""
    restart: Restart = Restart.PERMANENT
    shutdown: float = field(default=5.0, validator=_SECONDS)
    """Seconds from the request to stop until it is cancelled."""
    start_timeout: float = field(default=30.0, validator=_SECONDS)
    """Seconds for `Actor.started`."""
    significant: bool = False
    """Its supervisor shuts down when it ends by itself and is not restarted."""
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()
    mailbox: MailboxSpec = DEFAULT_MAILBOX


def _different_ids(
    group: GroupSpec, _: Attribute[Any], children: tuple[ChildSpec[Any], ...]
) -> None:
    ids = [child.id for child in children]
    twice = sorted({child_id for child_id in ids if ids.count(child_id) > 1})
    if twice:
        raise ValueError(f"group {group.id!r} has several children named {', '.join(twice)}")


@frozen
class GroupSpec:
    """A supervisor under a supervisor: `children` are started in order."""

    id: str
    children: tuple[ChildSpec[Any], ...] = field(default=(), validator=_different_ids)
    strategy: Strategy = Strategy.ONE_FOR_ONE
    restart: Restart = Restart.TEMPORARY
    significant: bool = False
    """As in `ChildSpec`."""
    intensity: Intensity = Intensity(restarts=10, within=10.0)
    """The budget of the group as a whole; when it is spent, the group escalates."""
    backoff: Backoff = Backoff()
    on_end: Callable[[Exit], object] = field(default=lambda _: None)
    """Called once, in the same step in which the group ends for good."""


AnySpec: TypeAlias = ChildSpec[Any] | GroupSpec


@final
class RestartBudget:
    """A sliding window over restarts."""

    __slots__ = ("_intensity", "_times", "spent")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._times: list[float] = []
        self.spent = 0
        """Restarts ever charged."""

    def charge(self, now: float) -> bool:
        """Count one restart at `now` (seconds).  False: the budget is spent."""
        times = self._times
        while times and times[0] <= now - self._intensity.within:
            times.pop(0)
        times.append(now)
        self.spent += 1
        return len(times) <= self._intensity.restarts
