"""An actor that takes no messages and runs one function, so that a loop is supervised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, final

from actors.runtime.actor import Actor


@final
class Service(Actor[NoReturn]):
    """Runs `function`, and ends normally when that returns.

    An exception in it is a crash; `ChildSpec.restart` decides what follows.
    """

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self._function = function

    async def started(self) -> None:
        self.context.start_soon(self._run)

    async def _run(self) -> None:
        await self._function()
        self.context.stop()
