"""The runtime's outside: one façade, and classes that only the runtime makes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import actors.runtime
from actors.runtime import ActorSystem, Context, Ref, Supervisor
from actors.runtime.cell import Cell

TESTS = Path(__file__).resolve().parents[1]
WHITE_BOX = {"runtime", "simulation/test_checks.py"}
"""Tests that look inside the runtime: its own, and those that break it on purpose."""


def imported_modules(file: Path) -> set[str]:
    return {
        node.module
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }


def test_tests_of_other_folders_use_the_runtime_through_its_facade():
    """For actors/ and bridge/ import-linter holds the same."""
    for file in TESTS.rglob("*.py"):
        name = file.relative_to(TESTS).as_posix()
        if not any(name.startswith(allowed) for allowed in WHITE_BOX):
            inside = [one for one in imported_modules(file) if one.startswith("actors.runtime.")]
            assert inside == [], name


def test_all_that_the_facade_names_is_there():
    assert sorted(actors.runtime.__all__) == sorted(set(actors.runtime.__all__))
    for name in actors.runtime.__all__:
        assert hasattr(actors.runtime, name), name


@pytest.mark.parametrize("kind", [ActorSystem, Supervisor, Cell, Context, Ref])
def test_what_only_the_runtime_makes_cannot_be_made_by_hand(kind: Any):
    with pytest.raises(TypeError, match="has no public constructor: the actor runtime makes it"):
        kind(None, None)
