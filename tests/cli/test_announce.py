"""`say` and `play`: what is wrong with an order is one line, and nothing is sent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from actors.publishing.announcement_bounds import FILE_SIZE
from bridge.cli import main
from bridge.lab.server.ports import free_port


@pytest.mark.parametrize(
    "words, error",
    [
        (("say", "standup"), "TEXT is missing: room-actors say ROOM TEXT"),
        (("say", "standup", "  "), "TEXT must have 1 to 2000 characters"),
        (("say", "standup", "x" * 2_001), "TEXT must have 1 to 2000 characters"),
        (("say", "standup", "Hi.", "--http", "off"), "name one by --api"),
        (("say", "standup", "Hi.", "--api", "ftp://x"), "--api"),
        (("show", "standup"), "show needs one of these: IMAGE, TEXT or --pattern PATTERN"),
        (("show", "standup", "Hi.", "--pattern", "gradient"), "show needs one of these"),
        (("show", "standup", "--pattern", "zebra"), "'zebra' is not known; give one of color_bars"),
        (("show", "standup", "Hi.", "--seconds", "nan"), "--seconds: 'nan' is out of range"),
        (("show", "standup", "Hi.", "--seconds", "3601"), "more than 0 and at most 3600"),
        (("show", "standup", "missing.png"), "missing.png is no file; a TEXT must not end in .png"),
        (("show", "standup", "empty.wav"), "empty.wav must have 1 byte to 5 MB"),
        (("show", "standup", "big.wav"), "big.wav must have 1 byte to 5 MB"),
        (("show", "standup", "x" * 2_001), "TEXT must have 1 to 2000 characters"),
        (("play", "standup", "missing.wav"), "missing.wav cannot be read"),
        (("play", "standup", "empty.wav"), "empty.wav must have 1 byte to 20 MB"),
        (("play", "standup", "big.wav"), "big.wav must have 1 byte to 20 MB"),
    ],
)
def test_wrong_use_is_one_line(
    words: tuple[str, ...],
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.wav").touch()
    with Path("big.wav").open("wb") as big:
        big.truncate(FILE_SIZE + 1)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert error in line


def test_without_a_worker_the_line_says_where_it_looked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    assert main(("say", "standup", "Hello.", "--http", address)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"http://{address}: connection refused" in line
