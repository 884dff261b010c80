"""The people's own process: asyncio and the SDK, told what to do over standard input.

One `Presence` is one join of one person.  Every order runs in a task of its own and is
answered once; orders to one person are in order because the parent waits for answers.

Nothing here cancels `Room.connect`: that kills the process some 15 s later (the native
side waits for a call that never comes).  A join nobody waits for any more is finished
and then left.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from livekit import api, rtc

from bridge.lab.people import people_seams, process_protocol, synthetic_media
from bridge.lab.people.goodbye import Goodbye
from bridge.livekit.rooms import seams as native
from bridge.output.redact import redact

Json: TypeAlias = dict[str, Any]
Say: TypeAlias = Callable[[Json], None]

_SET_SECONDS: Final = 5.0
"""How long until the server must have told us of our own new name or metadata."""
_SID_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 8.0
"""Less than `process.END_SECONDS`, after which the parent kills."""

_TRACK_SOURCES: Final = {
    "microphone": rtc.TrackSource.SOURCE_MICROPHONE,
    "camera": rtc.TrackSource.SOURCE_CAMERA,
    "screen": rtc.TrackSource.SOURCE_SCREENSHARE,
    "screen_audio": rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO,
}


class RefusedError(Exception):
    """An order that cannot be carried out; the text goes back to whoever gave it."""


def disconnect_reason(value: int) -> str:
    """LiveKit's DisconnectReason in lower case, as everywhere in this program."""
    return rtc.DisconnectReason.Name(value).lower()  # type: ignore[arg-type]


def _encryption(secret: str) -> rtc.E2EEOptions:
    """End-to-end encryption of tracks and data with one key for the whole room."""
    key = rtc.KeyProviderOptions(shared_key=secret.encode())
    return rtc.E2EEOptions(key_provider_options=key)


