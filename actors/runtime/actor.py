"""The base class of actors: one method for each message class.

    @frozen
    class Add:
        amount: int

    @frozen
    class Total:
        reply_to: ReplyTo[int]

    class Adder(Actor[Add | Total]):
        def __init__(self) -> None:
            self.total = 0

        @receives(Add)
        def add(self, message: Add) -> None:
            self.total += message.amount

        @receives(Total)
        def tell_total(self, message: Total) -> None:
            message.reply_to.send(self.total)

One message is handled at a time, so the state needs no lock.  A handler that raises
crashes this incarnation, and its supervisor decides about a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar, get_args

from actors.runtime.context import Context
from actors.runtime.errors import Down

M = TypeVar("M")
A = TypeVar("A")
T = TypeVar("T")

Handler = Callable[[Any, Any], Awaitable[None] | None]


def receives(
    *messages: type[T],
) -> Callable[[Callable[[A, T], Awaitable[None] | None]], Callable[[A, T], Awaitable[None] | None]]:
    """Mark a method as the handler of exactly these message classes (not of subclasses)."""

    def mark(
        handler: Callable[[A, T], Awaitable[None] | None],
    ) -> Callable[[A, T], Awaitable[None] | None]:
        handler.__receives__ = messages  # type: ignore[attr-defined]
        return handler

    return mark


def _declared_messages(cls: type) -> tuple[type, ...]:
    """The classes among the members of M in `class X(Actor[M])`."""
    for base in getattr(cls, "__orig_bases__", ()):
        for argument in get_args(base):
            members = get_args(argument) or (argument,)
            return tuple(
                member for member in members if isinstance(member, type) and member is not Any
            )
    return ()


class Actor(Generic[M]):
    """Base of all actors; the generic parameter is the union of its message classes.

    A subclass that declares a message without a handler is a TypeError when the class is
    made, not when the message comes.
    """

    handlers: ClassVar[Mapping[type, Handler]] = {}
    context: Context[M]
    """The actor's means besides its messages.  Set before `started`, not in ``__init__``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = dict(cls.handlers)
        for value in vars(cls).values():
            for message in getattr(value, "__receives__", ()):
                table[message] = value
        missing = [member.__name__ for member in _declared_messages(cls) if member not in table]
        if missing:
            raise TypeError(f"{cls.__qualname__} has no @receives handler for {', '.join(missing)}")
        cls.handlers = table

    async def started(self) -> None:
        """Called before the first message of this incarnation.  An exception is a failed start."""

    async def stopping(self) -> None:
        """Called after the last message of an orderly stop; not after a crash."""

    def overflowed(self) -> None:
        """Called after a message that must not be lost was refused: compare with the source."""

    def down(self, message: Down) -> None:
        """Called once when an actor that it watches (`Context.watch`) has ended for good."""
