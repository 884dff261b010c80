"""The people's process: its answers, and its end together with whoever started it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import trio

from bridge.lab.people import PeopleError, SharedProcess, open_people
from bridge.lab.people.person import payload_format

ROOT = Path(__file__).resolve().parents[3]

PARENT = """
    import os, signal, sys, trio
    from bridge.lab.people import open_people

    async def main():
        async with open_people("ws://127.0.0.1:9", "key", "secret" * 8) as people:
            print(*people.pids, flush=True)
            {end}

    trio.run(main)
"""


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "sys.exit(3)", "raise ValueError"],
)
def test_the_people_end_with_their_parent_however_it_ends(end: str):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PARENT.format(end=end))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pid = int(done.stdout)
    # Its standard error was the parent's pipe: it is gone when it says so or at once after.
    _, alive = psutil.wait_procs(
        [psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60
    )
    assert not alive


async def test_a_server_that_is_not_there_is_an_error():
    async with open_people("ws://127.0.0.1:9", "key", "secret" * 8) as people:
        with trio.fail_after(60), pytest.raises(PeopleError, match=r"'alice' join: .*connect"):
            await people.join("nowhere", "alice")


async def test_ctrl_c_in_the_terminal_does_not_reach_the_people():
    import signal

    async with open_people("ws://127.0.0.1:9", "key", "secret" * 8) as people:
        process = psutil.Process(people.pids[0])
        process.send_signal(signal.SIGINT)
        with trio.fail_after(60), pytest.raises(PeopleError, match="connect"):
            await people.join("nowhere", "alice")
        assert people.pids == (process.pid,)


async def test_a_shared_process_is_for_one_server():
    """Its people would join the rooms of the first server for ever, and nobody would say so."""
    shared_process = SharedProcess()
    pids: list[tuple[int, ...]] = []
    for port in (9, 10):
        async with open_people(
            f"ws://127.0.0.1:{port}", "key", "secret" * 8, shared=shared_process
        ) as people:
            pids.append(people.pids)
    await shared_process.end()
    assert pids[0] != pids[1]


async def test_the_secret_is_in_no_argument_and_no_environment_of_the_process():
    secret = "not-to-be-seen-" * 3
    async with open_people("ws://127.0.0.1:9", "key", secret) as people:
        process = psutil.Process(people.pids[0])
        assert secret not in " ".join(process.cmdline())
        assert secret not in " ".join(process.environ().values())


async def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "attrs.py"
    broken.write_text("raise SystemExit('no attrs here eyJhbGciOi.eyJzdWIiOi.c2ln')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PeopleError, match="did not start: no attrs here <token>"):
        async with open_people("ws://127.0.0.1:9", "key", "secret" * 8):
            pass


@pytest.mark.parametrize(
    "payload,kind",
    [
        (b'{"a": 1}', "json"),
        (b"[1]", "json"),
        (b"1", "text"),
        (b'"a"', "text"),
        (b"", "text"),
        ("größer".encode(), "text"),
        (b"\xff", "binary"),
    ],
)
def test_the_format_of_a_payload(payload: bytes, kind: str):
    assert payload_format(payload) == kind
