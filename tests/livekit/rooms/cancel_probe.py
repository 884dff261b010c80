"""A process of its own that cancels connects at several moments, and must survive it.

Reads `{"url", "jobs": [{"room", "token", "identity", "after"}], "live"}` from its first
line of standard input; `after` is in seconds.  Says "settled" when no connection is left,
and after `live` seconds since then "alive".
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio
import trio_asyncio

from actors.rooms.room_port import RoomError, RoomJob
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def cancelled(rooms: LiveKitRooms, url: str, job: dict[str, Any]) -> None:
    room_job = RoomJob(
        job_id="AJ_1",
        room=job["room"],
        room_sid="",
        url=job.get("url", url),
        token=job["token"],
        identity=job["identity"],
    )
    with trio.CancelScope() as scope:
        if job["after"] == 0:
            scope.cancel()
        else:
            scope.deadline = trio.current_time() + job["after"]
        try:
            async with rooms.open(room_job, lambda _: None):
                await trio.sleep_forever()
        except RoomError as error:
            say(f"refused {error}")


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    async with trio_asyncio.open_loop(), LiveKitRooms() as rooms:
        async with trio.open_nursery() as nursery:
            for job in order["jobs"]:
                nursery.start_soon(cancelled, rooms, order["url"], job)
        await rooms.idle()
        say("settled")
        await trio.sleep(order["live"])
    say("alive")


if __name__ == "__main__":
    trio.run(main)
