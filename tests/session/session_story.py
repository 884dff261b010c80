"""Helpers to tell a session what happened and look at what it made of it.

Times in the tests are seconds after `T0`; `Story` adds it.
"""

from __future__ import annotations

import json
from datetime import datetime
from math import floor
from typing import Any

import msgspec
from msgspec import Struct

from actors.session import (
    AttributesChanged,
    DataReceived,
    Disconnected,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Quality,
    QualityChanged,
    Reconnected,
    Reconnecting,
    RecorderDetected,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    Roster,
    SessionState,
    SessionView,
    SpeakersChanged,
    Suspended,
    Tick,
    TimelineEntry,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
    WebhookJoined,
    WebhookLeft,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
    apply,
    attach_job,
    begin,
    end,
    next_deadline,
    session_view,
    totals,
)

T0 = 1_700_000_000.0
LEFT = "client_initiated"


def as_json(view: Struct) -> dict[str, Any]:
    """A view as a reader of its JSON has it."""
    return json.loads(msgspec.json.encode(view))


def microphone(sid: str, muted: bool = False) -> TrackInfo:
    return TrackInfo(sid, "audio", "microphone", muted)


def camera(sid: str, muted: bool = False) -> TrackInfo:
    return TrackInfo(sid, "video", "camera", muted)


def person(
    identity: str,
    sid: str,
    joined: float = 0.0,
    *tracks: TrackInfo,
    kind: ParticipantKind = "standard",
    name: str = "",
    metadata: str = "",
    attributes: dict[str, str] | None = None,
    active: bool = True,
) -> ParticipantInfo:
    return ParticipantInfo(
        identity, sid, T0 + joined, kind, name, metadata, attributes or {}, tracks, active=active
    )


