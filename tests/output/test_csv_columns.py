"""CSV: no cell is a formula, whatever a country's spreadsheets take for the separator."""

from __future__ import annotations

import csv
import io

import pytest

from bridge.output.csv_columns import PERSON_COLUMNS, as_csv

FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "  @SUM(A1)",
        "x;=1",
        "x; =1",
        'x;"=1"',
        "x;';=1",
        ";=1;+1",
        "a;b;\uff1d1",
        "x\t=1",
        "x\n=1",
    ],
)
def test_no_cell_begins_like_a_formula(text: str, separator: str) -> None:
    written = as_csv({"name": lambda row: row["name"]}, [{"name": text}])
    (row,) = list(csv.reader(io.StringIO(written), delimiter=separator))[1:]
    for cell in row:
        assert not cell.lstrip(" '\"").startswith(FORMULAS) or cell.lstrip(' "').startswith("'")


def test_text_without_a_formula_stays_as_it_is() -> None:
    for text in ("a;b", "1-2", "a = b", "mail@example.org"):
        assert as_csv({"name": lambda row: row["name"]}, [{"name": text}]) == f"name\n{text}\n"


def test_a_join_that_goes_on_is_not_aborted() -> None:
    joins = [
        {"active": False, "left_at": "2026-01-01T00:00:00.000Z"},
        {"active": False, "left_at": None},
    ]
    assert PERSON_COLUMNS["joins_aborted"]({"joins": joins}) == 1
    assert PERSON_COLUMNS["joins"]({"joins": joins}) == 0
