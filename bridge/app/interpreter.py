"""Settings of the Python interpreter, for a process that must answer at any time."""

from __future__ import annotations

import gc
import linecache
import sys
from typing import Final

SWITCH: Final = 0.001
"""Seconds for which a thread may go on when another wants the interpreter; 0.005 is Python's."""


def tune_interpreter() -> None:
    """Call it once, after all imports.

    A full garbage collection stops all threads.  From now on the collector skips the objects that
    exist now.  The loop releases the interpreter each time it waits.  It gets the interpreter back
    after `SWITCH` at the latest, also while a thread reads the store or draws a page.

    attrs stores the source of each method that it generates, for tracebacks: 0.9 MiB for 300
    classes.  It is given back.  A traceback then shows these methods without their source.
    """
    linecache.clearcache()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
