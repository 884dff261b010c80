"""The errors of a conversation with an actor, and the ways in which an actor ends."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias, cast

import trio
from attrs import frozen

_Group: TypeAlias = BaseExceptionGroup[BaseException]


class ActorError(Exception):
    """Everything that the runtime raises."""


class ActorDown(ActorError):
    """The actor ended before it answered.

    `actor` is its path; the crash, where there was one, is the ``__cause__``.
    """

    def __init__(self, actor: str, reason: str) -> None:
        super().__init__(f"actor {actor} is down: {reason}")
        self.actor = actor
        self.reason = reason


class AskTimeout(ActorError):
    """No answer came in time.  The actor is not harmed; a late answer is a dead letter."""

    def __init__(self, actor: str, timeout: float) -> None:
        super().__init__(f"actor {actor} did not answer within {timeout:g} s")
        self.actor = actor
        self.timeout = timeout


class SelfAsk(ActorError):
    """An actor asked itself: it would wait for ever for its own next message."""


class StartTimeout(ActorError):
    """`Actor.started` did not return within the child's start timeout."""


class GroupEscalatedError(ActorError):
    """A supervisor spent its own restart budget; its parent has to decide."""


class ExitKind(Enum):
    """Why one incarnation of an actor ended."""

    NORMAL = "normal"
    """It stopped itself."""
    SHUTDOWN = "shutdown"
    """Its supervisor stopped it, and it obeyed in time."""
    CRASHED = "crashed"
    """An exception left it."""
    KILLED = "killed"
    """It did not obey in time and was cancelled."""


@frozen
class Exit:
    """The end of one incarnation."""

    kind: ExitKind
    error: BaseException | None = None

    @property
    def reason(self) -> str:
        """One line: the kind, and the exception where there is one."""
        if self.error is None:
            return self.kind.value
        return f"{self.kind.value}: {type(self.error).__name__}: {self.error}"


@frozen
class Down:
    """An actor that was watched has ended and no incarnation follows: one for each watch."""

    actor: str
    generation: int
    """How many incarnations it had."""
    kind: ExitKind
    """How the last one ended."""
    reason: str


def without_cancelled(
    error: BaseException,
) -> tuple[BaseException | None, BaseException | None]:
    """Split into (the cancellation in it, the rest), each None where there is none."""
    if isinstance(error, trio.Cancelled):
        return error, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    cancelled, rest = cast("_Group", error).split(trio.Cancelled)
    return cancelled, None if rest is None else _unwrapped(rest)


def _unwrapped(group: _Group) -> BaseException:
    """The only exception of a group that trio put around it, else the group."""
    if len(group.exceptions) != 1:
        return group
    inner = group.exceptions[0]
    return _unwrapped(cast("_Group", inner)) if isinstance(inner, BaseExceptionGroup) else inner
