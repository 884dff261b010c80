"""A person in a simulated room: everything that participants do, each in one call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, final

from attrs import evolve

from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantLeft,
    PermissionsChanged,
    QualityChanged,
    RoomEvent,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
)
from actors.session.room_info import (
    DataFormat,
    ParticipantInfo,
    Permissions,
    Quality,
    TrackInfo,
    TrackKind,
    TrackSource,
)
from actors.session.webhook_reports import (
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookTrack,
)

KIND_OF: Final[Mapping[TrackSource, TrackKind]] = {
    "camera": "video",
    "screen": "video",
    "microphone": "audio",
    "screen_audio": "audio",
    "unknown": "audio",
}


FRAME_RATE: Final = 20
"""Frames a second of each video."""


class SimulatedError(Exception):
    """A person or a room was asked for something that it cannot do now."""


class RoomOfPerson(Protocol):
    """The part of the simulated room that a person needs."""

    name: str
    sid: str

    def now(self) -> float:
        """Unix seconds."""
        ...

    def next_id(self, prefix: str) -> str: ...

    def tell(self, event: RoomEvent) -> None:
        """Show an event to every watcher."""
        ...

    def webhook(self, event: WebhookReport) -> None:
        """Send a report to whoever has the server's webhooks."""
        ...

    def watch(self, person: SimulatedPerson) -> None:
        """The tracks of a person changed."""
        ...

    def remove(self, person: SimulatedPerson) -> None:
        """Somebody is out."""
        ...

    def speak(self, identities: Iterable[str]) -> None: ...

    def send_data(
        self,
        payload: bytes,
        *,
        topic: str = "",
        reliable: bool = True,
        stream: bool = False,
        sender: str | None = None,
    ) -> None: ...


