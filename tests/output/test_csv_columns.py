"""CSV: no cell is a formula, whatever a country's spreadsheets take for the separator."""

from __future__ import annotations

import csv
import io

import pytest

from bridge.output.csv_columns import PARTICIPANT_COLUMNS, as_csv
from tests.session.session_story import Story, person

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
    written = as_csv({"name": str}, [text])
    (row,) = list(csv.reader(io.StringIO(written), delimiter=separator))[1:]
    for cell in row:
        assert not cell.lstrip(" '\"").startswith(FORMULAS) or cell.lstrip(' "').startswith("'")


def test_text_without_a_formula_stays_as_it_is() -> None:
    for text in ("a;b", "1-2", "a = b", "mail@example.org"):
        assert as_csv({"name": str}, [text]) == f"name\n{text}\n"


def test_a_join_that_goes_on_is_not_aborted() -> None:
    story = Story()
    for number, joined in enumerate((1.0, 31.0), 1):
        ringing = {"sip.callStatus": "ringing"}
        caller = person("phone", f"PA_{number}", joined, kind="sip", attributes=ringing)
        story.joined(joined, caller)
        if number == 1:
            story.left(joined + 5, "phone", "PA_1")
    (phone,) = story.session(60.0).participants
    assert [(join.active, join.left_at is None) for join in phone.joins] == [
        (False, False),
        (False, True),
    ]
    assert PARTICIPANT_COLUMNS["joins_aborted"](phone) == 1
    assert PARTICIPANT_COLUMNS["joins"](phone) == 0
