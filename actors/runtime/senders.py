"""Debug mode: the line that sent a message which the actor has no handler for.

`Ref.tell` has returned long before the message is read, so the traceback of that moment does
not show the mistake.  Only messages that the actor may not understand are noted, which keeps
the table small.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import currentframe
from typing import Any, Final, Protocol, final

_PACKAGE: Final = __name__.rpartition(".")[0]


class HandlerTable(Protocol):
    """The handlers of an actor, as far as this module looks at them."""

    def get(self, kind: type, /) -> Any: ...


@final
class Senders:
    """The senders of the messages of one mailbox."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[type, str]] = {}
        """By the identity of a queued message."""
        self._handlers: HandlerTable | None = None
        """None until the first incarnation: until then every message is noted."""

    def noting(self, offer: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """The function `offer`, with a note of who calls it."""

        def offer_and_note(message: Any) -> bool:
            kind: type = message.__class__
            if self._handlers is None or self._handlers.get(kind) is None:
                self._lines[id(message)] = kind, line_of_caller()
            return offer(message)

        return offer_and_note

    def learn(self, handlers: HandlerTable) -> None:
        """An incarnation begins: it understands these."""
        self._handlers = handlers
        for key, (kind, _) in tuple(self._lines.items()):
            if handlers.get(kind) is not None:
                del self._lines[key]

    def take(self, message: Any) -> str:
        """The line that sent `message`, once; empty where it is not known."""
        return self._lines.pop(id(message), (object, ""))[1]


def sender_of(senders: Senders | None, message: object) -> str:
    """The line that sent `message`; empty where it is not known, as without debug mode."""
    return "" if senders is None else senders.take(message)


def line_of_caller() -> str:
    """The innermost line outside the runtime, as ``file:line``."""
    frame = currentframe()
    if frame is None:
        return ""
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{_PACKAGE}."):
        frame = frame.f_back
    if frame.f_globals.get("__name__", "").startswith("trio."):
        return "a timer (Context.after)"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
