"""Thousands of wrong inputs for every decoder: each is taken, or refused as it says."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.attack.decoders import DECODERS, SEEDS
from tests.attack.mutation import mutations

INPUTS = 1_500
INPUTS_IN_FILES = 150
"""A file is written for each."""


@pytest.mark.parametrize("name", DECODERS)
def test_a_wrong_input_is_refused_and_nothing_else(name: str) -> None:
    decoder = DECODERS[name]
    count = INPUTS_IN_FILES if decoder.in_a_file else INPUTS
    for data in islice(mutations(decoder.samples, seed=1), count):
        try:
            decoder.try_on(data)
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{data[:200]!r} ({len(data)} bytes): {error!r}")


@pytest.mark.parametrize("name", DECODERS)
def test_right_inputs_are_taken_and_earlier_faults_stay_mended(name: str) -> None:
    decoder = DECODERS[name]
    for sample in decoder.samples:
        decoder.decode(sample)
    for seed in decoder.seeds():
        decoder.try_on(seed)


def test_every_kept_input_belongs_to_a_decoder() -> None:
    assert {path.name for path in SEEDS.iterdir() if path.is_dir()} <= DECODERS.keys()


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second, other = (list(islice(mutations([b"abc"], seed), 50)) for seed in (1, 1, 2))
    assert first == second != other
