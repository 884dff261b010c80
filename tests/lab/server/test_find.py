"""The search for a livekit-server, in the order of `docs/contract.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.lab.server import ServerUnavailableError, find_server


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOM_ACTORS_LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_there_may_be_none():
    assert find_server() is None


def test_the_named_one_comes_before_path_and_path_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    built = program(tmp_path / "cache" / "room-actors" / "livekit-server-1.13.5")
    assert find_server() == built
    on_path = program(tmp_path / "path" / "livekit-server")
    assert find_server() == on_path
    named = program(tmp_path / "named")
    monkeypatch.setenv("ROOM_ACTORS_LIVEKIT_SERVER", str(named))
    assert find_server() == named


def test_a_named_one_that_is_not_there_is_an_error_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program(tmp_path / "path" / "livekit-server")
    monkeypatch.setenv("ROOM_ACTORS_LIVEKIT_SERVER", str(tmp_path / "nothing"))
    with pytest.raises(ServerUnavailableError, match="ROOM_ACTORS_LIVEKIT_SERVER names"):
        find_server()


def test_what_cannot_be_executed_is_not_found(tmp_path: Path):
    program(tmp_path / "cache" / "room-actors" / "livekit-server-1.13.5").chmod(0o644)
    assert find_server() is None


@pytest.mark.parametrize("void", ["", "relative/path"])
def test_the_cache_is_in_the_home_folder_where_xdg_says_nothing_usable(
    void: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", void)
    built = program(tmp_path / "home" / ".cache" / "room-actors" / "livekit-server-1.13.5")
    assert find_server() == built


def test_another_version_in_the_cache_is_not_ours(tmp_path: Path):
    program(tmp_path / "cache" / "room-actors" / "livekit-server-1.12.0")
    assert find_server() is None
