"""The same work on livekit-agents: runs in its environment and imports nothing of ours.

Every process appends what it records to a file of its own in BENCH_RECORDS, one JSON
object a line, with the names that our own JSON log uses.
"""

# pyright: reportMissingImports=false
# (livekit.agents is in its own environment only)

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import (
    AgentServer,
    AutoSubscribe,
    JobContext,
    JobExecutorType,
    JobProcess,
    WorkerPermissions,
    cli,
)


def record(event: str, **fields: Any) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": at, "event": event, **fields})
    with Path(os.environ["BENCH_RECORDS"], f"{os.getpid()}.jsonl").open("a") as file:
        file.write(line + "\n")


def ready(_process: JobProcess) -> None:
    record("process_ready")


server = AgentServer(
    setup_fnc=ready,
    host="127.0.0.1",
    port=0,
    load_fnc=lambda: 0.0,
    permissions=WorkerPermissions(can_publish=False, can_publish_data=False, hidden=True),
    job_executor_type=JobExecutorType[os.environ["BENCH_EXECUTOR"]],
)
server.on("worker_registered", lambda *_: record("worker_registered"))


class Watcher:
    """Counts what happens in one room, and subscribes to microphones."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._streams: set[asyncio.Task[None]] = set()

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


@server.rtc_session(agent_name=os.environ["BENCH_AGENT_NAME"])
async def watch(ctx: JobContext) -> None:
    room, watcher = ctx.room, Watcher(ctx.job.room.name)
    room.on("participant_connected", watcher.joined)
    room.on("participant_disconnected", watcher.left)
    room.on("track_published", watcher.published)
    room.on("track_unpublished", watcher.track("track_unpublished"))
    room.on("track_muted", watcher.track("track_muted"))
    room.on("track_unmuted", watcher.track("track_unmuted"))
    room.on("data_received", watcher.data)
    room.on("participant_name_changed", watcher.name)
    room.on("participant_metadata_changed", watcher.metadata)
    room.on("participant_attributes_changed", watcher.attributes)
    room.on("connection_quality_changed", watcher.quality)
    room.on("active_speakers_changed", watcher.speakers)
    room.register_text_stream_handler("lk.chat", watcher.chat)
    await ctx.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
    for person in room.remote_participants.values():
        watcher.joined(person)
        for track in person.track_publications.values():
            watcher.published(track, person)
    watcher.say("session_started")


if __name__ == "__main__":
    cli.run_app(server)
