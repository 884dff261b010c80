"""Rules about measured audio are refused where nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from actors.rules.rule_config import read_rules
from bridge.app.rule_acting import require_measured_tracks
from bridge.config.values import SettingsError


@pytest.mark.parametrize(
    "table",
    [
        {"when": {"poor_audio": True}},
        {"any": {"people": "> 3", "poor_audio": ">= 2"}},
        {"person": {"poor_audio": False}},
        {"event": "audio_changed"},
    ],
)
def test_a_rule_about_audio_needs_measured_tracks(table: Mapping[str, Any]) -> None:
    rules = read_rules([{"name": "hear", "then": ["alert"], **table}])
    with pytest.raises(SettingsError, match=r"'hear'.*--measure-tracks"):
        require_measured_tracks(rules, "off")
    require_measured_tracks(rules, "sampled")


def test_other_rules_do_not() -> None:
    rules = read_rules([{"name": "bad", "then": ["alert"], "when": {"quality": "poor"}}])
    require_measured_tracks(rules, "off")