class Presence:
    """One person in one room, from the join to the end of it."""

    def __init__(self, person: int, say: Say, goodbye: Goodbye) -> None:
        self._person = person
        self._say = say
        self._goodbye = goodbye
        self._room = rtc.Room()
        self._media: dict[str, synthetic_media.Media] = {}
        self._data_tracks: dict[str, rtc.LocalDataTrack] = {}
        self._changed = asyncio.Event()
        self._told_gone = False
        self._clearing: asyncio.Future[None] | None = None
        self._leaving: asyncio.Task[Json] | None = None
        for event in (
            "participant_name_changed",
            "participant_metadata_changed",
            "participant_attributes_changed",
        ):
            self._room.on(event, lambda *_: self._changed.set())
        self._room.on("reconnected", lambda *_: self._tell("reconnected"))
        self._room.on("disconnected", self._on_disconnected)

    def _tell(self, event: str, **more: Any) -> None:
        self._say({"event": event, "person": self._person, "at": time.time(), **more})

    def _on_disconnected(self, *args: Any) -> None:
        self._clearing = asyncio.ensure_future(self.stop_media())
        if not self._told_gone:
            self._told_gone = True
            self._tell("left", reason=disconnect_reason(args[0] if args else 0))

    @property
    def _me(self) -> rtc.LocalParticipant:
        if not self._room.isconnected():
            raise RefusedError("not in the room")
        return self._room.local_participant

    async def join(self, *, subscribe: bool, secret: str) -> Json:
        options = rtc.RoomOptions(
            encryption=_encryption(secret) if secret else None,
            auto_subscribe=subscribe,
            rtc_config=rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            ),
        )
        await self._room.connect(self._goodbye.url, self._goodbye.token, options)
        people_seams.narrow_events(self._room)
        me = self._room.local_participant
        return {
            "sid": me.sid,
            "room_sid": await asyncio.wait_for(self._room.sid, _SID_SECONDS),
            "joined_at": me.joined_at.timestamp() if me.joined_at else None,
        }

    async def leave(self) -> Json:
        """Leave once; who asks again waits for the same."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        return await asyncio.shield(self._leaving)

    async def _leave(self) -> Json:
        await self.stop_media()
        self._told_gone = True
        was_in = self._room.isconnected()
        await self._room.disconnect()
        at = time.time()
        if was_in and await self._goodbye.say_again_if_lost():
            at = time.time()
        return {"at": at}

    async def stop_media(self) -> None:
        while self._media:
            _, track_media = self._media.popitem()
            await track_media.stop()

    async def publish(self, source: str) -> Json:
        track_media = synthetic_media.make_media(source)
        try:
            publication = await self._me.publish_track(
                track_media.track, rtc.TrackPublishOptions(source=_TRACK_SOURCES[source])
            )
        except BaseException:
            await track_media.stop()
            raise
        self._media[publication.sid] = track_media
        return {"track": publication.sid}

    async def unpublish(self, track: str) -> Json:
        track_media = self._track(track)
        await self._me.unpublish_track(track)
        del self._media[track]
        await track_media.stop()
        return {}

    def _track(self, track: str) -> synthetic_media.Media:
        if track not in self._media:
            raise RefusedError(f"no such track: {track}")
        return self._media[track]

    async def mute(self, track: str) -> Json:
        self._track(track).track.mute()
        return {}

    async def unmute(self, track: str) -> Json:
        self._track(track).track.unmute()
        return {}

    async def speak(self, on: bool) -> Json:
        sounds = [
            sound for sound in self._media.values() if isinstance(sound, synthetic_media.Sound)
        ]
        if not sounds:
            raise RefusedError("no microphone is published")
        sounds[0].speak(on)
        return {}

    async def send_data(self, data: str, topic: str, reliable: bool, to: list[str]) -> Json:
        await self._me.publish_data(
            base64.b64decode(data), topic=topic, reliable=reliable, destination_identities=to
        )
        return {}

    async def send_text(self, text: str, topic: str, to: list[str]) -> Json:
        await self._me.send_text(text, topic=topic, destination_identities=to or None)
        return {}

    async def send_file(self, data: str, name: str, topic: str) -> Json:
        content = base64.b64decode(data)
        writer = await self._me.stream_bytes(name, topic=topic, total_size=len(content))
        await writer.write(content)
        await writer.aclose()
        return {}

    async def publish_data_track(self, name: str) -> Json:
        track = await self._me.publish_data_track(name=name)
        self._data_tracks[track.info.sid] = track
        return {"track": track.info.sid}

    async def unpublish_data_track(self, track: str) -> Json:
        await self._data_tracks.pop(track).unpublish()
        return {}

    async def set_name(self, name: str) -> Json:
        await self._me.set_name(name)
        return await self._until(lambda: self._me.name == name, "name")

    async def set_metadata(self, metadata: str) -> Json:
        await self._me.set_metadata(metadata)
        return await self._until(lambda: self._me.metadata == metadata, "metadata")

    async def set_attributes(self, attributes: dict[str, str]) -> Json:
        await self._me.set_attributes(attributes)

        def shown() -> bool:
            now = self._me.attributes
            return all(now.get(key, "") == value for key, value in attributes.items())

        return await self._until(shown, "attributes")

    async def _until(self, shown: Callable[[], bool], what: str) -> Json:
        """Wait until the server told us our own change: without the right to it, the SDK
        reports success and nothing ever happens."""
        deadline = time.monotonic() + _SET_SECONDS
        while not shown():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                raise RefusedError(
                    f"the server did not take the {what} in {_SET_SECONDS:.0f} s "
                    "(is can_update_own_metadata granted?)"
                ) from None
        return {}

    async def scenario(self, scenario: str) -> Json:
        await self._room.simulate_scenario(
            rtc.SimulateScenarioKind.Value(f"SIMULATE_{scenario.upper()}")
        )
        return {}


_ORDERS: Final[dict[str, Callable[..., Awaitable[Json]]]] = {
    "publish": Presence.publish,
    "unpublish": Presence.unpublish,
    "mute": Presence.mute,
    "unmute": Presence.unmute,
    "speak": Presence.speak,
    "send_data": Presence.send_data,
    "send_text": Presence.send_text,
    "send_file": Presence.send_file,
    "publish_data_track": Presence.publish_data_track,
    "unpublish_data_track": Presence.unpublish_data_track,
    "set_name": Presence.set_name,
    "set_metadata": Presence.set_metadata,
    "set_attributes": Presence.set_attributes,
    "scenario": Presence.scenario,
}


class Host:
    """Everyone in this process."""

    def __init__(self, url: str, api_key: str, api_secret: str, say: Say) -> None:
        self._url = url
        self._key = (api_key, api_secret)
        self._say = say
        self._present: dict[int, Presence] = {}
        self._joining: dict[int, asyncio.Task[Json]] = {}

    async def obey(self, order: Json) -> None:
        """Carry out one order and answer it, whatever happens."""
        number = order.pop("id")
        try:
            done = await self._do(**order)
            answer = {"id": number, "ok": {"at": time.time(), **done}}
        except Exception as error:  # noqa: BLE001  told to whoever gave the order
            text = str(getattr(error, "message", error)) or type(error).__name__
            answer = {"id": number, "error": redact(text)}
        self._say(answer)

    async def _do(self, do: str, person: int, **arguments: Any) -> Json:
        if do == "join":
            return await self._join(person, **arguments)
        if do == "leave":
            return await self._leave(person)
        if do == "everyone_leaves":
            await self.everyone_leaves()
            return {}
        if person not in self._present:
            raise RefusedError("not in the room")
        return await _ORDERS[do](self._present[person], **arguments)

    async def _join(self, person: int, subscribe: bool, secret: str, **who: Any) -> Json:
        goodbye = Goodbye(
            self._url, *self._key, self._token(**who), room=who["room"], identity=who["identity"]
        )
        presence = Presence(person, self._say, goodbye)
        joining = asyncio.create_task(presence.join(subscribe=subscribe, secret=secret))
        self._joining[person] = joining
        try:
            answer = await joining
            self._present[person] = presence
            return answer
        finally:
            del self._joining[person]

    def _token(
        self,
        room: str,
        identity: str,
        name: str,
        metadata: str,
        attributes: dict[str, str],
        kind: str,
        grants: dict[str, bool],
    ) -> str:
        video = api.VideoGrants(room_join=True, room=room, agent=kind == "agent" or None)
        for grant, given in grants.items():
            setattr(video, grant, given)
        token = (
            api.AccessToken(*self._key)
            .with_identity(identity)
            .with_name(name)
            .with_metadata(metadata)
            .with_attributes(attributes)
            .with_grants(video)
        )
        if kind != "standard":
            token = token.with_kind(kind)  # type: ignore[arg-type]
        return token.to_jwt()

    async def _leave(self, person: int) -> Json:
        if person in self._joining:
            await asyncio.wait([self._joining[person]])
            await asyncio.sleep(0)  # let `_join` take note of it
        if person not in self._present:
            return {}
        try:
            return await self._present[person].leave()
        finally:
            self._present.pop(person, None)

    async def everyone_leaves(self) -> None:
        people = {*self._present, *self._joining}
        await asyncio.gather(*(self._leave(person) for person in people), return_exceptions=True)


async def _serve(read_fd: int, write_fd: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=process_protocol.LONGEST_LINE)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )

    def say(message: Json) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(write_fd, line) :]
        except BrokenPipeError:
            pass  # the parent is gone; the end of our input says so too

    first = await reader.readline()
    if not first:
        return
    host = Host(**json.loads(first), say=say)
    native.initialize()
    say({"ready": True})
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(host.obey(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.wait_for(host.everyone_leaves(), _GOODBYE_SECONDS)


def main() -> None:
    """Serve until the end of standard input, then leave every room and end."""
    # Ctrl-C reaches the whole terminal group, but the people must stay until the parent
    # has told the story's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.disable(logging.CRITICAL)
    # The answers get a descriptor of their own, so that a stray print of some library
    # cannot land between them.
    write_fd = os.dup(1)
    os.dup2(2, 1)
    read_fd = os.dup(0)
    code = 0
    try:
        asyncio.run(_serve(read_fd, write_fd))
    except TimeoutError:
        code = 1
    finally:
        sys.stderr.flush()
    # Past the native library's own shutdown, which can hang or abort while a connection
    # is still being torn down; all that matters has been said.
    os._exit(code)
