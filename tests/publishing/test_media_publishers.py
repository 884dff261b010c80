"""Jobs of the media publisher over simulated rooms, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field

from actors.publishing.media_job import MOST_COMMANDS, REFUSED, STATS_EVERY, MediaDependencies
from actors.publishing.media_publishers import ENCRYPTED, MediaPublishers
from actors.publishing.publishing_port import CommandHandler, SoundContent, SoundFile, Speech
from actors.publishing.sound import AudioClip
from actors.rooms.room_port import RoomJob
from actors.runtime import GroupSpec, Intensity, Restart, open_system
from actors.simulation.simulated_publishing import (
    PublishedRoom,
    SimulatedPublishing,
    SimulatedStudio,
)
from tests.publishing.tones import tone

ROOM = "team-1"


@define(eq=False)
class MediaStage:
    """The publishers under test, and what they reported."""

    publishers: MediaPublishers
    port: SimulatedPublishing
    studio: SimulatedStudio
    log: list[tuple[str, dict[str, Any]]]
    running: list[str] = field(factory=list[str])
    ended: dict[str, str | None] = field(factory=dict[str, str | None])
    _changed: trio.Event = field(factory=trio.Event)

    def job_running(self, job_id: str) -> None:
        self.running.append(job_id)

    def capacity(self, active: int) -> None:
        raise NotImplementedError

    async def flush(self) -> None:
        raise NotImplementedError

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        self.ended[job_id] = error
        self._changed.set()

    @property
    def room(self) -> PublishedRoom:
        return self.port.rooms[ROOM]

    def give(self, job_id: str = "AJ_1", **metadata: Any) -> None:
        self.publishers.assign(
            RoomJob(
                job_id, ROOM, "RM_1", "ws://server", "token", f"agent-{job_id}",
                metadata=json.dumps(metadata) if metadata else "",
            ),
            self,
        )  # fmt: skip

    async def end(self) -> str | None:
        """How the one job ended."""
        await self._changed.wait()
        (error,) = self.ended.values()
        return error

    async def handler(self) -> CommandHandler:
        while not self.room.handlers:  # noqa: ASYNC110 (virtual time)
            await trio.sleep(0.01)
        return self.room.handlers[0]

    def sent(self, kind: str) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        messages = [(json.loads(payload), to) for payload, to in self.room.messages]
        return [(message, to) for message, to in messages if message["type"] == kind]


@asynccontextmanager
async def open_media(
    *, folder: str = "", encrypted: bool = False
) -> AsyncGenerator[MediaStage, None]:
    def make(content: SoundContent) -> AudioClip:
        return tone(1.0)

    port, studio, log = SimulatedPublishing(), SimulatedStudio(make), list[Any]()
    async with open_system() as system:
        group = system.supervisor.start_group(
            GroupSpec("media", restart=Restart.PERMANENT, intensity=Intensity(1_000, 1.0))
        )
        await group.running()
        dependencies = MediaDependencies(
            port,
            studio,
            trio.current_time,
            lambda event, /, **fields: log.append((event, fields)),
            lambda identity: identity == "host",
            folder,
        )
        publishers = MediaPublishers(group, dependencies, lambda _: encrypted)
        yield MediaStage(publishers, port, studio, log)


def asked(handler: CommandHandler, sender: str, **command: Any) -> str | None:
    answer = handler.command(sender, json.dumps(command).encode(), by_call=False)
    return None if answer is None else json.loads(answer)["message"]


async def test_an_interactive_publisher_welcomes_answers_and_speaks_until_it_is_taken_back(
    virtual_time: int,
) -> None:
    async with open_media() as stage:
        stage.room.people += ["host", "guest"]
        stage.give(mode="interactive", welcome_message="Welcome!")
        handler = await stage.handler()
        await trio.sleep(0.1)
        assert stage.running == ["AJ_1"]
        ((ready, to),) = stage.sent("ready")
        assert (ready["agent"], to) == ("media-publisher", ())
        handler.arrived("guest")
        await trio.sleep(5)
        ((welcome, to),) = stage.sent("welcome")
        assert (welcome["message"], to) == ("Welcome!", ("guest",))
        assert stage.studio.made == [Speech("Welcome!")]
        assert asked(handler, "host", type="speak_text", text="Hi") == "Speaking text: Hi"
        await trio.sleep(5)
        assert stage.studio.made[1:] == [Speech("Hi")]
        assert [entry.identity for entry in stage.room.entries] == [
            "agent-AJ_1", "agent-AJ_1-voice-1", "agent-AJ_1-voice-2",
        ]  # fmt: skip
        assert {name for name, _ in stage.room.tracks} == {"Interactive Audio"}
        stats = stage.sent("stats")
        assert len(stats) == int(trio.current_time() // STATS_EVERY)
        assert {to for _, to in stats} == {("host",)}, "only those who may give commands"
        assert stats[-1][0]["audio_frames"] == 20
        stage.publishers.terminate("AJ_1")
        assert await stage.end() is None
        assert (stage.room.present, stage.publishers.running) == (0, 0)


async def test_commands_of_others_are_refused_and_of_agents_like_us_unanswered(
    virtual_time: int,
) -> None:
    async with open_media() as stage:
        stage.give()
        handler = await stage.handler()
        assert asked(handler, "guest", type="speak_text", text="Hi") == REFUSED
        assert asked(handler, "guest", type="chat", text="Hi") is None, "no command"
        assert asked(handler, "host", type="response", message="Hi") is None
        assert asked(handler, "host", type="chat") == "Unknown command: chat"
        assert handler.command("guest", b"hello", by_call=False) is None
        called = handler.command("guest", b"hello", by_call=True)
        assert called is not None
        assert b"JSON object" in called
        for _ in range(2 * MOST_COMMANDS):
            asked(handler, "host", type="command", command="status")
        assert asked(handler, "host", type="command", command="status") is None
        call = handler.command("host", b'{"type": "command"}', by_call=True)
        assert call is not None
        assert b"Too many commands" in call
        await trio.sleep(1)
        assert stage.studio.made == []
        refused = [fields for event, fields in stage.log if event == "media_command_refused"]
        assert [one["identity"] for one in refused] == ["guest"]


async def test_files_are_named_within_the_folder_of_the_setting_and_nowhere_else(
    virtual_time: int,
) -> None:
    async with open_media(folder="/srv/sounds") as stage:
        stage.give()
        handler = await stage.handler()
        for name in ("../secret.wav", "/etc/passwd", "a/b.wav", "..", ".", "a\0b"):
            answer = asked(handler, "host", type="play_audio", file=name)
            assert answer == "a file is named without its folder"
        assert asked(handler, "host", type="play_audio", file="a.wav") == "Playing a.wav"
        await trio.sleep(1)
        assert stage.studio.made == [SoundFile("/srv/sounds/a.wav")]
    async with open_media() as stage:
        stage.give(mode="audio_file", audio_file="a.wav")
        assert "--media-folder" in (await stage.end() or "")


async def test_a_text_is_spoken_on_the_publisher_s_own_track_and_the_job_succeeds(
    virtual_time: int,
) -> None:
    async with open_media() as stage:
        stage.give(mode="tts", text="This room is recorded.", volume=0.5)
        assert await stage.end() is None
        assert stage.room.tracks == [("TTS Audio", "microphone")]
        samples = memoryview(b"".join(frame for _, frame in stage.room.frames)).cast("h")
        whole = memoryview(tone(1.0).samples).cast("h")
        assert len(samples) == len(whole)
        assert max(samples) == pytest.approx(max(whole) / 2, abs=1)
        assert (
            "announcement_spoken",
            {"room": ROOM, "text": "This room is recorded.", "by": "job"},
        ) in stage.log


async def test_a_computed_sound_changes_while_it_is_published(virtual_time: int) -> None:
    async with open_media() as stage:
        stage.give(mode="audio_tone", tone_frequency=440)
        handler = await stage.handler()
        frames = stage.room.frames
        while len(frames) < 5:  # noqa: ASYNC110 (a second of sound is made in a thread)
            await trio.sleep(0.1)
        assert stage.room.tracks == [("Generated Audio", "microphone")]
        assert any(frames[0][1])
        asked(handler, "host", type="set_volume", volume=0)
        while any(frames[-1][1]):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def test_a_pattern_changes_while_it_is_published(virtual_time: int) -> None:
    async with open_media() as stage:
        stage.give(mode="video_pattern", video_type="color_bars")
        handler = await stage.handler()
        await trio.sleep(3)
        assert stage.room.tracks == [("Generated Video", "camera")]
        assert 35 <= len(stage.room.frames) <= 45
        bars = stage.room.frames[-1][1][:600]
        asked(handler, "host", type="change_pattern", pattern="gradient")
        await trio.sleep(0.2)
        assert stage.room.frames[-1][1][:600] != bars


@pytest.mark.parametrize(
    "fault, error",
    [
        ("enter_fails", "was not entered"),
        ("enter_hangs", "was not entered within"),
        ("publish_fails", "refused the track"),
        ("publish_hangs", "did not publish the track"),
        ("crash", "an internal error"),
    ],
)
async def test_a_fault_fails_the_job_with_the_reason_and_leaves_nobody_behind(
    fault: Any, error: str, virtual_time: int
) -> None:
    async with open_media() as stage:
        stage.room.faults.append(fault)
        stage.give(mode="tts", text="Hello")
        assert error in (await stage.end() or "")
        assert (stage.room.present, stage.port.open_sources, stage.publishers.running) == (0, 0, 0)


async def test_a_lost_room_a_wrong_request_and_an_encrypted_room_fail_the_job(
    virtual_time: int,
) -> None:
    async with open_media() as stage:
        stage.room.lost_reason = "participant_removed"
        stage.give(mode="audio_tone")
        await stage.handler()
        stage.room.lose()
        assert "the room was lost: participant_removed" in (await stage.end() or "")
    async with open_media() as stage:
        stage.give(mode="loud")
        assert "mode" in (await stage.end() or "")
        assert stage.room.entries == []
    async with open_media(encrypted=True) as stage:
        stage.give()
        assert await stage.end() == ENCRYPTED


async def test_a_room_that_ends_ends_the_job_in_order(virtual_time: int) -> None:
    async with open_media() as stage:
        stage.give(mode="audio_tone")
        await stage.handler()
        stage.room.lose()
        assert await stage.end() is None
        assert stage.room.present == 0
