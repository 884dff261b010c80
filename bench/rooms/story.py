"""The actions of the people of one room.  Cheap: no video, and sound only for a moment.

Nothing is asked of a watcher that LiveKit itself does not tell.  It announces a track
only once media has arrived, joins two changes of one thing that come together, and loses
what is still under way when its sender closes the connection.  So each change is waited
for at LiveKit before the next, and who wrote waits before leaving.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio
from attrs import frozen

from bridge.lab.people import People, Person, Source
from bridge.livekit.server_api import ServerApi

TALKER: Final = "alice"
SILENT: Final = ("bob", "carol")
GUEST: Final = "dave"

_ANNOUNCED: Final = 5.0
"""Seconds until LiveKit has announced somebody who publishes nothing (it does so every 3 s)."""
_SENT: Final = 1.0
"""Seconds until what somebody sent has arrived."""
_LOOK: Final = 0.2
_KNOWN: Final = 20.0
"""Seconds within which LiveKit must know of a change."""


@frozen
class Stage:
    people: People
    api: ServerApi

    async def publish(self, person: Person, source: Source) -> str:
        track = await person.publish(source)
        await self.known(person, track, lambda _: True)
        return track

    async def mute(self, person: Person, track: str) -> None:
        await person.mute(track)
        await self.known(person, track, lambda info: info.muted)

    async def unmute(self, person: Person, track: str) -> None:
        await person.unmute(track)
        await self.known(person, track, lambda info: not info.muted)

    async def known(self, person: Person, track: str, holds: Callable[[Any], bool]) -> None:
        """Wait until LiveKit shows the track so."""
        with trio.fail_after(_KNOWN):
            while True:
                await trio.sleep(_LOOK)
                for one in await self.api.list_participants(person.room):
                    if any(info.sid == track and holds(info) for info in one.tracks):
                        return


async def fill(stage: Stage, room: str) -> None:
    """Three people come; the first has a microphone."""
    talker = await stage.people.join(room, TALKER)
    await stage.publish(talker, "microphone")
    for identity in SILENT:
        await stage.people.join(room, identity)


async def tell(stage: Stage, room: str) -> None:
    """Everything that people do, in one room; at the end all of them are gone."""
    here = {one.identity: one for one in stage.people.present if one.room == room}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_talker, stage, here[TALKER])
        nursery.start_soon(_writer, here[SILENT[0]])
        nursery.start_soon(_leaver, stage, here[SILENT[1]])
        nursery.start_soon(_guest, stage, room)
    await trio.sleep(_SENT)
    for one in stage.people.present:
        if one.room == room:
            await one.leave()


async def _talker(stage: Stage, person: Person) -> None:
    (microphone,) = person.tracks
    for _ in range(3):
        await stage.mute(person, microphone)
        await stage.unmute(person, microphone)
    sound = await stage.publish(person, "screen_audio")
    await person.talk(1.0)
    await person.unpublish(sound)


async def _writer(person: Person) -> None:
    for number in range(10):
        await person.send_data(b'{"number": %d}' % number, topic="count")
    for text in ("hello", "are you there?", "bye"):
        await person.send_text(text)
    await person.set_attributes({"mood": "fine"})
    await trio.sleep(_ANNOUNCED)
    await person.set_attributes({"mood": "", "hand": "up"})
    await trio.sleep(_ANNOUNCED)


async def _leaver(stage: Stage, person: Person) -> None:
    await person.leave()
    await trio.sleep(_ANNOUNCED)
    again = await stage.people.join(person.room, person.identity)
    await trio.sleep(_ANNOUNCED)
    await again.send_data(b"back", topic="")


async def _guest(stage: Stage, room: str) -> None:
    guest = await stage.people.join(room, GUEST)
    microphone = await stage.publish(guest, "microphone")
    await guest.set_name("Dave")
    await guest.set_metadata('{"role": "guest"}')
    await stage.mute(guest, microphone)
    for number in range(5):
        await guest.send_data(bytes(100 * number), topic="")
    await stage.unmute(guest, microphone)
    await trio.sleep(_SENT)
    await guest.unpublish(microphone)
    await guest.leave()
