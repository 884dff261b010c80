"""`check` says which engine speaks, and what to install where the wanted one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.cli.speech_check import check_speech
from bridge.config.settings import read_settings
from bridge.media import speech_engines


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(speech_engines, "find_spec", lambda _: None)
    return tmp_path


def test_the_engine_that_is_installed_is_named(programs: Path) -> None:
    engine = programs / "espeak-ng"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    row = check_speech(read_settings({}, {}))
    assert (row.status, row.detail) == ("ok", "espeak-ng")


def test_without_one_the_check_goes_on_and_says_what_to_install(programs: Path) -> None:
    row = check_speech(read_settings({}, {}))
    assert row.status == "left out"
    assert "apt-get install espeak-ng" in row.do


def test_a_wanted_engine_that_is_missing_fails(programs: Path) -> None:
    row = check_speech(read_settings({"speech-engine": "hibari"}, {}))
    assert (row.status, row.detail) == ("failed", "hibari is not installed")
    assert check_speech(read_settings({"speech-engine": "x"}, {})).status == "left out"
