"""Tables for people: as wide as the terminal, or as their content where it goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.harmless import harmless

_PLAIN_WIDTH: Final = 2_000
"""Not into a terminal: lines stay whole, for grep."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On stdout.  Cells may be whatever somebody typed."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _PLAIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    sys.stdout.write("".join(f"{line if terminal else line.rstrip()}\n" for line in lines))
