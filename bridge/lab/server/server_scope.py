"""The parts that every server of the laboratory has: the wait for its first answer, and its end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from bridge.lab.server.guarded_process import Guarded
from bridge.lab.server.server_errors import ServerStartError


class ServerScope(ABC):
    """A context manager: leaving it stops the server."""

    __slots__ = ()

    @abstractmethod
    def stop(self) -> None:
        """End it.  Harmless if it has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def wait_until_ready(
    process: Guarded, answers: Callable[[], bool], within: float, silent: str
) -> None:
    """Wait up to `within` seconds until the server of this process `answers`.

    Raises `ServerStartError` with the text `silent` where it ended, or took longer.
    """
    deadline = time.monotonic() + within
    while not answers():
        if process.wait(0.02) or time.monotonic() > deadline:
            raise ServerStartError(silent)
