"""One job of the media publisher: a visible participant that publishes, and takes commands.

It has at most one track of sound and one of video of its own, which it keeps: a publication that
ends leaves a native thread behind (docs/livekit-facts.md).  What it speaks or plays in between is
a playback of its own, by a participant that leaves afterwards.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, final

import trio
from attrs import frozen

from actors.journal.process_ports import Announce, Clock
from actors.pictures.video_patterns import FRAME_RATE, pattern_frame
from actors.publishing.generated_sounds import FORMAT, generated_second, with_volume
from actors.publishing.media_commands import (
    MAX_COMMAND,
    MediaState,
    carry_out,
    is_command,
    parse_command,
)
from actors.publishing.media_request import MediaRequest
from actors.publishing.playback import (
    ENTER_DEADLINE,
    LEAD,
    PLAYOUT,
    PUBLISH_DEADLINE,
    QUEUE,
    SUBSCRIBE_DEADLINE,
    Playback,
    fall_silent,
)
from actors.publishing.publishing_port import (
    CommandHandler,
    Entry,
    MediaSource,
    PublishedSource,
    PublishingError,
    PublishingParticipant,
    PublishingPort,
    SoundContent,
    SoundError,
    SoundFile,
    SoundStudio,
    Speech,
)
from actors.publishing.sound import FRAME_SECONDS, AudioClip
from actors.rooms.room_port import RoomJob
from actors.runtime import first_of

AGENT: Final = "media-publisher"
"""The name under which LiveKit dispatches such jobs.  It is in each message too."""
STATS_EVERY: Final = 5.0
"""Seconds."""
MOST_WAITING: Final = 10
"""Texts and files that wait to be spoken or played in between."""
MOST_UNSENT: Final = 50
"""Messages that wait for the server.  Those beyond are dropped."""
MOST_COMMANDS: Final = 50
"""Commands within `COMMAND_WINDOW`.  Those beyond are refused."""
COMMAND_WINDOW: Final = 10.0
"""Seconds."""
ROOM_ENDS: Final = frozenset(("room_closed", "room_deleted"))
"""Reasons of a disconnect that end a job in order."""
REFUSED: Final = "You may not give commands here."

_NO_COMMANDS: Final = frozenset(
    ("response", "ready", "welcome", "stats", "participant_monitoring", "speaking_detection",
     "connection_quality")
)  # fmt: skip
"""Types of messages of agents like ours.  They get no answer, or two agents would never end."""


@frozen
class MediaDependencies:
    """The parts that all jobs share."""

    port: PublishingPort
    studio: SoundStudio
    clock: Clock
    log: Announce
    may_command: Callable[[str], bool]
    """Whether somebody with this identity may give commands."""
    folder: str = ""
    """The folder of the sound files that jobs and commands may name; empty: none."""


class MediaFailed(Exception):
    """A job cannot go on.  The text is reported to LiveKit."""


@final
class MediaJob(CommandHandler):
    """See the module.  `run` once."""

    def __init__(
        self, job: RoomJob, request: MediaRequest, dependencies: MediaDependencies
    ) -> None:
        self._job = job
        self._request = request
        self._port, self._studio = dependencies.port, dependencies.studio
        self._dependencies = dependencies
        self._state = MediaState(request.volume, request.frequency, request.pattern)
        self._audio_frames = self._video_frames = self._tracks = self._voices = 0
        self._began = trio.current_time()
        self._commands: deque[float] = deque(maxlen=MOST_COMMANDS)
        self._unsent: trio.MemorySendChannel[tuple[bytes, Sequence[str]]]
        self._unsent, self._to_send = trio.open_memory_channel[tuple[bytes, Sequence[str]]](
            MOST_UNSENT
        )
        self._waiting, self._to_play = trio.open_memory_channel[SoundContent](MOST_WAITING)

    # ---------------------------------------------------------------- the job

    async def run(self, on_running: Callable[[], object]) -> None:
        """Enter, publish, and return when it is over.  Raises `MediaFailed`."""
        job, request = self._job, self._request
        self._log("media_publishing_started", job_id=job.job_id, mode=request.mode)
        entry = Entry(job.room, job.identity, AGENT, takes_data=True)
        error, entering = "", trio.CancelScope(deadline=trio.current_time() + ENTER_DEADLINE)
        try:
            with entering:
                async with self._port.enter(entry) as participant:
                    entering.deadline = float("inf")
                    on_running()
                    await first_of(
                        lambda: self._until_lost(participant), lambda: self._publish(participant)
                    )
        except* (PublishingError, SoundError, MediaFailed) as group:
            error = _text_of(group)  # A raise in here would come out as a group again.
        finally:
            self._log("media_publishing_ended")
        if error:
            raise MediaFailed(error)
        if entering.cancelled_caught:
            raise MediaFailed(f"the room was not entered within {ENTER_DEADLINE:g} s")

    async def _until_lost(self, participant: PublishingParticipant) -> None:
        """Return when the room ended.  Raises `MediaFailed` for another loss."""
        reason = await participant.lost()
        if reason not in ROOM_ENDS:
            raise MediaFailed(f"the room was lost: {reason}")

    async def _publish(self, participant: PublishingParticipant) -> None:
        participant.take_commands(self)
        self._send("ready", message="The media publisher is ready.", mode=self._request.mode)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, participant)
            nursery.start_soon(self._play_all)
            nursery.start_soon(self._send_stats, participant)
            if self._request.pattern is not None:
                nursery.start_soon(self._show, participant)
            if self._request.sound is not None:
                nursery.start_soon(self._sound, participant)
            elif self._request.text or self._request.file:
                await self._play_own(participant)
            if not self._request.ends:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

    async def _open_track(
        self,
        participant: PublishingParticipant,
        source: MediaSource,
        name: str,
        published_as: PublishedSource,
    ) -> None:
        """Publish a track and wait until somebody takes it, or nobody did in time."""
        with trio.move_on_after(PUBLISH_DEADLINE) as publishing:
            sid = await participant.publish(source, name, published_as)
            publishing.deadline = float("inf")
            self._tracks += 1
            kind = "audio" if published_as == "microphone" else "video"
            self._log("media_track_published", track=name, kind=kind)
            with trio.move_on_after(SUBSCRIBE_DEADLINE):
                await participant.subscribed(sid)
        if publishing.cancelled_caught:
            raise MediaFailed(f"the server did not publish the track within {PUBLISH_DEADLINE:g} s")

    # ---------------------------------------------------------------- its own tracks

    async def _sound(self, participant: PublishingParticipant) -> None:
        """A computed sound, for ever."""
        with self._port.open_sound(FORMAT, queue=QUEUE) as source:
            await self._open_track(participant, source, "Generated Audio", "microphone")
            known, frames = None, list[bytes]()
            start, index = trio.current_time(), 0
            while True:
                wanted = (self._state.frequency, self._state.volume)
                if wanted != known:
                    known, frames = wanted, await trio.to_thread.run_sync(self._second, *wanted)
                start = await _due(start, index)
                source.capture(frames[index % len(frames)])
                index += 1
                self._audio_frames += 1

    def _second(self, frequency: int, volume: float) -> list[bytes]:
        clip = generated_second(self._request.sound or "silence", frequency)
        return list(AudioClip(FORMAT, with_volume(clip.samples, volume)).frames())

    async def _play_own(self, participant: PublishingParticipant) -> None:
        """The text or the file of the request, once or again and again."""
        request = self._request
        content = Speech(request.text) if request.text else self._file(request.file)
        clip = await self._studio.make(content)
        name = "TTS Audio" if request.text else "Audio File"
        with self._port.open_sound(clip.format, queue=QUEUE) as source:
            await self._open_track(participant, source, name, "microphone")
            if request.text:
                self._log("announcement_spoken", text=request.text, by="job")
            frames = list(clip.frames())
            start, index = trio.current_time(), 0
            while index < len(frames) or request.loop:
                start = await _due(start, index)
                source.capture(with_volume(frames[index % len(frames)], self._state.volume))
                index += 1
                self._audio_frames += 1
            await trio.sleep_until(start + index * FRAME_SECONDS + PLAYOUT)
            await fall_silent(participant)

    async def _show(self, participant: PublishingParticipant) -> None:
        """The pattern, for ever."""
        with self._port.open_video() as video:
            await self._open_track(participant, video, "Generated Video", "camera")
            self._log("media_video_streams", pattern=self._state.pattern, fps=FRAME_RATE)
            start, number = trio.current_time(), 0
            while True:
                pattern = self._state.pattern
                assert pattern is not None
                video.capture(pattern_frame(pattern, number, self._request.text))
                self._video_frames += 1
                number = max(number + 1, int((trio.current_time() - start) * FRAME_RATE))
                await trio.sleep_until(start + number / FRAME_RATE)

    # ---------------------------------------------------------------- in between

    def _file(self, name: str) -> SoundFile:
        """A file of the folder.  Raises `SoundError` for anything outside."""
        folder = self._dependencies.folder
        if not folder:
            raise SoundError("no files may be played here: --media-folder names their folder")
        if not name or name in (".", "..") or PurePath(name).name != name or "\0" in name:
            raise SoundError("a file is named without its folder")
        return SoundFile(str(PurePath(folder) / name))

    async def _play_all(self) -> None:
        """Speak and play what is asked for in between, one after another."""
        async for content in self._to_play:
            try:
                clip = await self._studio.make(content)
            except SoundError as error:
                self._log("announcement_failed", by="command", error=str(error))
                continue
            self._voices += 1
            samples = with_volume(clip.samples, self._state.volume)
            identity = f"{self._job.identity}-voice-{self._voices}"
            clip = AudioClip(clip.format, samples)
            if isinstance(content, Speech):
                self._log("announcement_spoken", text=content.text, by="command")
            await Playback(
                self._port, clip, [Entry(self._job.room, identity, AGENT)], "Interactive Audio"
            ).run()
            self._audio_frames += clip.frame_count

    def _play_later(self, content: SoundContent) -> str:
        """Empty, or why it is not taken."""
        try:
            self._waiting.send_nowait(content)
        except trio.WouldBlock:
            return f"{MOST_WAITING} texts and files wait already"
        return ""

    # ---------------------------------------------------------------- commands

    def command(self, sender: str, payload: bytes, *, by_call: bool) -> bytes | None:
        command = parse_command(payload)
        if command is None:
            text = f"A command is a JSON object with a type, of at most {MAX_COMMAND} bytes."
            return self._answer(text) if by_call else None
        kind = command["type"]
        if not by_call and kind in _NO_COMMANDS:
            return None
        if not self._dependencies.may_command(sender):
            if not by_call and not is_command(command):
                return None
            if self._counts():
                self._log("media_command_refused", identity=sender)
                return self._answer(REFUSED)
            return self._answer("Too many commands.") if by_call else None
        if not self._counts():
            return self._answer("Too many commands.") if by_call else None
        self._log("media_command_received", type=kind[:40], identity=sender)
        answered = carry_out(self._state, command, self._status)
        self._state, message = answered.state, answered.message
        try:
            if answered.speak:
                message = self._play_later(Speech(answered.speak)) or message
            elif answered.play:
                message = self._play_later(self._file(answered.play)) or message
        except SoundError as error:
            message = str(error)
        return self._answer(message)

    def _counts(self) -> bool:
        """Count a command.  False if there were too many."""
        now = trio.current_time()
        full = len(self._commands) == MOST_COMMANDS
        if full and now - self._commands[0] < COMMAND_WINDOW:
            return False
        self._commands.append(now)
        return True

    def arrived(self, identity: str) -> None:
        welcome = self._request.welcome
        if not welcome:
            return
        self._send("welcome", to=(identity,), message=welcome)
        if self._request.mode == "interactive":
            self._play_later(Speech(welcome))

    def _status(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self._numbers().items())

    def _numbers(self) -> Mapping[str, Any]:
        return {
            "audio_frames": self._audio_frames,
            "video_frames": self._video_frames,
            "duration": round(trio.current_time() - self._began, 1),
            "tracks": self._tracks,
        }

    # ---------------------------------------------------------------- messages

    def _answer(self, message: str) -> bytes:
        return self._payload("response", message=message)

    def _payload(self, kind: str, **fields: Any) -> bytes:
        timestamp = int(self._dependencies.clock())
        return json.dumps({"type": kind, **fields, "timestamp": timestamp, "agent": AGENT}).encode()

    def _send(self, kind: str, to: Sequence[str] = (), **fields: Any) -> None:
        try:
            self._unsent.send_nowait((self._payload(kind, **fields), to))
        except trio.WouldBlock:
            return

    async def _send_all(self, participant: PublishingParticipant) -> None:
        async for payload, to in self._to_send:
            try:
                await participant.send(payload, to)
            except PublishingError as error:
                self._log("media_message_failed", error=str(error))

    async def _send_stats(self, participant: PublishingParticipant) -> None:
        """To those who may give commands."""
        while True:
            await trio.sleep(STATS_EVERY)
            to = [one for one in participant.people() if self._dependencies.may_command(one)]
            if to:
                self._send("stats", to, **self._numbers())

    def _log(self, event: str, /, **fields: Any) -> None:
        self._dependencies.log(event, room=self._job.room, **fields)


def _text_of(group: BaseExceptionGroup[Exception]) -> str:
    """The text of the first of a group of errors."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


async def _due(start: float, index: int) -> float:
    """Wait until a frame is to be queued; when the first one was, moved if the queue ran dry."""
    await trio.sleep_until(start + index * FRAME_SECONDS - LEAD)
    now = trio.current_time()
    return now - index * FRAME_SECONDS if now > start + index * FRAME_SECONDS else start
