"""The interpreter of a process that must answer at any time."""

from __future__ import annotations

import gc
import linecache
import sys
from typing import Final

SWITCH: Final = 0.001
"""Seconds for which a thread may go on when another wants the interpreter; 0.005 is Python's."""


def tune_interpreter() -> None:
    """Call it once, when everything that stays for ever is imported.

    A full collection stops all threads; from now on it does not look at these objects again.  The
    loop gives the interpreter up each time it waits.  It gets it back after `SWITCH` at the latest,
    also while a thread reads the store or draws a page.

    attrs stores the source of each method that it generates, for tracebacks: 0.9 MiB for 300
    classes.  It is given back.  A traceback then shows these methods without their source.
    """
    linecache.clearcache()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
