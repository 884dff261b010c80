"""Text in the cells of a terminal: what strangers typed, as wide as there is room for it.

A character may take no cell, one or two, and terminals do not agree on all of them; what
they disagree on most (variation selectors, heaps of combining marks) is left out.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.cells import cell_len, set_cell_size

from bridge.output.harmless import harmless

CUT: Final = "…"
_MOST: Final = 1_000
"""Characters that are looked at: more than any terminal is wide."""
_MARKS: Final = 2
"""Combining marks that one character may have."""
_SELECTORS: Final = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """`text`, harmless, in exactly so many cells: filled with blanks, or cut."""
    shown = harmless(_calm(text[:_MOST]), _MOST)
    if (taken := cell_len(shown)) > cells:
        return set_cell_size(set_cell_size(shown, cells - 1).rstrip() + CUT, cells)
    blanks = " " * (cells - taken)
    return blanks + shown if right else shown + blanks


def _calm(text: str) -> str:
    if text.isascii():
        return text
    safe, marks = list[str](), 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MARKS and char not in _SELECTORS:
            safe.append(char)
    return "".join(safe)
