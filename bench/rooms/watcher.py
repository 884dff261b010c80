"""An observer on the plain SDK in a room: it does our work, by the SDK's public API.

For `agent.py` here, in the environment of livekit-agents, and for `bench/scale/sdk.py`.
Imports nothing of ours.  Every process appends what it records to a file of its own in
BENCH_RECORDS, one JSON object a line, with the names that our own JSON log uses.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from livekit import rtc


@functools.cache
def _records(process: int) -> TextIO:
    """The file of this process: after a fork it is another one."""
    return Path(os.environ["BENCH_RECORDS"], f"{process}.jsonl").open("a", buffering=1)


def record(event: str, **fields: Any) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    _records(os.getpid()).write(json.dumps({"time": at, "event": event, **fields}) + "\n")


class Watcher:
    """Counts what happens in one room, and subscribes to microphones."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._streams: set[asyncio.Task[None]] = set()

    def listen(self, room: rtc.Room) -> None:
        """Before the room is connected."""
        room.on("participant_connected", self.joined)
        room.on("participant_disconnected", self.left)
        room.on("track_published", self.published)
        room.on("track_unpublished", self.track("track_unpublished"))
        room.on("track_muted", self.track("track_muted"))
        room.on("track_unmuted", self.track("track_unmuted"))
        room.on("data_received", self.data)
        room.on("participant_name_changed", self.name)
        room.on("participant_metadata_changed", self.metadata)
        room.on("participant_attributes_changed", self.attributes)
        room.on("connection_quality_changed", self.quality)
        room.on("active_speakers_changed", self.speakers)
        room.register_text_stream_handler("lk.chat", self.chat)

    def connected(self, room: rtc.Room) -> None:
        """As soon as it is: who is there already is not announced."""
        for person in room.remote_participants.values():
            self.joined(person)
            for track in person.track_publications.values():
                self.published(track, person)
        self.say("session_started")

    def say(self, event: str, **fields: Any) -> None:
        record(event, room=self._name, **fields)

    def joined(self, person: rtc.RemoteParticipant) -> None:
        self.say("participant_connected", identity=person.identity, sid=person.sid)

    def left(self, person: rtc.RemoteParticipant) -> None:
        self.say("participant_disconnected", identity=person.identity, sid=person.sid)

    def published(self, track: rtc.RemoteTrackPublication, person: rtc.RemoteParticipant) -> None:
        self.say("track_published", identity=person.identity, sid=track.sid)
        if track.source == rtc.TrackSource.SOURCE_MICROPHONE:
            track.set_subscribed(True)

    def track(self, event: str) -> Callable[..., None]:
        def say(*args: Any) -> None:
            (publication,) = (one for one in args if isinstance(one, rtc.RemoteTrackPublication))
            self.say(event, sid=publication.sid)

        return say

    def data(self, packet: rtc.DataPacket) -> None:
        self.message(packet.participant and packet.participant.identity, packet.topic, packet.data)

    def message(self, identity: str | None, topic: str | None, data: bytes) -> None:
        self.say("data_message", identity=identity, topic=topic or "", size=len(data))

    def chat(self, reader: rtc.TextStreamReader, identity: str) -> None:
        async def read() -> None:
            self.message(identity, reader.info.topic, (await reader.read_all()).encode())

        task = asyncio.create_task(read())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    def name(self, person: rtc.Participant, _old: str, new: str) -> None:
        self.say("participant_name", identity=person.identity, name=new)

    def metadata(self, person: rtc.Participant, _old: str, new: str) -> None:
        self.say("participant_metadata", identity=person.identity, metadata=new)

    def attributes(self, changed: dict[str, str], person: rtc.Participant) -> None:
        self.say("participant_attributes", identity=person.identity, changed=changed)

    def quality(self, person: rtc.Participant, quality: int) -> None:
        self.say("quality_changed", identity=person.identity, quality=quality)

    def speakers(self, people: list[rtc.Participant]) -> None:
        self.say("speakers_changed", identities=[person.identity for person in people])
