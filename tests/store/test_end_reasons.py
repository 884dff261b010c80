"""The schema's words for ends are those of the table of end reasons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from actors.session import QUALITIES
from actors.session.end_reasons import CONTINUABLE
from bridge.store import schema

SCHEMA: Final = Path(schema.__file__).read_text()


def test_the_index_of_sessions_that_may_go_on_has_the_reasons_of_the_table() -> None:
    """SQL cannot import them; an index with other reasons would not be used."""
    found = re.findall(r"end_reason IN\s*\(([^)]*)\)", SCHEMA)
    assert found
    for reasons in found:
        assert frozenset(re.findall(r"'(\w+)'", reasons)) == CONTINUABLE


@pytest.mark.parametrize("level", QUALITIES)
def test_each_quality_has_a_column(level: str) -> None:
    assert f"quality_{level}" in SCHEMA
