"""Every figure of docs/security.md is the value of the constant that stands beside it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

import pytest

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
ROW: Final = re.compile(
    r"\| (?P<what>[^|]+) \| (?P<figure>[0-9,]+) ?(?P<unit>\w*) \| `(?P<name>[\w.]+)` \|"
)
UNITS: Final = {"": 1, "characters": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20}
FEWEST: Final = 40
"""Rows: so that a change of the form does not leave a page that nothing holds."""
ROWS: Final = [row for line in PAGE.splitlines() if (row := ROW.fullmatch(line))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_figure_is_the_value_of_its_constant(row: re.Match[str]) -> None:
    module, _, name = row["name"].rpartition(".")
    value = getattr(importlib.import_module(module), name)
    assert int(row["figure"].replace(",", "")) * UNITS[row["unit"]] == value


def test_every_figure_of_the_page_stands_in_such_a_row() -> None:
    assert len(ROWS) >= FEWEST
    rest = "\n".join(line for line in PAGE.splitlines() if not ROW.fullmatch(line))
    assert re.findall(r"[0-9]+", rest) == []


def test_every_file_that_the_page_names_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    named = re.findall(r"`((?:tests|docs|bin)/[\w./-]+)", PAGE)
    assert len(named) > 5
    assert [name for name in named if not (root / name).exists()] == []
