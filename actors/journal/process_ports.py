"""What every actor here may use of the process that it runs in: its clock and its log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Unix seconds now."""


class Announce(Protocol):
    """Writes a line of the log: a name in snake_case and fields.  Must not raise, nor block."""

    def __call__(self, event: str, /, **fields: Any) -> object: ...
