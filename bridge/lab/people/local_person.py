"""One join of one person, as the people's process has it: the SDK's room and its media.

Nothing here cancels `Room.connect`: that ends the process some 15 s later, because the native
side waits for a call that never comes.  A join that nobody waits for any more is finished and
then left.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
from livekit import rtc

from bridge.lab.people import people_seams, synthetic_media
from bridge.lab.people.confirmed_leave import ConfirmedLeave
from bridge.lab.people.ear import Ear

Json: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Json], None]
"""Sends one message to the parent process."""

_SET_SECONDS: Final = 5.0
"""Until the server must have reported our own new name, metadata or attributes."""
_SID_SECONDS: Final = 10.0

_TRACK_SOURCES: Final = {
    "microphone": rtc.TrackSource.SOURCE_MICROPHONE,
    "camera": rtc.TrackSource.SOURCE_CAMERA,
    "screen": rtc.TrackSource.SOURCE_SCREENSHARE,
    "screen_audio": rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO,
}


class RefusedError(Exception):
    """An order that cannot be carried out.  The text goes back to the parent."""


def disconnect_reason(value: int) -> str:
    """LiveKit's DisconnectReason in lower case, as everywhere in this program."""
    return rtc.DisconnectReason.Name(value).lower()  # type: ignore[arg-type]


def _encryption(secret: str) -> rtc.E2EEOptions:
    """End-to-end encryption of tracks and data with one key for the whole room."""
    key = rtc.KeyProviderOptions(shared_key=secret.encode())
    return rtc.E2EEOptions(key_provider_options=key)


class LocalPerson:
    """One person in one room, from the join to the leave.  Each method is an order."""

    def __init__(self, person: int, send: Send, leave: ConfirmedLeave) -> None:
        self._person = person
        self._send = send
        self._confirmed_leave = leave
        self._room = rtc.Room()
        self._media: dict[str, synthetic_media.Media] = {}
        self._data_tracks: dict[str, rtc.LocalDataTrack] = {}
        self._ear: Ear | None = None
        self._changed = asyncio.Event()
        self._left_reported = False
        self._clearing: asyncio.Future[None] | None = None
        self._leaving: asyncio.Task[Json] | None = None
        for event in (
            "participant_name_changed",
            "participant_metadata_changed",
            "participant_attributes_changed",
        ):
            self._room.on(event, lambda *_: self._changed.set())
        self._room.on("reconnected", lambda *_: self._report("reconnected"))
        self._room.on("disconnected", self._on_disconnected)

    def _report(self, event: str, **more: Any) -> None:
        self._send({"event": event, "person": self._person, "at": time.time(), **more})

    def _on_disconnected(self, *args: Any) -> None:
        self._clearing = asyncio.ensure_future(self.stop_media())
        if not self._left_reported:
            self._left_reported = True
            self._report("left", reason=disconnect_reason(args[0] if args else 0))

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
        await self._room.connect(self._confirmed_leave.url, self._confirmed_leave.token, options)
        people_seams.narrow_events(self._room)
        me = self._room.local_participant
        return {
            "sid": me.sid,
            "room_sid": await asyncio.wait_for(self._room.sid, _SID_SECONDS),
            "joined_at": me.joined_at.timestamp() if me.joined_at else None,
        }

    async def leave(self) -> Json:
        """Leave once.  A second call waits for the first."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        return await asyncio.shield(self._leaving)

    async def _leave(self) -> Json:
        await self.stop_media()
        self._left_reported = True
        was_in = self._room.isconnected()
        await self._room.disconnect()
        at = time.time()
        if was_in and await self._confirmed_leave.ensure_left():
            at = time.time()
        return {"at": at}

    async def stop_media(self) -> None:
        if self._ear is not None:
            await self._ear.close()
        while self._media:
            _, track_media = self._media.popitem()
            await track_media.stop()

    async def publish(self, source: str, steady: bool) -> Json:
        track_media = synthetic_media.make_media(source, steady=steady)
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

    async def listen(self) -> Json:
        """Hear everybody whose sound is subscribed from now on."""
        self._ear = Ear(self._room)
        return {}

    async def sound(self) -> Json:
        """The measure of what was heard since `listen`."""
        measure = None if self._ear is None else self._ear.measure()
        return {"heard": None if measure is None else attrs.asdict(measure)}

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

    async def send_bytes(self, data: str, name: str, topic: str) -> Json:
        await self._me.send_bytes(base64.b64decode(data), name=name, topic=topic)
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

        def is_set() -> bool:
            now = self._me.attributes
            return all(now.get(key, "") == value for key, value in attributes.items())

        return await self._until(is_set, "attributes")

    async def _until(self, is_set: Callable[[], bool], what: str) -> Json:
        """Wait until the server reports our own change.

        Without the permission, the SDK reports success and nothing happens.
        """
        deadline = time.monotonic() + _SET_SECONDS
        while not is_set():
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


ORDERS: Final[dict[str, Callable[..., Awaitable[Json]]]] = {
    "publish": LocalPerson.publish,
    "unpublish": LocalPerson.unpublish,
    "mute": LocalPerson.mute,
    "unmute": LocalPerson.unmute,
    "speak": LocalPerson.speak,
    "listen": LocalPerson.listen,
    "heard": LocalPerson.sound,
    "send_data": LocalPerson.send_data,
    "send_text": LocalPerson.send_text,
    "send_file": LocalPerson.send_file,
    "send_bytes": LocalPerson.send_bytes,
    "publish_data_track": LocalPerson.publish_data_track,
    "unpublish_data_track": LocalPerson.unpublish_data_track,
    "set_name": LocalPerson.set_name,
    "set_metadata": LocalPerson.set_metadata,
    "set_attributes": LocalPerson.set_attributes,
    "scenario": LocalPerson.scenario,
}
