"""`/openapi.json` is true: schemathesis asks everything it says, well and badly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from bridge.http.api_doc import HEALTH, PATHS
from tests.http.kept import open_kept

ENDLESS = "/api/v1/events"
ELSEWHERE = "/metrics"
"""Has a test of its own, and is not part of what `open_kept` serves."""
ITSELF = "/openapi.json"
"""Schemathesis does not ask for what it was given."""
TOKEN = "a-token-of-the-operator"


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_every_answer_is_as_the_document_says(token: str | None, tmp_path: Path):
    async with open_kept(tmp_path / "store", token=token) as kept:
        await kept.fill()
        command = [
            sys.executable, "-m", "schemathesis.cli", "run",
            f"http://{kept.site.address}/openapi.json",
            "--checks", "all", "--phases", "coverage,fuzzing", "--max-examples", "20",
            "--generation-deterministic", "--no-color",
            "--exclude-path", ENDLESS, "--exclude-path", ELSEWHERE,
            *(["--header", f"Authorization: Bearer {token}"] if token else []),
        ]  # fmt: skip
        ran = await trio.run_process(
            command,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=tmp_path,
        )
    assert ran.returncode == 0, ran.stdout.decode()
    tested = len({*PATHS, *HEALTH} - {ENDLESS, ELSEWHERE, ITSELF})
    assert f"Tested: {tested}".encode() in ran.stdout


async def test_every_address_of_the_api_is_in_the_document(tmp_path: Path):
    async with open_kept(tmp_path) as kept:
        shown = set((await kept.get("/openapi.json"))["paths"])
    served = {row.path.replace(":path}", "}") for row in kept.rows}
    assert shown == served | {ELSEWHERE}
