"""The two ports from an actor to its process: a clock and a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Unix seconds now."""


class Announce(Protocol):
    """Writes a line of the log: a name in snake_case and fields.  Must not raise, nor block."""

    def __call__(self, event: str, /, **fields: Any) -> object: ...
