"""`--api URL --token T`: the commands that read show another machine's worker."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from bridge.cli import api_connection, api_pictures, main
from tests.http.stored_sessions import HOSTILE, StoredSessions, open_stored

TOKEN = "a-token-of-the-operator"


@asynccontextmanager
async def site(tmp_path: Path, token: str | None = TOKEN):
    async with open_stored(tmp_path / "data", token=token) as stored:
        await stored.fill()
        yield stored


def api_of(stored: StoredSessions) -> list[str]:
    return ["--api", f"http://{stored.site.address}", "--token", TOKEN]


def runner(capsys: pytest.CaptureFixture[str]) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    async def run(*args: str) -> tuple[int, str, str]:
        code = await trio.to_thread.run_sync(main, list(args))
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def without_time(text: str) -> Any:
    """JSON without what a live session changes from one look to the next."""
    changing = {
        "duration", "people_seconds", "quality", "talk", "coverage", "seconds", "next",
        "talk_seconds", "longest_turn", "turns", "muted_seconds",
    }  # fmt: skip

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(one) for key, one in value.items() if key not in changing}
        return [strip(one) for one in value] if isinstance(value, list) else value

    return strip(json.loads(text))


async def test_it_shows_what_the_same_command_shows_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_pictures, "ALONE", 0.0)
    run = runner(capsys)
    async with site(tmp_path) as stored:
        here, there = ["--data-dir", str(tmp_path / "data")], api_of(stored)
        for command in (
            ["sessions", "--json"],
            ["sessions", "--json", "--room", "team-*", "--since", "2026-01-01", "--people", "2"],
            ["rooms", "--json"],
            ["report", "RM_3", "--json"],
            ["report", "--json"],
            ["attendance", "--json", "--person", "person-0"],
            ["person", "person-0", "--json"],
            ["days", "--json", "--room", "team-*", "--room", "live", "--since", "2026-09-20",
             "--until", "2026-09-23"],
        ):  # fmt: skip
            local, remote = await run(*command, *here), await run(*command, *there)
            assert (local[0], remote[0], remote[2]) == (0, 0, local[2]), (command, remote)
            assert without_time(local[1]) == without_time(remote[1]), command
        for command in (
            ["sessions", "--csv", "--status", "ended"],
            ["report", "RM_0"],
            ["report", "RM_0", "--csv"],
        ):
            assert await run(*command, *there) == await run(*command, *here)
        code, out, _ = await run("top", "--once", *there)
        head = "worker answers, watches 1 of at most 500 rooms, lines lost 0, registered, "
        assert (code, out.splitlines()[0]) == (0, f"{head}0123456789ab")
        assert out.splitlines()[3].split()[:3] == ["live", "2", "2"]
        code, out, err = await run("sessions", "--json", "--limit", "2", *there)
        assert (len(json.loads(out)["sessions"]), "--cursor" in err) == (2, True)
        code, out, _ = await run("outbox", "--json", *there)
        waiting = json.loads(out)
        assert (code, [one["id"] for one in waiting["deliveries"]]) == (0, ["1-2-0"])
        assert waiting["webhooks"] == [
            {"webhook": "crm", "waiting": 1, "dead": 0, "dropped": 0, "disabled": None}
        ]
        assert (await run("outbox", *there))[1].splitlines()[1].split()[:2] == ["crm", "1"]
        assert (await run("outbox", "retry", *there))[0] == 2
        code, out, err = await run("report", "RM_none", *there)
        assert (code, "no session or room 'RM_none' is kept; the newest: live" in err) == (1, True)
        assert all(char not in out for char in ("\x1b", "\u202e"))
        assert HOSTILE not in (await run("attendance", *there))[1]


async def test_the_token_may_be_that_of_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner(capsys)
    async with site(tmp_path) as stored:
        (tmp_path / "token").write_text(TOKEN)
        monkeypatch.setenv("ROOM_ACTORS_HTTP_TOKEN_FILE", str(tmp_path / "token"))
        assert (await run("sessions", *api_of(stored)[:2]))[0] == 0


async def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner(capsys)

    async def line(*args: str) -> tuple[int, str]:
        code, out, err = await run(*args)
        assert out == ""
        (line,) = err.splitlines()
        return code, line.removeprefix("room-actors: ")

    async with site(tmp_path) as stored:
        url = f"http://{stored.site.address}"
        assert await line("sessions", "--api", url) == (
            1, f"{url} wants a token: give --token, or ROOM_ACTORS_HTTP_TOKEN",
        )  # fmt: skip
        assert await line("rooms", "--api", url, "--token", "wrong") == (
            1, f"{url}: the token is wrong: see --token",
        )  # fmt: skip
        assert await line("top", "--once", "--api", f"{url}/elsewhere", "--token", TOKEN) == (
            1, f"{url}/elsewhere: Not Found",
        )  # fmt: skip
        assert (await line("sessions", *api_of(stored), "--cursor", "9" * 19))[0] == 2
        code, said = await line("sessions", *api_of(stored), "--data-dir", str(tmp_path))
        assert (code, said) == (2, "--api and --data-dir: give one of them")
        with monkeypatch.context() as patch:
            patch.setattr(api_connection, "MOST_BYTES", 1_000)
            assert "more than" in (await line("sessions", *api_of(stored)))[1]
    code, said = await line("report", "--api", url)
    assert (code, said.startswith(f"{url}: connection refused: no worker listens there")) == (
        1, True,
    )  # fmt: skip
    assert (await line("sessions", "--token", "T"))[0] == 2
    for wrong in ("ftp://example.org", "http://", "http://h:99999", "https://u:p@h", "http://h?x"):
        assert (await line("sessions", "--api", wrong))[0] == 2


@pytest.mark.parametrize(
    "answer, said",
    [
        (b"220 mail.example.org ESMTP\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "is not room-actors"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}", "another version"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\x1b[31m\r\n\r\n", "redirects to http://x/"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n\x1b[31m", "is not room-actors"),
        (b"HTTP/1.1 503 Busy\r\n\r\n" + b'{"type": "about:blank", "detail": "b\\u001b"}', "b\\x1b"),
        (b"", "closed"),
    ],
)
async def test_another_server_is_named_and_its_text_is_harmless(
    answer: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        code, out, err = await runner(capsys)("sessions", "--api", f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()
    assert (code, out, err.count("\n"), "\x1b" in err) == (1, "", 1, False)
    assert said in err
