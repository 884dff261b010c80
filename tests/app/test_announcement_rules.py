"""A rule that announces is checked when the worker starts, not when the room waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.rules.rule_config import read_rules
from bridge.app.announcement_desk import check_announcing_rules
from bridge.config.settings import SettingsError
from bridge.media import speech_engines

RULE = {"name": "recorded", "when": {"people": "== 1"}}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    gong = tmp_path / "gong.wav"
    rules = read_rules([{**RULE, "then": [{"play": str(gong)}]}])
    with pytest.raises(SettingsError, match=r"the rule 'recorded' plays .*gong\.wav"):
        check_announcing_rules(rules, None)
    gong.touch()
    check_announcing_rules(rules, None)


def test_a_text_without_an_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(speech_engines, "find_spec", lambda _: None)
    rules = read_rules([{**RULE, "then": [{"say": "This room is recorded."}]}])
    with pytest.raises(SettingsError, match=r"'recorded' says a text; no speech engine .*apt-get"):
        check_announcing_rules(rules, None)
    check_announcing_rules(read_rules([{**RULE, "then": ["alert"]}]), None)
