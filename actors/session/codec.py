"""Sessions as bytes, for a store.

MessagePack by msgspec, every object a map by the names of its fields.  A body that was
written before a field was added decodes with that field's default, and a field that exists
no more is passed over.  So a new field must have a default.  A field may be renamed with a
row in `actors.session.stored_names`.  A class may be renamed at will: records are stored
under the tags of `TAGS`.

Bodies come from a disk.  A torn or changed body, or one with an unknown tag, raises `Unreadable`
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from attrs import frozen

from actors.session import (
    agent_reports,
    events,
    record,
    recording_reports,
    rule_records,
    webhook_reports,
)
from actors.session.changes import change
from actors.session.record import Record
from actors.session.state import SessionState
from actors.session.stored_names import NAMES, RENAMED_FIELDS, VERSION_1_TAGS, with_new_names
from actors.session.timeline_entry import TimelineEntry

T = TypeVar("T")


class Unreadable(ValueError):
    """Bytes that cannot be decoded.  The text names the kind of object, never its content."""


@frozen(slots=False)
class _StoredState(SessionState):
    """A state whose deferred events are encoded one by one: msgspec knows no union of classes."""

    deferred: tuple[tuple[str, bytes], ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]


_EntryValue: TypeAlias = str | int | float | bool | tuple[str, ...] | dict[str, str] | None
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
    "tracks_measured": events.TracksMeasured,
    "tick": events.Tick,
    "agent_activity": agent_reports.AgentActivityReported,
    "agent_user": agent_reports.AgentUserReported,
    "agent_turn": agent_reports.AgentTurnReported,
    "agent_call": agent_reports.AgentCallReported,
    "agent_error": agent_reports.AgentErrorReported,
    "agent_usage": agent_reports.AgentUsageReported,
    "agent_version": agent_reports.AgentVersionReported,
    "agent_dispatch": agent_reports.AgentDispatchListed,
    "agent_report": agent_reports.AgentReport,
    "webhook_room_started": webhook_reports.WebhookRoomStarted,
    "webhook_participant_joined": webhook_reports.WebhookJoined,
    "webhook_participant_left": webhook_reports.WebhookLeft,
    "webhook_join_aborted": webhook_reports.WebhookJoinAborted,
    "webhook_track": webhook_reports.WebhookTrack,
    "webhook_room_finished": webhook_reports.WebhookRoomFinished,
    "webhook_egress": webhook_reports.WebhookEgress,
    "rule_pending": rule_records.RulePending,
    "rule_fired": rule_records.RuleFired,
    "rule_resolved": rule_records.RuleResolved,
    "act_reported": rule_records.ActReported,
    "recording_intended": recording_reports.RecordingIntended,
    "recording_not_started": recording_reports.RecordingNotStarted,
    "egress_listed": recording_reports.EgressListed,
    "recording_stop_intended": recording_reports.RecordingStopIntended,
    "recorder_silent": recording_reports.RecorderSilent,
}
"""The tag of each kind of record in a store.  A class may be renamed; its tag never is."""

_ABSENT: Final = ("rules", "track_stats", "agents")
"""Fields of a state that are left out where they are None.  What nobody uses takes no byte."""

_TAG_OF: Final[Mapping[type[Record], str]] = {kind: tag for tag, kind in TAGS.items()}

_decode_plain: Final = msgspec.msgpack.Decoder().decode
_decode_version: Final = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode
_decode_state: Final = msgspec.msgpack.Decoder(_StoredState).decode
_decode_entries: Final = msgspec.msgpack.Decoder(
    tuple[tuple[float, str, dict[str, _EntryValue]], ...]
).decode

_PAIR: Final = b"\x92"
"""The first byte of a MessagePack array of two: the version of its names, and the state.

States of the first version have no version: they are maps.
"""


def _decode_renamed(kind: type[Any], body: bytes, into: type[T]) -> T:
    """An object whose fields may have the names of an earlier version."""
    return msgspec.convert(with_new_names(kind, _decode_plain(body)), into)


def _decoder(kind: type[Record]) -> Callable[[bytes], Record]:
    decode: Callable[[bytes], Record] = msgspec.msgpack.Decoder(kind).decode
    if kind not in RENAMED_FIELDS:
        return decode

    def decode_any(body: bytes) -> Record:
        try:
            return decode(body)
        except msgspec.ValidationError:
            return _decode_renamed(kind, body, kind)

    return decode_any


_DECODE: Final[Mapping[str, Callable[[bytes], Record]]] = {
    tag: _decoder(kind) for tag, kind in TAGS.items()
}


def encode_record(item: Record) -> tuple[str, bytes]:
    """The record's tag and body."""
    return _TAG_OF[item.__class__], _encode(item)


def decode_record(tag: str, body: bytes) -> Record:
    decode = _DECODE.get(VERSION_1_TAGS.get(tag, tag))
    if decode is None:
        raise Unreadable(f"no record has the tag {tag[:40]!r}")
    return _read(tag, decode, body)


def encode_state(state: SessionState) -> bytes:
    if state.deferred:
        state = change(state, deferred=tuple(map(encode_record, state.deferred)))
    absent = [name for name in _ABSENT if state.__dict__[name] is None]
    if not absent:
        return _encode((NAMES, state))
    fields = state.__dict__.copy()
    for name in absent:
        del fields[name]
    return _encode((NAMES, fields))


def decode_state(body: bytes) -> SessionState:
    """The state that was encoded: equal to it, and folding on as it would have."""
    stored = _read("state", _decode_stored_state, body)
    deferred = tuple(decode_record(tag, event) for tag, event in stored.deferred)
    # As in `change`: all fields are checked already, and `__init__` takes eight times as long.
    state = object.__new__(SessionState)
    object.__setattr__(state, "__dict__", {**stored.__dict__, "deferred": deferred})
    return state


def _decode_stored_state(body: bytes) -> _StoredState:
    if body[:1] != _PAIR:
        return _decode_renamed(SessionState, body, _StoredState)
    version, state = _decode_version(body)
    if version >= NAMES:
        return _decode_state(state)
    return _decode_renamed(SessionState, state, _StoredState)


def encode_entries(entries: Iterable[TimelineEntry]) -> bytes:
    return _encode([(entry.at, entry.event, entry.data) for entry in entries])


def decode_entries(body: bytes) -> tuple[TimelineEntry, ...]:
    return tuple(TimelineEntry(*row) for row in _read("entries", _decode_entries, body))


def _read(what: str, decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"{what}: {error}") from None
