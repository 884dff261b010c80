"""An announcement in Chromium, with LiveKit's own client: heard whole, and nobody stays behind."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import trio
import trio_asyncio

from actors.publishing.playback import Playback, PlaybackEnd
from actors.publishing.publishing_port import Entry
from bridge.lab.people.sound_measures import measure_sound
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.publishing.livekit_publishing import LiveKitPublishing
from bridge.livekit.tokens import ApiKey
from tests.browser.driver import Driver, Tab
from tests.npm import installed
from tests.publishing.tones import tone

CLIENT: Final = "node_modules/livekit-client/dist/livekit-client.umd.js"
LISTEN: Final = """
async () => {
  const {Room, RoomEvent} = LivekitClient;
  const room = new Room(), context = new AudioContext({sampleRate: 48000});
  window.ear = {room, samples: [], left: 0, rate: context.sampleRate};
  room.on(RoomEvent.TrackSubscribed, track => {
    track.attach();
    const source = context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
    const node = context.createScriptProcessor(1024, 1, 1);
    node.onaudioprocess = event => {
      for (const value of event.inputBuffer.getChannelData(0))
        window.ear.samples.push(Math.round(value * 32767));
    };
    source.connect(node);
    node.connect(context.destination);
  });
  room.on(RoomEvent.ParticipantDisconnected, () => { window.ear.left += 1; });
  await context.resume();
  await room.connect(%s, %s);
}
"""
RESULT: Final = """
() => ({
  samples: window.ear.samples,
  rate: window.ear.rate,
  left: window.ear.left,
  people: [...window.ear.room.remoteParticipants.keys()],
  speakers: window.ear.room.activeSpeakers.map(one => one.identity),
})
"""


@asynccontextmanager
async def listening_tab(
    driver: Driver, server: PrivateServer, room: str
) -> AsyncGenerator[Tab, None]:
    """A page that has joined the room and hears everything."""
    home = installed(Path(__file__).parent / "client", "browser-listener")
    key = ApiKey(server.api_key, server.api_secret)
    token = key.sign({"roomJoin": True, "room": room}, claims={"sub": "ann"})
    async with driver.open() as tab:
        await tab.go(server.http_url)
        await tab.order("press", "Enter")  # Browsers play sound only after somebody did something.
        await tab.evaluate(f"() => {{ {(home / CLIENT).read_text()}\n }}")
        await tab.evaluate(LISTEN % (json.dumps(server.url), json.dumps(token)))
        yield tab


async def test_a_browser_hears_an_announcement_whole_and_sees_the_announcer_leave(
    driver: Driver, livekit_server: PrivateServer
) -> None:
    room = f"heard-{uuid4().hex[:8]}"
    async with listening_tab(driver, livekit_server, room) as tab, trio_asyncio.open_loop() as loop:
        key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
        port = LiveKitPublishing(Endpoint.parse(livekit_server.url), key, loop)
        entries = [Entry(room, "announcer", "Announcement")]
        with trio.fail_after(60):
            ends = await Playback(port, tone(1.0), entries, "TTS Audio").run()
        assert ends == {room: PlaybackEnd("played")}
        result: dict[str, Any] = await tab.evaluate(RESULT)
        with trio.fail_after(60):
            while not result["left"] or result["speakers"]:
                await trio.sleep(0.2)
                result = await tab.evaluate(RESULT)
    measure = measure_sound(result["samples"], result["rate"])
    assert measure is not None
    assert measure.pitch == pytest.approx(440, abs=8)
    assert 0.6 <= measure.seconds <= 6.0, "whole; a busy machine adds gaps"
    assert measure.gaps <= 20, "the browser's own thread of sound can be late on a busy machine"
    assert (result["people"], result["speakers"]) == ([], [])
