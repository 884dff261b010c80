"""The reply side of a question: one answer, to one asker, at most once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

from actors.runtime.errors import ActorError

R = TypeVar("R")

_PENDING: Final[Any] = object()


@final
class ReplyTo(Generic[R]):
    """Takes the answer to one question.  `Ref.ask` puts it into the message; answer with `send`.

    It ends exactly once: with a value, with an error (the actor went down), or
    abandoned (the asker's deadline passed, or it was cancelled).  A later answer is a dead
    letter: it is counted and is no error for the actor that sends it.
    """

    __slots__ = ("_abandoned", "_error", "_finished", "_on_late", "_value")

    def __init__(self, finished: Callable[[], object], on_late: Callable[[str], object]) -> None:
        self._finished: Callable[[], object] = finished
        self._on_late = on_late
        self._value: R = _PENDING
        self._error: ActorError | None = None
        self._abandoned = False

    @property
    def over(self) -> bool:
        """True if the question has ended."""
        return self._abandoned or self._error is not None or self._value is not _PENDING

    def send(self, value: R) -> bool:
        """Answer.  False: nobody waits any more, and the answer is a dead letter."""
        if self.over:
            self._on_late("late reply" if self._abandoned else "second reply")
            return False
        self._value = value
        self._finished()
        return True

    def fail(self, error: ActorError) -> bool:
        """End the question without an answer: `error` is raised at the asker."""
        if self.over:
            return False
        self._error = error
        self._finished()
        return True

    def abandon(self) -> bool:
        """End the wait of the asker.  True if the answer came in time."""
        if self.over:
            return not self._abandoned
        self._abandoned = True
        return False

    def result(self) -> R:
        """The value, or raise the error.  Only after `over`."""
        if self._error is not None:
            raise self._error
        return self._value

    def outcome(self) -> R | ActorError:
        """The value or the error, as a value."""
        return self._value if self._error is None else self._error
