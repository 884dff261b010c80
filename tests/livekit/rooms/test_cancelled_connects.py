"""A connect that is cancelled kills the process of whoever cancels the SDK's own call."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio

from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey, room_token

MOMENTS = (0.0, 0.003, 0.02, 0.05, 0.08, 0.15)
"""Seconds after the beginning of a connect, which takes 0.1 s here."""
LIVE = 21.0
"""Seconds: the native library ends a process 15 s after a connect that nobody took over."""


async def test_a_connect_may_be_cancelled_at_any_moment(
    livekit_server: PrivateServer, api: ServerApi
) -> None:
    key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
    rooms = [f"cancelled-{int(moment * 1000)}" for moment in MOMENTS]
    jobs = [
        {
            "room": room,
            "token": room_token(key, room=room, identity="agent-1", agent_name="watcher"),
            "identity": "agent-1",
            "after": moment,
        }
        for room, moment in zip(rooms, MOMENTS, strict=True)
    ]
    order = {"url": livekit_server.url, "jobs": jobs, "live": LIVE}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "tests.livekit.rooms.cancel_probe"],
                cwd=Path(__file__).parents[3],
                stdin=json.dumps(order).encode() + b"\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
            )
        )
        with trio.fail_after(LIVE + 60):
            output = b""
            while b"settled" not in output:
                chunk = await process.stdout.receive_some()
                assert chunk, "the process is gone"
                output += chunk
            for room in rooms:
                await nobody_in(api, room)
            await process.wait()
            output += b"".join([chunk async for chunk in process.stdout])
            errors = b"".join([chunk async for chunk in process.stderr]).decode()
    assert (process.returncode, errors) == (0, "")
    assert output.endswith(b"alive\n")


async def nobody_in(api: ServerApi, room: str) -> None:
    """Wait until nobody is listed.  A goodbye is lost where the server was just writing to
    whoever says it; the server waits 20 s then."""
    with trio.fail_after(60):
        while True:
            if not await api.list_participants(room):
                return
            await trio.sleep(0.1)
