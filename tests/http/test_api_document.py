"""`/openapi.json` is true: schemathesis asks everything it says, well and badly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from starlette.responses import Response

from bridge.http.api.openapi import HEALTH, PATHS
from bridge.http.server import sign_in
from bridge.http.server.sign_in import Access
from tests.http.stored_sessions import StoredSessions, open_stored

ITSELF = "/openapi.json"
"""Schemathesis does not ask for what it was given."""
TOKEN = "a-token-of-the-operator"


def signed_in(stored: StoredSessions) -> str:
    """The cookie that the token gives."""
    access = Access(TOKEN)
    response = Response()
    access.sign_in(response, {"server": ("", stored.site.address.port), "headers": []})
    return response.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    "secured_by",
    # Half a minute of one core each; tests/http/test_sign_in.py has each way in.
    ["token", *(pytest.param(way, marks=pytest.mark.chaos) for way in (None, "cookie"))],
)
async def test_every_answer_is_as_the_document_says(
    secured_by: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sign_in, "FAILURES", 10_000)  # it shows many wrong tokens
    token = None if secured_by is None else TOKEN
    async with open_stored(tmp_path / "store", token=token) as stored:
        await stored.fill()
        stored.stop_feed()  # so that the stream of events has an end
        shown = {
            None: [],
            "token": ["--header", f"Authorization: Bearer {token}"],
            # Its wrong tokens may be empty, which are none: then the cookie lets it in.
            "cookie": [
                *("--header", f"Cookie: {signed_in(stored)}"),
                *("--exclude-checks", "ignored_auth"),
            ],
        }
        command = [
            sys.executable, "-m", "schemathesis.cli", "run",
            f"http://{stored.site.address}/openapi.json",
            "--checks", "all", "--phases", "coverage,fuzzing", "--max-examples", "10",
            "--generation-deterministic", "--no-color", *shown[secured_by],
        ]  # fmt: skip
        ran = await trio.run_process(
            command,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=tmp_path,
        )
    assert ran.returncode == 0, ran.stdout.decode()
    tested = len({*PATHS, *HEALTH} - {ITSELF})
    assert f"Tested: {tested}".encode() in ran.stdout


async def test_every_address_of_the_api_is_in_the_document(tmp_path: Path):
    async with open_stored(tmp_path) as stored:
        shown = set((await stored.get("/openapi.json"))["paths"])
    assert shown == {row.path.replace(":path}", "}") for row in stored.rows if row.path[-1] != "/"}
