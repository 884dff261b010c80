"""Helpers that give a session events and look at the result.

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
    """One session, event by event; `entries` has all its entries."""

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
        self.receive(Watching(T0, Roster("RM_1", "", there)))

    def receive(self, event: RoomEvent) -> list[TimelineEntry]:
        """Apply `event` and return its entries."""
        self.state, entries = apply(self.state, event)
        self.entries.extend(entries)
        self.now = max(self.now, event.at - T0)
        return list(entries)

    # -- events, with times in seconds after T0

    def joined(self, at: float, info: ParticipantInfo) -> list[TimelineEntry]:
        return self.receive(ParticipantJoined(T0 + at, info))

    def active(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(ParticipantActive(T0 + at, identity, sid))

    def recorder(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(RecorderDetected(T0 + at, identity, sid))

    def left(
        self, at: float, identity: str, sid: str, reason: str | None = LEFT
    ) -> list[TimelineEntry]:
        return self.receive(ParticipantLeft(T0 + at, identity, sid, reason))

    def published(self, at: float, identity: str, track: TrackInfo) -> list[TimelineEntry]:
        return self.receive(TrackPublished(T0 + at, identity, track))

    def unpublished(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(TrackUnpublished(T0 + at, identity, sid))

    def muted(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(TrackMuted(T0 + at, identity, sid))

    def unmuted(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(TrackUnmuted(T0 + at, identity, sid))

    def subscribed(self, at: float, identity: str, sid: str) -> list[TimelineEntry]:
        return self.receive(TrackSubscribed(T0 + at, identity, sid))

    def speaking(self, at: float, *identities: str) -> list[TimelineEntry]:
        return self.receive(SpeakersChanged(T0 + at, identities))

    def quality(self, at: float, identity: str, sid: str, quality: Quality) -> list[TimelineEntry]:
        return self.receive(QualityChanged(T0 + at, identity, sid, quality))

    def data(
        self, at: float, identity: str | None, topic: str = "", size: int = 10
    ) -> list[TimelineEntry]:
        return self.receive(DataReceived(T0 + at, identity, topic, size, "text"))

    def named(self, at: float, identity: str, name: str) -> list[TimelineEntry]:
        return self.receive(NameChanged(T0 + at, identity, name))

    def metadata(self, at: float, identity: str, metadata: str) -> list[TimelineEntry]:
        return self.receive(MetadataChanged(T0 + at, identity, metadata))

    def attributes(self, at: float, identity: str, **changed: str) -> list[TimelineEntry]:
        return self.receive(AttributesChanged(T0 + at, identity, changed))

    def room_metadata(self, at: float, metadata: str) -> list[TimelineEntry]:
        return self.receive(RoomMetadataChanged(T0 + at, metadata))

    def reconnecting(self, at: float) -> list[TimelineEntry]:
        return self.receive(Reconnecting(T0 + at))

    def reconnected(
        self, at: float, *there: ParticipantInfo, sid: str = "RM_1", metadata: str = ""
    ) -> list[TimelineEntry]:
        return self.receive(Reconnected(T0 + at, Roster(sid, metadata, there)))

    def resynced(
        self, at: float, *there: ParticipantInfo, metadata: str = ""
    ) -> list[TimelineEntry]:
        return self.receive(Resynced(T0 + at, Roster("RM_1", metadata, there)))

    def watching(self, at: float, *there: ParticipantInfo) -> list[TimelineEntry]:
        return self.receive(Watching(T0 + at, Roster("RM_1", "", there)))

    def disconnected(self, at: float, reason: str | None = None) -> list[TimelineEntry]:
        return self.receive(Disconnected(T0 + at, reason))

    def suspended(self, since: float, at: float) -> list[TimelineEntry]:
        return self.receive(Suspended(T0 + at, T0 + since))

    def tick(self, at: float) -> list[TimelineEntry]:
        return self.receive(Tick(T0 + at))

    # -- webhooks: `at` is when we received it, `happened` when it happened

    def webhook_room_started(
        self, at: float, created: float | None, metadata: str = ""
    ) -> list[TimelineEntry]:
        created_at = None if created is None else T0 + created
        return self.receive(WebhookRoomStarted(T0 + at, floor(T0 + at), created_at, metadata))

    def webhook_joined(self, at: float, info: ParticipantInfo) -> list[TimelineEntry]:
        return self.receive(WebhookJoined(T0 + at, floor(info.joined_at), info))

    def webhook_left(
        self,
        at: float,
        info: ParticipantInfo,
        happened: float | None = None,
        reason: str | None = LEFT,
    ) -> list[TimelineEntry]:
        sent_at = floor(T0 + (at if happened is None else happened))
        return self.receive(WebhookLeft(T0 + at, sent_at, info, reason))

    def webhook_track(
        self,
        at: float,
        identity: str,
        track: TrackInfo,
        published: bool,
        happened: float | None = None,
    ) -> list[TimelineEntry]:
        sent_at = floor(T0 + (at if happened is None else happened))
        return self.receive(WebhookTrack(T0 + at, sent_at, identity, "", track, published))

    def webhook_room_finished(
        self, at: float, happened: float | None = None
    ) -> list[TimelineEntry]:
        return self.receive(
            WebhookRoomFinished(T0 + at, floor(T0 + (at if happened is None else happened)))
        )

    def ends(self, at: float, reason: str = "room_closed") -> list[TimelineEntry]:
        self.state, entries = end(self.state, T0 + at, reason)
        self.entries.extend(entries)
        self.now = max(self.now, at)
        return list(entries)

    def attach(self, job_id: str, worker: str | None = None) -> None:
        self.state = attach_job(self.state, job_id, worker)

    # -- the result

    @property
    def deadline(self) -> float | None:
        """Times in seconds after T0."""
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
        """Begin, end and reason."""
        return [
            (clock(gap["from"]), clock(gap["to"]), gap["reason"]) for gap in self.view(now)["gaps"]
        ]

    def tracks(self) -> tuple[int, int]:
        """Tracks: current, total."""
        found = totals(self.state, T0 + self.now)
        return found.tracks, found.tracks_total

    def participant(self, identity: str, now: float | None = None) -> dict[str, Any]:
        """One person's line."""
        (line,) = [one for one in self.view(now)["participants"] if one["identity"] == identity]
        return line

    def track(self, sid: str, now: float | None = None) -> dict[str, Any]:
        """One track's line."""
        (line,) = [one for one in self.view(now)["tracks"] if one["sid"] == sid]
        return line

    def events(self) -> list[str]:
        """The names of all entries after the session's start."""
        return [entry.event for entry in self.entries if entry.event != "session_started"]


def names(entries: list[TimelineEntry]) -> list[str]:
    return [entry.event for entry in entries]


def clock(text: str | None) -> float | None:
    """A time of the view in seconds after T0."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() - T0, 3)
