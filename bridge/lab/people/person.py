"""One join of one person, for a trio program."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import trio

from bridge.lab.people.process import PeopleError, Process
from bridge.lab.people.process_protocol import Kind, Scenario, Source
from bridge.lab.people.sound_measures import SoundMeasure
from bridge.lab.people.truth import Deed

_RECONNECT_SECONDS: Final = 20.0


@final
class Person:
    """One join of one person.  Made by `People.join`; a rejoin is another `Person`.

    Every method returns once the person's own SDK confirmed it, and raises `PeopleError`
    if it failed.
    """

    def __init__(
        self,
        process: Process,
        number: int,
        who: Mapping[str, Any],
        record: Callable[[Deed], None],
        *,
        own_process: bool,
    ) -> None:
        self._process = process
        self._number = number
        self._who = who
        self._record = record
        self._own_process = own_process
        self._out = trio.Event()
        self._reconnected = trio.Event()
        self.room: str = who["room"]
        self.identity: str = who["identity"]
        self.kind: Kind = who["kind"]
        self.hidden: bool = who["grants"]["hidden"]
        self.name: str = who["name"]
        self.metadata: str = who["metadata"]
        self.attributes: dict[str, str] = dict(who["attributes"])
        self.sid = ""
        """`PA_...` of this join."""
        self.room_sid = ""
        self.joined_at: float | None = None
        """Unix seconds by the server's clock, None if it sent none."""
        self.tracks: dict[str, Source] = {}
        """Tracks that are published now: SID and source."""
        self.left_reason: str | None = None

    def __repr__(self) -> str:
        return f"<Person {self.identity!r} {self.sid} in {self.room!r}>"

    @property
    def present(self) -> bool:
        """In the room, as far as the person knows."""
        return not self._out.is_set()

    async def enter(self, *, subscribe: bool, secret: str) -> None:
        """Join the room.  Called once, by `People.join`."""
        self._process.listen(self._number, self._on_message)
        try:
            answer = await self._ask("join", subscribe=subscribe, secret=secret, **self._who)
        except BaseException:
            self._process.forget(self._number)
            # The connection may still be made, and must then be ended.
            with trio.CancelScope(shield=True):
                await self._process.tell(do="leave", person=self._number)
            raise
        self.sid, self.room_sid = answer["sid"], answer["room_sid"]
        self.joined_at = answer["joined_at"]
        self._did(
            "joined",
            answer,
            joined_at=self.joined_at,
            name=self.name,
            metadata=self.metadata,
            attributes=dict(self.attributes),
            kind=self.kind,
            hidden=self.hidden,
        )

    async def publish(self, source: Source, *, steady: bool = False) -> str:
        """Publish a synthetic track; its SID.  A `steady` microphone sends a packet every 20 ms
        and costs ten times as much; others send in bursts.  Where `can_publish` is not granted the
        SDK hangs, and this raises after the deadline of an order (20 s)."""
        answer = await self._ask("publish", source=source, steady=steady)
        track: str = answer["track"]
        self.tracks[track] = source
        self._did("published", answer, track=track, source=source)
        return track

    async def unpublish(self, track: str) -> None:
        answer = await self._ask("unpublish", track=track)
        self.tracks.pop(track, None)
        self._did("unpublished", answer, track=track)

    async def mute(self, track: str) -> None:
        self._did("muted", await self._ask("mute", track=track), track=track)

    async def unmute(self, track: str) -> None:
        self._did("unmuted", await self._ask("unmute", track=track), track=track)

    async def speak(self, on: bool) -> None:
        """Begin or end to send a tone on the first microphone (or screen audio)."""
        await self._ask("speak", on=on)

    async def talk(self, seconds: float) -> None:
        """Speak for so long."""
        await self.speak(True)
        try:
            await trio.sleep(seconds)
        finally:
            with trio.CancelScope(shield=True):
                await self.speak(False)
        self._did("spoke", {"at": time.time()}, seconds=seconds)

    async def listen(self) -> None:
        """Hear everybody from now on.  Needs `subscribe=True`."""
        await self._ask("listen")

    async def sound(self) -> SoundMeasure | None:
        """The measure of what was heard since `listen`; None where that was nothing."""
        sound: dict[str, Any] | None = (await self._ask("heard"))["heard"]
        return None if sound is None else SoundMeasure(**sound)

    async def send_data(
        self,
        data: bytes,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Sequence[str] = (),
    ) -> None:
        """Send a data message to the identities in `to`, or to everybody."""
        answer = await self._ask(
            "send_data",
            data=base64.b64encode(data).decode(),
            topic=topic,
            reliable=reliable,
            to=list(to),
        )
        self._sent(answer, data, topic=topic, reliable=reliable, stream=False, to=to)

    async def send_text(self, text: str, *, topic: str = "lk.chat", to: Sequence[str] = ()) -> None:
        """Send a text stream, as LiveKit's chat does."""
        answer = await self._ask("send_text", text=text, topic=topic, to=list(to))
        self._sent(answer, text.encode(), topic=topic, reliable=True, stream=True, to=to)

    async def send_file(self, data: bytes, *, name: str, topic: str = "lk.chat") -> None:
        """Send a byte stream, as LiveKit's chat does with an attachment."""
        content = base64.b64encode(data).decode()
        answer = await self._ask("send_file", data=content, name=name, topic=topic)
        self._did("sent_file", answer, size=len(data), topic=topic)

    async def send_bytes(self, data: bytes, *, name: str, topic: str) -> None:
        """Send a byte stream of which everything is known at once, as an agent does: a short one is
        a single packet."""
        content = base64.b64encode(data).decode()
        answer = await self._ask("send_bytes", data=content, name=name, topic=topic)
        self._did("sent_file", answer, size=len(data), topic=topic)

    def _sent(self, answer: dict[str, Any], payload: bytes, **data: Any) -> None:
        data["to"] = tuple(data["to"])
        self._did("sent", answer, size=len(payload), format=payload_format(payload), **data)

    async def publish_data_track(self, name: str) -> str:
        """Publish a data track (LiveKit's stream of small frames); its SID."""
        track: str = (await self._ask("publish_data_track", name=name))["track"]
        return track

    async def unpublish_data_track(self, track: str) -> None:
        await self._ask("unpublish_data_track", track=track)

    async def set_name(self, name: str) -> None:
        answer = await self._ask("set_name", name=name)
        self.name = name
        self._did("name", answer, name=name)

    async def set_metadata(self, metadata: str) -> None:
        answer = await self._ask("set_metadata", metadata=metadata)
        self.metadata = metadata
        self._did("metadata", answer, metadata=metadata)

    async def set_attributes(self, changed: Mapping[str, str]) -> None:
        """Set some attributes.  An empty value deletes one; the others stay."""
        answer = await self._ask("set_attributes", attributes=dict(changed))
        merged = {**self.attributes, **changed}
        self.attributes = {key: value for key, value in merged.items() if value}
        self._did("attributes", answer, changed=dict(changed))

    async def simulate(self, scenario: Scenario) -> None:
        """Have the connection fail in one of the ways LiveKit can simulate; returns when the
        person is connected again (`server_leave`: when out)."""
        self._reconnected = trio.Event()
        self._did("scenario", await self._ask("scenario", scenario=scenario), scenario=scenario)
        if scenario == "server_leave":
            await self._out.wait()
            return
        try:
            with trio.fail_after(_RECONNECT_SECONDS):
                await self._reconnected.wait()
        except trio.TooSlowError:
            raise PeopleError(f"{scenario}: not connected again") from None

    async def leave(self) -> None:
        """Leave with a goodbye.  Does nothing for a person who has left already."""
        if not self.present:
            return
        answer = await self._ask("leave")
        self._is_out("client_initiated", answer["at"])

    async def vanish(self) -> None:
        """End without a goodbye, as after `kill -9`.  Needs `own_process=True`."""
        if not self._own_process:
            raise PeopleError(f"{self.identity}: only a person in a process of its own can vanish")
        self._is_out("connection_timeout", time.time())
        self._process.kill()
        await self._process.end()

    async def out(self) -> str:
        """Wait until the person is out of the room, by whatever cause; the reason."""
        await self._out.wait()
        assert self.left_reason is not None
        return self.left_reason

    async def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        try:
            return await self._process.ask(do=do, person=self._number, **arguments)
        except PeopleError as error:
            raise PeopleError(f"{self.identity!r} {do}: {error}") from None

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message["event"] == "left":
            self._is_out(message["reason"], message["at"])
        elif message["event"] == "reconnected":
            self._did("reconnected", message)
            self._reconnected.set()

    def _is_out(self, reason: str, at: float) -> None:
        if self.present:
            self.left_reason = reason
            self._did("left", {"at": at}, reason=reason)
            self._out.set()
            self._process.forget(self._number)

    def _did(self, deed: str, answer: Mapping[str, Any], **data: Any) -> None:
        self._record(
            Deed(answer["at"], deed, self.room, self.room_sid, self.identity, self.sid, data)
        )


def payload_format(payload: bytes) -> str:
    """`json` for a JSON object or list, else `text` where it is UTF-8, else `binary`."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "binary"
    try:
        return "json" if isinstance(json.loads(text), dict | list) else "text"
    except (ValueError, RecursionError):
        return "text"
