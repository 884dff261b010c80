"""The examples of hypothesis do not depend on which modules were imported."""

from __future__ import annotations

from hypothesis.internal.conjecture.providers import HypothesisProvider


def test_no_constant_of_our_modules_is_drawn() -> None:
    """If this fails, the private function that tests/conftest.py replaces has moved."""
    constants = HypothesisProvider(None)._local_constants
    assert len(constants) == 0
