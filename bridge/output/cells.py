"""Strangers' text in the cells of a terminal, cut to the width that there is.

A character takes no cell, one or two.  Terminals disagree about some characters.  The worst of them
(variation selectors, many combining marks on one letter) are left out.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.cells import cell_len, set_cell_size

from bridge.output.harmless import harmless

CUT: Final = "…"
_MOST: Final = 1_000
"""The most characters that are examined: more than any terminal is wide."""
_MARKS: Final = 2
"""The most combining marks of one character."""
_SELECTORS: Final = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """`text`, made harmless, in exactly this many cells: filled with blanks, or cut."""
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
