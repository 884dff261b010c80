"""The reports of one system: signals to all who listen, and the count of dead letters."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, TypeVar, final

from actors.runtime.signals import DeadLetter, Signal

A = TypeVar("A")

DEAD_LETTERS_REMEMBERED: Final = 100
"""Newest dead letters, and kinds of dead letters, that are kept."""


@final
class Reports:
    """Everything that happens to the actors of one system is reported here once."""

    def __init__(self, on_signal: Callable[[Signal], object] | None) -> None:
        self.dead_letters: Counter[str] = Counter()
        """How many, by actor's path and message: ``/a/b Add``; bounded (see `dead_letter`)."""
        self.recent_dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_REMEMBERED)
        self._dead_letter_count = 0
        self._listeners: list[Callable[[Signal], object]] = []
        if on_signal is not None:
            self._listeners.append(on_signal)

    def listen(self, listener: Callable[[Signal], object]) -> Callable[[], None]:
        """See `ActorSystem.listen`."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, signal: Signal) -> None:
        """Call all listeners."""
        for listener in tuple(self._listeners):
            self.call(listener, signal)

    def call(self, callback: Callable[[A], object], argument: A) -> None:
        """Call a function of the user.  An exception in it is shown and harms no actor."""
        try:
            callback(argument)
        except Exception as error:  # noqa: BLE001 (shown, and the actors go on)
            sys.excepthook(type(error), error, error.__traceback__)

    def dead_letter(self, actor: str, what: str, sender: str = "") -> None:
        """Account for a message that nobody will read.  `sender`: see `DeadLetter`.

        Bounded: after `DEAD_LETTERS_REMEMBERED` kinds, a new kind is counted as ``(others)``.
        """
        key = f"{actor} {what}"
        if key not in self.dead_letters and len(self.dead_letters) >= DEAD_LETTERS_REMEMBERED:
            key = "(others)"
        self.dead_letters[key] += 1
        self._dead_letter_count += 1
        letter = DeadLetter(actor, what, sender, self._dead_letter_count)
        self.recent_dead_letters.append(letter)
        self.emit(letter)
