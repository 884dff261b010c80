"""Tables for people: as wide as the terminal, or as their content where it goes to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.output.harmless import harmless

_PLAIN_WIDTH: Final = 2_000
"""Not into a terminal: lines stay whole, for grep."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On stdout.  Cells may be whatever somebody typed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    print_lines([table])


def print_lines(parts: Iterable[RenderableType]) -> None:
    """On stdout; without a colour or a style where nobody would see it, or wants it."""
    terminal = sys.stdout.isatty()
    plain = not terminal or bool(os.environ.get("NO_COLOR"))
    console = Console(
        width=None if terminal else _PLAIN_WIDTH,
        force_terminal=terminal,
        color_system=None if plain else "auto",
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))
    lines = captured.get().splitlines()
    sys.stdout.write("".join(f"{line if terminal else line.rstrip()}\n" for line in lines))
