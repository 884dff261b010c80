"""The interpreter of a process that must answer at any time."""

from __future__ import annotations

import gc
import linecache
import sys

import attrs
import pytest

from bridge.app.interpreter import SWITCH, tune_interpreter


def test_generated_sources_do_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    intervals: list[float] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)

    @attrs.frozen
    class Generated:
        number: int

    assert any(name.startswith("<attrs generated") for name in linecache.cache)
    tune_interpreter()
    assert not linecache.cache
    assert (frozen, intervals) == ([True], [SWITCH])
    assert Generated(1) == Generated(1)