class Story:
    """One session, told event by event; `entries` is everything it told."""

    def __init__(
        self,
        *there: ParticipantInfo,
        created: float | None = 0.0,
        person_key: str | None = None,
    ) -> None:
        created_at = None if created is None else T0 + created
        self.state: SessionState = begin(
            "room", "RM_1", ("AJ_1",), "worker", "agent", T0, created_at, person_key
        )
        self.entries: list[TimelineEntry] = []
        self.now = 0.0
        self.hear(Watching(T0, Roster("RM_1", "", there)))

    def hear(self, event: RoomEvent) -> list[TimelineEntry]:
        """Apply `event`; what it made the session tell."""
        self.state, entries = apply(self.state, event)
        self.entries.extend(entries)
        self.now = max(self.now, event.at - T0)
        return list(entries)

    # -- what can be heard, with times in seconds after T0

    def joined(self, at: float, info: ParticipantInfo) -> list[TimelineEntry]:
        return self.hear(ParticipantJoined(T0 + at, info))

    def active(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(ParticipantActive(T0 + at, identity, sid))

    def recorder(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(RecorderDetected(T0 + at, identity, sid))

    def left(
        self, at: float, identity: str, sid: str, reason: str | None = LEFT
    ) -> list[TimelineEntry]:
        return self.hear(ParticipantLeft(T0 + at, identity, sid, reason))

    def published(self, at: float, identity: str, track: TrackInfo) -> list[TimelineEntry]:
        return self.hear(TrackPublished(T0 + at, identity, track))

    def unpublished(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(TrackUnpublished(T0 + at, identity, sid))

    def muted(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(TrackMuted(T0 + at, identity, sid))

    def unmuted(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(TrackUnmuted(T0 + at, identity, sid))

    def subscribed(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.hear(TrackSubscribed(T0 + at, identity, sid))

    def speaking(self, at: float, *identities: str) -> list[TimelineEntry]:
        return self.hear(SpeakersChanged(T0 + at, identities))

    def quality(self, at: float, identity: str, sid: str, quality: Quality) -> list[TimelineEntry]:
        return self.hear(QualityChanged(T0 + at, identity, sid, quality))

    def data(
        self, at: float, identity: str | None, topic: str = "", size: int = 10
    ) -> list[TimelineEntry]:
        return self.hear(DataReceived(T0 + at, identity, topic, size, "text"))

    def named(self, at: float, identity: str, name: str) -> list[TimelineEntry]:
        return self.hear(NameChanged(T0 + at, identity, name))

    def metadata(self, at: float, identity: str, metadata: str) -> list[TimelineEntry]:
        return self.hear(MetadataChanged(T0 + at, identity, metadata))

    def attributes(self, at: float, identity: str, **changed: str) -> list[TimelineEntry]:
        return self.hear(AttributesChanged(T0 + at, identity, changed))

    def room_metadata(self, at: float, metadata: str) -> list[TimelineEntry]:
        return self.hear(RoomMetadataChanged(T0 + at, metadata))

    def reconnecting(self, at: float) -> list[TimelineEntry]:
        return self.hear(Reconnecting(T0 + at))

    def reconnected(
        self, at: float, *there: ParticipantInfo, sid: str = "RM_1", metadata: str = ""
    ) -> list[TimelineEntry]:
        return self.hear(Reconnected(T0 + at, Roster(sid, metadata, there)))

    def resynced(
        self, at: float, *there: ParticipantInfo, metadata: str = ""
    ) -> list[TimelineEntry]:
        return self.hear(Resynced(T0 + at, Roster("RM_1", metadata, there)))

    def watching(self, at: float, *there: ParticipantInfo) -> list[TimelineEntry]:
        return self.hear(Watching(T0 + at, Roster("RM_1", "", there)))

    def disconnected(self, at: float, reason: str | None = None) -> list[TimelineEntry]:
        return self.hear(Disconnected(T0 + at, reason))

    def suspended(self, since: float, at: float) -> list[TimelineEntry]:
        return self.hear(Suspended(T0 + at, T0 + since))

    def tick(self, at: float) -> list[TimelineEntry]:
        return self.hear(Tick(T0 + at))

    # -- what webhooks say: `at` is when we received it, `said` when it happened

    def told_room(
        self, at: float, created: float | None, metadata: str = ""
    ) -> list[TimelineEntry]:
        created_at = None if created is None else T0 + created
        return self.hear(WebhookRoomStarted(T0 + at, floor(T0 + at), created_at, metadata))

    def told_join(self, at: float, info: ParticipantInfo) -> list[TimelineEntry]:
        return self.hear(WebhookJoined(T0 + at, floor(info.joined_at), info))

    def told_leave(
        self, at: float, info: ParticipantInfo, said: float | None = None, reason: str | None = LEFT
    ) -> list[TimelineEntry]:
        said_at = floor(T0 + (at if said is None else said))
        return self.hear(WebhookLeft(T0 + at, said_at, info, reason))

    def told_track(
        self, at: float, identity: str, track: TrackInfo, published: bool, said: float | None = None
    ) -> list[TimelineEntry]:
        said_at = floor(T0 + (at if said is None else said))
        return self.hear(WebhookTrack(T0 + at, said_at, identity, "", track, published))

    def told_room_end(self, at: float, said: float | None = None) -> list[TimelineEntry]:
        return self.hear(WebhookRoomFinished(T0 + at, floor(T0 + (at if said is None else said))))

    def ends(self, at: float, reason: str = "room_closed") -> list[TimelineEntry]:
        self.state, entries = end(self.state, T0 + at, reason)
        self.entries.extend(entries)
        self.now = max(self.now, at)
        return list(entries)

    def attach(self, job_id: str, worker: str | None = None) -> None:
        self.state = attach_job(self.state, job_id, worker)

    # -- what the session made of it

    @property
    def deadline(self) -> float | None:
        """In seconds after T0."""
        due = next_deadline(self.state)
        return None if due is None else due - T0

    def session(self, now: float | None = None) -> SessionView:
        return session_view(self.state, T0 + (self.now if now is None else now), self.entries)

    def view(self, now: float | None = None) -> dict[str, Any]:
        """The same as JSON."""
        return as_json(self.session(now))

    def counts(self) -> tuple[int, int, int, int]:
        """People: current, peak, unique, joins."""
        counts = self.view()["people"]
        return counts["current"], counts["peak"], counts["unique"], counts["joins"]

    def gaps(self, now: float | None = None) -> list[tuple[float | None, float | None, str]]:
        """From, to and reason."""
        return [
            (clock(gap["from"]), clock(gap["to"]), gap["reason"]) for gap in self.view(now)["gaps"]
        ]

    def tracks(self) -> tuple[int, int]:
        """Tracks: current, total."""
        found = totals(self.state, T0 + self.now)
        return found.tracks, found.tracks_total

    def of(self, identity: str, now: float | None = None) -> dict[str, Any]:
        """One person's line."""
        (line,) = [one for one in self.view(now)["participants"] if one["identity"] == identity]
        return line

    def track(self, sid: str, now: float | None = None) -> dict[str, Any]:
        """One track's line."""
        (line,) = [one for one in self.view(now)["tracks"] if one["sid"] == sid]
        return line

    def events(self) -> list[str]:
        """The names of everything that was told after the session's start."""
        return [entry.event for entry in self.entries if entry.event != "session_started"]


def names(entries: list[TimelineEntry]) -> list[str]:
    return [entry.event for entry in entries]


def clock(text: str | None) -> float | None:
    """A time of the view in seconds after T0."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() - T0, 3)
