"""A sound is published in real rooms, and real listeners hear it."""

from __future__ import annotations

import pytest
import trio

from actors.publishing import playback
from actors.publishing.playback import Playback, PlaybackEnd
from actors.publishing.publishing_port import Entry
from bridge.lab.server import PrivateServer
from bridge.livekit.publishing.livekit_publishing import LiveKitPublishing
from tests.livekit.publishing.listener import listening
from tests.publishing.tones import tone

PLAYED = PlaybackEnd("played")
AGENT = 4


async def test_one_source_is_heard_whole_in_two_rooms_by_people_who_see_an_agent_come_and_leave(
    publishing: LiveKitPublishing, livekit_server: PrivateServer, name: str
) -> None:
    first, second, missing = f"{name}-1", f"{name}-2", f"{name}-none"
    entries = [
        Entry(room, f"announcer-{index}", "Announcement")
        for index, room in enumerate((first, second, missing))
    ]
    async with listening(livekit_server, first) as ann, listening(livekit_server, second) as bob:
        with trio.fail_after(60):
            ends = await Playback(publishing, tone(1.0), entries, "TTS Audio").run()
            assert ends[first] == ends[second] == PLAYED
            assert ends[missing].outcome == "failed"
            for number, listener in enumerate((ann, bob)):
                assert listener.arrived == [(f"announcer-{number}", "Announcement", AGENT)]
                await listener.left.wait()
                assert listener.pitch == pytest.approx(440, abs=2)
                assert 0.75 <= listener.seconds <= 6.0, "whole; a busy machine adds gaps"
                # A browser keeps somebody who left as a speaker for good.
                assert listener.speakers[-1] == set()


async def test_a_participant_leaves_when_the_server_has_heard_its_silence(
    publishing: LiveKitPublishing,
    livekit_server: PrivateServer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(playback, "QUIET", 0.0)
    monkeypatch.setattr(playback, "SILENT_DEADLINE", 30.0)
    async with listening(livekit_server, name) as ann:
        with trio.fail_after(60):
            entry = Entry(name, "announcer", "Announcement")
            await Playback(publishing, tone(2.0), [entry], "TTS Audio").run()
            await ann.left.wait()
            assert {"announcer"} in ann.speakers
            assert ann.speakers[-1] == set()
