"""The table of other suites' cases names tests that exist, and leaves none unexplained."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.runtime.cases import CASES

HERE = Path(__file__).parent

OTP, PEKKO, TESTED = 93, 68, 90
"""Cases of each suite, and how many of both apply and have a test."""


def existing_tests() -> set[str]:
    return {
        node.name
        for file in HERE.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_every_case_has_a_test_that_exists_or_a_reason() -> None:
    existing = existing_tests()
    for case in CASES:
        assert bool(case.tests) != bool(case.why_not), case
        assert existing.issuperset(case.tests), case


def test_the_table_has_every_case_of_the_suites_it_is_of() -> None:
    suites = [case.suite for case in CASES]
    otp, pekko = sorted(set(suites), reverse=True)
    assert (suites.count(otp), suites.count(pekko)) == (OTP, PEKKO)
    assert sum(bool(case.tests) for case in CASES) == TESTED


def test_every_guarantee_of_the_page_links_to_a_test_that_exists() -> None:
    root = HERE.parent.parent
    links = re.findall(r"\[`(test_\w+)`\]\(\.\./(\S+\.py)\)", (root / "docs/actors.md").read_text())
    assert len(links) > 20
    for name, file in links:
        assert re.search(rf"def {name}\(", (root / file).read_text()), name
