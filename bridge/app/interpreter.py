"""The interpreter of a process that must answer at any time."""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH: Final = 0.001
"""Seconds for which a thread may go on when another wants the interpreter; 0.005 is Python's."""


def tune_interpreter() -> None:
    """Call it once, when all that lives for ever is imported.

    No full collection, which stops everything for as long as it takes, looks at that again.
    And a thread that reads the store or draws a page gives the loop its turn soon: the loop
    lets go of the interpreter each time it waits, and gets it back after `SWITCH`.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
