"""`simulate --cluster`: workers that share a simulated database."""

from __future__ import annotations

import pytest

from bridge.cli.simulate_cluster import parse_size
from bridge.cli.simulate_command import SIMULATE
from bridge.config.settings import SettingsError
from bridge.lab.cluster.cluster_plan import FAULT_KINDS
from tests.cli.conftest import RunCommand


def test_every_law_holds_under_every_fault(room_actors: RunCommand) -> None:
    done = room_actors("simulate", "--cluster", "3x24")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout
    assert all(kind in done.stdout for kind in FAULT_KINDS)


@pytest.mark.parametrize("size", ["20", "1x5", "5x4", "1000x2000", "5x1000000", "axb", ""])
def test_a_size_that_makes_no_cluster_is_refused(size: str) -> None:
    assert parse_size("20x10000") == (20, 10000)
    with pytest.raises(ValueError, match=r"^give "):
        parse_size(size)


def test_a_wrong_size_says_what_to_give() -> None:
    with pytest.raises(SettingsError, match="--cluster: give WORKERSxROOMS, for example 20x10000"):
        SIMULATE.run({"cluster": "many"})
