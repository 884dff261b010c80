"""The process that is looked at: `start`'s actors, store and webhooks, in simulated rooms.

    python -m bench.outlets.watched DATA_DIR ROOMS RATE URL

Says a line once all rooms are watched and people talk in them.  A line on stdin ends the talk; when
all of it is delivered it says another and ends.
"""

from __future__ import annotations

import sys
import time
from typing import Final

import trio

from actors.rooms.room_port import RoomJob
from bench.page.traffic import Traffic
from bridge.app.interpreter import tune_interpreter
from bridge.app.outlets import start_outlets
from bridge.app.room_actors import announce
from bridge.app.simulated_app import NoReports, open_simulated_app
from bridge.app.store_feed import open_feed
from bridge.app.worker_role import FlushPerTick
from bridge.config.settings import Settings, load
from bridge.config.store_address import store_address
from bridge.config.webhook_list import WebhookSettings
from bridge.livekit.tokens import ApiKey
from bridge.log.structured_log import running_log
from bridge.outlets.endpoint_url import EndpointUrl

NAME: Final = "bench"
SECRET: Final = "a secret of the bench, 32 letters"
LATEST: Final = 60.0
"""Seconds for the last deliveries."""


def endpoint(url: str) -> WebhookSettings:
    """One that wants everything."""
    return WebhookSettings(NAME, EndpointUrl.parse(url), (SECRET,), ("*",), ("*",), "standard")


async def main(settings: Settings, traffic: Traffic, urls: list[str]) -> None:
    async with (
        open_simulated_app(settings, traffic.rooms, settings.data_dir, NoReports()) as running,
        trio.open_nursery() as nursery,
    ):
        actors = running.actors
        address = store_address(settings)
        feed = open_feed(address, actors.backlog)
        outlets = start_outlets(
            [endpoint(url) for url in urls],
            running.system,
            address,
            feed,
            ApiKey("bench", "bench" * 8),
            instance="bench",
            clock=time.time,
            announce=announce,
        )
        for number, room in enumerate(traffic.rooms.live):
            actors.assign(
                RoomJob(f"AJ_{number}", room.name, room.sid, "simulated", "none", "agent")
            )
        while not all(room.watchers for room in traffic.rooms.live):  # noqa: ASYNC110
            await trio.sleep(0.05)
        talk = trio.CancelScope()

        async def until_a_line() -> None:
            await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            talk.cancel()

        nursery.start_soon(until_a_line)
        print("talking", flush=True)
        with talk:
            await traffic.talk()
        await actors.flush()
        await outlets.deliver_the_rest(LATEST)
        print("delivered", flush=True)
        nursery.cancel_scope.cancel()


def run(data_dir: str, rooms: str, rate: str, *urls: str) -> None:
    flags = {"api-key": "none", "api-secret": "none-" * 8, "data-dir": data_dir}
    settings = load({**flags, "http": "off", "max-rooms": rooms}, {})
    traffic = Traffic([f"room-{number}" for number in range(int(rooms))], float(rate))
    with running_log(settings) as (_, sink):
        tune_interpreter()
        trio.run(main, settings, traffic, list(urls), instruments=[FlushPerTick(sink)])


if __name__ == "__main__":
    run(*sys.argv[1:])
