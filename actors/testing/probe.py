"""An actor that only records its messages, so that a test can await and read them."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar, final

import trio

from actors.runtime import Actor, ActorSystem, ChildSpec, Down, Ref, sleep

T = TypeVar("T")


@final
class _Everything:
    """A table in which every message class has the same handler."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def get(self, kind: type) -> Any:
        """As of a dict; questions come in a slot of their own and are then asked for."""
        return None if kind.__name__ == "Slot" else self._handler


class _Listener(Actor[Any]):
    def __init__(self, probe: TestProbe) -> None:
        self._probe = probe
        self.handlers: Any = _Everything(_Listener._note)

    def _note(self, message: Any) -> None:
        self._probe.note(message)

    def down(self, message: Down) -> None:
        self._probe.note(message)


@final
class TestProbe:
    """Give `ref` to the actor under test.  A question is a message here too: answer it through
    its `reply_to`."""

    __test__ = False  # not a test class of pytest

    def __init__(self, system: ActorSystem, name: str = "probe") -> None:
        self.ref: Ref[Any] = system.supervisor.start_child(ChildSpec(name, lambda: _Listener(self)))
        self.received: list[Any] = []
        """Everything so far, in order."""
        self._unread: deque[Any] = deque()
        self._changed = trio.Event()

    def note(self, message: Any) -> None:
        self.received.append(message)
        self._unread.append(message)
        self._changed.set()

    async def receive(self, kind: type[T], *, timeout: float = 10.0) -> T:
        """The next message, which must be of `kind`.  AssertionError where it is another, or
        none comes within `timeout` seconds."""
        with trio.move_on_after(timeout):
            while not self._unread:
                self._changed = trio.Event()
                await self._changed.wait()
        if not self._unread:
            raise AssertionError(f"no {kind.__name__} within {timeout:g} s")
        message = self._unread.popleft()
        if not isinstance(message, kind):
            raise AssertionError(  # noqa: TRY004 (it is a test that fails)
                f"expected {kind.__name__}, got {message!r}"
            )
        return message

    async def expect_nothing(self, *, during: float = 1.0) -> None:
        """AssertionError if anything is unread or comes within `during` seconds."""
        if not self._unread:
            await sleep(during)
        if self._unread:
            raise AssertionError(f"expected nothing, got {self._unread[0]!r}")