@final
class SimulatedPerson:
    """One join of one person.  Made by `SimulatedRoom.join`."""

    def __init__(self, room: RoomOfPerson, info: ParticipantInfo, hidden: bool) -> None:
        self._room = room
        self._info = info
        self.hidden = hidden
        self.tracks: dict[str, TrackInfo] = {}
        self._frozen: dict[str, int] = {}
        """Videos that stand still, and at which frame."""
        self.left_reason: str | None = None
        self.present = True
        self.received: list[tuple[str, bytes]] = []
        """Topic and payload of what the server sent, the oldest first."""

    def __repr__(self) -> str:
        return f"<SimulatedPerson {self.identity!r} {self.sid} in {self._room.name!r}>"

    @property
    def identity(self) -> str:
        return self._info.identity

    @property
    def sid(self) -> str:
        return self._info.sid

    @property
    def joined_at(self) -> float:
        return self._info.joined_at

    @property
    def room_sid(self) -> str:
        return self._room.sid

    def info(self) -> ParticipantInfo:
        tracks = tuple(self.tracks.values())
        if tracks != self._info.tracks:
            self._info = evolve(self._info, tracks=tracks)
        return self._info

    def activate(self) -> None:
        """The media connection stands; again is harmless."""
        self._must_be_here()
        if self._info.active:
            return
        self._info = evolve(self._info, active=True)
        now = self._room.now()
        self._tell(ParticipantActive(now, self.identity, self.sid))
        if not self.hidden:
            self._room.webhook(WebhookJoined(now, int(now), self.info()))

    def publish(self, source: TrackSource, *, muted: bool = False, encrypted: bool = False) -> str:
        """The new track's SID."""
        self._must_be_here()
        kind = KIND_OF[source]
        track = TrackInfo(
            self._room.next_id("TR"), kind, source, muted, name=source, encrypted=encrypted
        )
        self.tracks[track.sid] = track
        self._tell(TrackPublished(self._room.now(), self.identity, track))
        self._webhook_of(track, published=True)
        self._room.watch(self)
        return track.sid

    def unpublish(self, track: str) -> None:
        removed = self._track(track)
        del self.tracks[track]
        self._tell(TrackUnpublished(self._room.now(), self.identity, track))
        self._webhook_of(removed, published=False)
        self._room.watch(self)

    def mute(self, track: str) -> None:
        if not self._track(track).muted:
            self.tracks[track] = evolve(self.tracks[track], muted=True)
            self._tell(TrackMuted(self._room.now(), self.identity, track))

    def unmute(self, track: str) -> None:
        if self._track(track).muted:
            self.tracks[track] = evolve(self.tracks[track], muted=False)
            self._tell(TrackUnmuted(self._room.now(), self.identity, track))

    def frames_of(self, track: str) -> int:
        """The frames of a video so far; all videos have the same rate."""
        return self._frozen.get(track, int(self._room.now() * FRAME_RATE))

    def freeze(self, track: str) -> None:
        """From now on this video stands still."""
        self._frozen[track] = self.frames_of(track)

    def thaw(self, track: str) -> None:
        del self._frozen[track]

    def speak(self, on: bool) -> None:
        """Alone: use `SimulatedRoom.speak` for several."""
        self._must_be_here()
        self._room.speak((self.identity,) if on else ())

    def quality(self, quality: Quality) -> None:
        """A new level for this person; the server would send it only on a change."""
        self._must_be_here()
        self._tell(QualityChanged(self._room.now(), self.identity, self.sid, quality))

    def send_data(self, payload: bytes, *, topic: str = "", reliable: bool = True) -> None:
        self._must_be_here()
        self._room.send_data(payload, topic=topic, reliable=reliable, sender=self.identity)

    def send_text(self, text: str, *, topic: str = "lk.chat") -> None:
        self._must_be_here()
        self._room.send_data(text.encode(), topic=topic, stream=True, sender=self.identity)

    def send_file(self, payload: bytes, *, topic: str = "lk.chat") -> None:
        self._must_be_here()
        now = self._room.now()
        self._tell(AttachmentReceived(now, self.identity, topic, len(payload)))

    def permit(self, permissions: Permissions) -> None:
        """Set this person's permissions from now on."""
        self._must_be_here()
        self._info = evolve(self._info, permissions=permissions)
        self._tell(PermissionsChanged(self._room.now(), self.identity, permissions))

    def set_name(self, name: str) -> None:
        self._must_be_here()
        self._info = evolve(self._info, name=name)
        self._tell(NameChanged(self._room.now(), self.identity, name))

    def set_metadata(self, metadata: str) -> None:
        self._must_be_here()
        self._info = evolve(self._info, metadata=metadata)
        self._tell(MetadataChanged(self._room.now(), self.identity, metadata))

    def set_attributes(self, changed: Mapping[str, str]) -> None:
        """Set some attributes; an empty value deletes one, the others visit."""
        self._must_be_here()
        merged = {**(self._info.attributes or {}), **changed}
        self._info = evolve(self._info, attributes={k: v for k, v in merged.items() if v})
        self._tell(AttributesChanged(self._room.now(), self.identity, dict(changed)))

    def leave(self, reason: str | None = "client_initiated") -> None:
        """Out of the room, every track first; again is harmless."""
        if not self.present:
            return
        for sid, track in tuple(self.tracks.items()):
            del self.tracks[sid]
            self._tell(TrackUnpublished(self._room.now(), self.identity, sid))
            self._webhook_of(track, published=False)
        self.present = False
        self.left_reason = reason
        self._room.remove(self)
        self._tell(ParticipantLeft(self._room.now(), self.identity, self.sid, reason))
        if not self.hidden:
            now = self._room.now()
            over = WebhookLeft if self._info.active else WebhookJoinAborted
            self._room.webhook(over(now, int(now), self.info(), reason))

    def _webhook_of(self, track: TrackInfo, *, published: bool) -> None:
        if not self.hidden:
            now = self._room.now()
            report = WebhookTrack(now, int(now), self.identity, self.sid, track, published)
            self._room.webhook(report)

    def _tell(self, event: RoomEvent) -> None:
        if not self.hidden:
            self._room.tell(event)

    def _must_be_here(self) -> None:
        if not self.present:
            raise SimulatedError(f"{self.identity!r} is not in the room any more")

    def _track(self, sid: str) -> TrackInfo:
        self._must_be_here()
        if sid not in self.tracks:
            raise SimulatedError(f"{self.identity!r} has no track {sid}")
        return self.tracks[sid]


def format_of(payload: bytes) -> DataFormat:
    """The format of a message: a JSON object or list, other text, or bytes."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "binary"
    try:
        return "json" if isinstance(json.loads(text), dict | list) else "text"
    except (ValueError, RecursionError):
        return "text"
