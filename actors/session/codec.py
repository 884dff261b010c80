"""Sessions as bytes: what a store keeps of them, and nothing of how it keeps it.

MessagePack by msgspec, every object a map by the names of its fields.  A body that was
written before a field was added decodes with that field's default, and one that has a
field which is gone decodes without it: so a new field must have a default, and a field is
renamed together with a migration of the store (a test pins them).  A class may be renamed
at will: records are stored under the tags of `TAGS`.

Bodies come from a disk.  What is torn, changed or of a kind nobody knows raises
`Unreadable` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from attrs import frozen

from actors.session import events, record
from actors.session.record import Record
from actors.session.state import SessionState, change
from actors.session.timeline_entry import Entry

T = TypeVar("T")


class Unreadable(ValueError):
    """Bytes that are not what they should be; says of what, never their content."""


@frozen(slots=False)
class _StoredState(SessionState):
    """A state whose waiting events are encoded one by one: msgspec knows no union of classes."""

    held: tuple[tuple[str, bytes], ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]


_Told: TypeAlias = str | int | float | bool | tuple[str, ...] | dict[str, str] | None
"""A value of an entry's data."""

_encode: Final = msgspec.msgpack.Encoder().encode

TAGS: Final[Mapping[str, type[Record]]] = {
    "session_began": record.SessionBegan,
    "session_continued": record.SessionContinued,
    "session_ended": record.SessionEnded,
    "watching": events.Watching,
    "resynced": events.Resynced,
    "reconnecting": events.Reconnecting,
    "reconnected": events.Reconnected,
    "disconnected": events.Disconnected,
    "suspended": events.Suspended,
    "clock_compared": events.ClockCompared,
    "participant_joined": events.ParticipantJoined,
    "participant_active": events.ParticipantActive,
    "recorder_detected": events.RecorderDetected,
    "participant_left": events.ParticipantLeft,
    "name_changed": events.NameChanged,
    "metadata_changed": events.MetadataChanged,
    "attributes_changed": events.AttributesChanged,
    "permissions_changed": events.PermissionsChanged,
    "track_published": events.TrackPublished,
    "track_unpublished": events.TrackUnpublished,
    "track_muted": events.TrackMuted,
    "track_unmuted": events.TrackUnmuted,
    "track_subscribed": events.TrackSubscribed,
    "track_subscription_failed": events.TrackSubscriptionFailed,
    "data_track_published": events.DataTrackPublished,
    "data_track_unpublished": events.DataTrackUnpublished,
    "speakers_changed": events.SpeakersChanged,
    "quality_changed": events.QualityChanged,
    "data_received": events.DataReceived,
    "attachment_received": events.AttachmentReceived,
    "messages_dropped": events.MessagesDropped,
    "room_metadata_changed": events.RoomMetadataChanged,
    "recording_changed": events.RecordingChanged,
    "tick": events.Tick,
    "webhook_room_started": events.WebhookRoomStarted,
    "webhook_participant_joined": events.WebhookJoined,
    "webhook_participant_left": events.WebhookLeft,
    "webhook_join_aborted": events.WebhookJoinAborted,
    "webhook_track": events.WebhookTrack,
    "webhook_room_finished": events.WebhookRoomFinished,
    "webhook_egress": events.WebhookEgress,
}
"""What each kind of record is called in a store.  A class may be renamed; its tag never is."""

VERSION_1: Final[Mapping[str, str]] = {
    "Began": "session_began",
    "Attached": "session_continued",
    "Ended": "session_ended",
    "Watching": "watching",
    "Resynced": "resynced",
    "Reconnecting": "reconnecting",
    "Reconnected": "reconnected",
    "Disconnected": "disconnected",
    "Suspended": "suspended",
    "ClockCompared": "clock_compared",
    "ParticipantJoined": "participant_joined",
    "ParticipantActive": "participant_active",
    "RecorderFound": "recorder_detected",
    "ParticipantLeft": "participant_left",
    "NameChanged": "name_changed",
    "MetadataChanged": "metadata_changed",
    "AttributesChanged": "attributes_changed",
    "PermissionsChanged": "permissions_changed",
    "TrackPublished": "track_published",
    "TrackUnpublished": "track_unpublished",
    "TrackMuted": "track_muted",
    "TrackUnmuted": "track_unmuted",
    "TrackSubscribed": "track_subscribed",
    "TrackSubscriptionFailed": "track_subscription_failed",
    "DataTrackPublished": "data_track_published",
    "DataTrackUnpublished": "data_track_unpublished",
    "SpeakersChanged": "speakers_changed",
    "QualityChanged": "quality_changed",
    "DataReceived": "data_received",
    "AttachmentReceived": "attachment_received",
    "MessagesThinned": "messages_dropped",
    "RoomMetadataChanged": "room_metadata_changed",
    "RecordingChanged": "recording_changed",
    "Tick": "tick",
    "RoomTold": "webhook_room_started",
    "JoinTold": "webhook_participant_joined",
    "LeaveTold": "webhook_participant_left",
    "JoinAborted": "webhook_join_aborted",
    "TrackTold": "webhook_track",
    "RoomEndTold": "webhook_room_finished",
    "EgressTold": "webhook_egress",
}
"""The tags of the first version, which were the names of its classes."""

_TAG_OF: Final[Mapping[type[Record], str]] = {kind: tag for tag, kind in TAGS.items()}

_DECODE: Final[Mapping[str, Callable[[bytes], Record]]] = {
    tag: msgspec.msgpack.Decoder(kind).decode for tag, kind in TAGS.items()
}

_decode_state: Final = msgspec.msgpack.Decoder(_StoredState).decode
_decode_entries: Final = msgspec.msgpack.Decoder(
    tuple[tuple[float, str, dict[str, _Told]], ...]
).decode


def encode_record(item: Record) -> tuple[str, bytes]:
    """The record's tag and body."""
    return _TAG_OF[item.__class__], _encode(item)


def decode_record(kind: str, body: bytes) -> Record:
    decode = _DECODE.get(VERSION_1.get(kind, kind))
    if decode is None:
        raise Unreadable(f"no record is of kind {kind[:40]!r}")
    return _read(kind, decode, body)


def encode_state(state: SessionState) -> bytes:
    if state.held:
        state = change(state, held=tuple(map(encode_record, state.held)))
    return _encode(state)


def decode_state(body: bytes) -> SessionState:
    """The state that was encoded: equal to it, and folding on as it would have."""
    stored = _read("state", _decode_state, body)
    held = tuple(decode_record(kind, event) for kind, event in stored.held)
    fields: dict[str, Any] = {**stored.__dict__, "held": held}
    return SessionState(**fields)


def encode_entries(entries: Iterable[Entry]) -> bytes:
    return _encode([(entry.at, entry.event, entry.data) for entry in entries])


def decode_entries(body: bytes) -> tuple[Entry, ...]:
    return tuple(Entry(*row) for row in _read("entries", _decode_entries, body))


def _read(what: str, decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"{what}: {error}") from None
