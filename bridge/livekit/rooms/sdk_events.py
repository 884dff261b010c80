"""The SDK's events as our own: one translator for each event of `rtc.Room`.

A translator gets the SDK's arguments and returns a `RoomEvent`, or None where nothing is to be
offered (our own participant, a value that the SDK does not know yet).  It may raise, so its
caller guards it: the SDK swallows an error of a callback, and a TypeError even prevents the
other callbacks.

The most frequent events change nothing that a Room shows (messages, quality, speakers).  They
are translated from the native message, without the Room (`RAW`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final, Protocol, TypeAlias

from livekit import rtc
from livekit.rtc._proto import participant_pb2, room_pb2
from livekit.rtc.room import EventTypes

from actors.session.events import (
    AttributesChanged,
    DataTrackPublished,
    DataTrackUnpublished,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    PermissionsChanged,
    QualityChanged,
    RecorderDetected,
    RoomEvent,
    RoomMetadataChanged,
    SpeakersChanged,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
)
from actors.session.texts import MAX_ENTRY_TEXT, cut_attributes, cut_identity, cut_name, cut_text
from bridge.livekit.rooms import data_messages, sdk_values, seams


class TranslationContext(Protocol):
    """The questions that a translator of events may ask about its room."""

    @property
    def me(self) -> str:
        """Our own identity in the room."""
        ...

    @property
    def log_payloads(self) -> bool: ...

    def now(self) -> float:
        """Unix seconds when the event arrived that is being translated."""
        ...

    def sid_of(self, identity: str) -> str | None:
        """The SID of another participant, None for one who is not there."""
        ...


_RELIABLE: Final = rtc.DataPacketKind.KIND_RELIABLE
"""Looked up once: protobuf looks a name up in Python each time."""


# --- one translator per event ----------------------------------------------------


def _identity_and_sid(participant: rtc.Participant) -> tuple[str, str]:
    """Identity and SID."""
    return cut_identity(participant.identity), cut_identity(participant.sid)


def _identity_and_track(participant: rtc.Participant, track_sid: str) -> tuple[str, str]:
    """Identity and the SID of a track."""
    return cut_identity(participant.identity), cut_identity(track_sid)


def _joined(here: TranslationContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    now = here.now()
    return ParticipantJoined(now, sdk_values.participant_info(participant, now))


def _active(here: TranslationContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    return ParticipantActive(here.now(), *_identity_and_sid(participant))


def recorder_detected(participant: rtc.RemoteParticipant, at: float) -> RecorderDetected:
    return RecorderDetected(at, *_identity_and_sid(participant))


def _left(here: TranslationContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    reason = sdk_values.reason_of(participant.disconnect_reason)
    return ParticipantLeft(here.now(), *_identity_and_sid(participant), reason)


def _name(
    here: TranslationContext, participant: rtc.Participant, _old: str, new: str
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return NameChanged(here.now(), cut_identity(participant.identity), cut_name(new))


def _metadata(
    here: TranslationContext, participant: rtc.Participant, _old: str, new: str
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return MetadataChanged(here.now(), cut_identity(participant.identity), cut_text(new))


def _attributes(
    here: TranslationContext, changed: Mapping[str, str], participant: rtc.Participant
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return AttributesChanged(
        here.now(), cut_identity(participant.identity), cut_attributes(changed)
    )


def _published(
    here: TranslationContext,
    publication: rtc.RemoteTrackPublication,
    participant: rtc.RemoteParticipant,
) -> RoomEvent:
    return TrackPublished(
        here.now(), cut_identity(participant.identity), sdk_values.track_info(publication)
    )


def _unpublished(
    here: TranslationContext,
    publication: rtc.RemoteTrackPublication,
    participant: rtc.RemoteParticipant,
) -> RoomEvent:
    return TrackUnpublished(here.now(), *_identity_and_track(participant, publication.sid))


def _muted(
    here: TranslationContext, participant: rtc.Participant, publication: rtc.TrackPublication
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return TrackMuted(here.now(), *_identity_and_track(participant, publication.sid))


def _unmuted(
    here: TranslationContext, participant: rtc.Participant, publication: rtc.TrackPublication
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return TrackUnmuted(here.now(), *_identity_and_track(participant, publication.sid))


def _subscribed(
    here: TranslationContext,
    _track: object,
    publication: rtc.RemoteTrackPublication,
    participant: rtc.RemoteParticipant,
) -> RoomEvent:
    return TrackSubscribed(here.now(), *_identity_and_track(participant, publication.sid))


def _subscription_failed(
    here: TranslationContext, participant: rtc.RemoteParticipant, track_sid: str, error: str
) -> RoomEvent:
    return TrackSubscriptionFailed(
        here.now(), *_identity_and_track(participant, track_sid), cut_text(error, MAX_ENTRY_TEXT)
    )


def _speakers(here: TranslationContext, speakers: list[rtc.Participant]) -> RoomEvent:
    others = tuple(cut_identity(p.identity) for p in speakers if p.identity != here.me)
    return SpeakersChanged(here.now(), others)


def _quality(
    here: TranslationContext, participant: rtc.Participant | None, quality: int
) -> RoomEvent | None:
    level = sdk_values.QUALITIES.get(quality)
    if participant is None or participant.identity == here.me or level is None:
        return None
    return QualityChanged(here.now(), *_identity_and_sid(participant), level)


def _data(here: TranslationContext, packet: rtc.DataPacket) -> RoomEvent | None:
    if not data_messages.is_news(packet.topic or "", packet.data):
        return None
    return data_messages.message(
        at=here.now(),
        log_payloads=here.log_payloads,
        identity=None if packet.participant is None else packet.participant.identity,
        topic=packet.topic or "",
        payload=packet.data,
        reliable=packet.kind == _RELIABLE,
    )


def _permissions(
    here: TranslationContext,
    participant: rtc.Participant,
    permissions: participant_pb2.ParticipantPermission,
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return PermissionsChanged(
        here.now(), cut_identity(participant.identity), sdk_values.permissions_of(permissions)
    )


def _data_track_published(here: TranslationContext, track: rtc.RemoteDataTrack) -> RoomEvent | None:
    if track.publisher_identity == here.me:
        return None
    info = track.info
    return DataTrackPublished(
        here.now(),
        cut_identity(track.publisher_identity),
        cut_identity(info.sid),
        cut_name(info.name),
        encrypted=info.uses_e2ee,
    )


def _data_track_unpublished(here: TranslationContext, sid: str) -> RoomEvent:
    return DataTrackUnpublished(here.now(), cut_identity(sid))


def _room_metadata(here: TranslationContext, _old: str, new: str) -> RoomEvent:
    return RoomMetadataChanged(here.now(), cut_text(new))


ATTRIBUTES: Final = "participant_attributes_changed"
"""The SDK and the native library have the same name for it."""

SdkTranslator: TypeAlias = Callable[..., RoomEvent | None]

TRANSLATORS: Final[Mapping[EventTypes, SdkTranslator]] = {
    "participant_connected": _joined,
    "participant_active": _active,
    "participant_disconnected": _left,
    "participant_name_changed": _name,
    "participant_metadata_changed": _metadata,
    ATTRIBUTES: _attributes,
    "participant_permissions_changed": _permissions,
    "track_published": _published,
    "track_unpublished": _unpublished,
    "track_muted": _muted,
    "track_unmuted": _unmuted,
    "track_subscribed": _subscribed,
    "track_subscription_failed": _subscription_failed,
    "data_track_published": _data_track_published,
    "data_track_unpublished": _data_track_unpublished,
    "active_speakers_changed": _speakers,
    "connection_quality_changed": _quality,
    "data_received": _data,
    "room_metadata_changed": _room_metadata,
}
"""By the name of the event of `rtc.Room`.

Not here: events of the connection itself (`bridge.livekit.rooms.room_follow_ups`), and
`connected`, which the SDK declares and never emits.
"""


# --- straight from the native library ----------------------------------------------


def _raw_data(here: TranslationContext, packet: room_pb2.DataPacketReceived) -> RoomEvent | None:
    if packet.WhichOneof("value") != "user":
        return None  # a telephone key
    user = packet.user
    payload, topic = seams.take_payload(user), user.topic
    if not data_messages.is_news(topic, payload):
        return None
    return data_messages.message(
        at=here.now(),
        log_payloads=here.log_payloads,
        identity=packet.participant_identity or None,
        topic=topic,
        payload=payload,
        reliable=packet.kind == _RELIABLE,
    )


def _raw_quality(
    here: TranslationContext, changed: room_pb2.ConnectionQualityChanged
) -> RoomEvent | None:
    identity = changed.participant_identity
    sid, level = here.sid_of(identity), sdk_values.QUALITIES.get(changed.quality)
    if sid is None or level is None:
        return None
    return QualityChanged(here.now(), cut_identity(identity), cut_identity(sid), level)


def _raw_speakers(here: TranslationContext, changed: room_pb2.ActiveSpeakersChanged) -> RoomEvent:
    others = (one for one in changed.participant_identities if here.sid_of(one) is not None)
    return SpeakersChanged(here.now(), tuple(map(cut_identity, others)))


RAW: Final[Mapping[str, SdkTranslator]] = {
    "data_packet_received": _raw_data,
    "connection_quality_changed": _raw_quality,
    "active_speakers_changed": _raw_speakers,
}
"""By the name of the native message.  All other messages drive the Room, which calls back."""

NEEDLESS: Final = frozenset(
    {
        "chat_message",
        "data_channel_low_threshold_changed",
        "e2ee_state_changed",
        "participant_encryption_status_changed",
        "participants_updated",
        "stream_chunk_received",
        "stream_header_received",
        "stream_trailer_received",
        "transcription_received",
    }
)
"""Native messages that neither a Room nor we need.  `participants_updated` follows every change
of a participant and repeats it as a whole.  A Room that took it would show changes that are not
offered yet."""

_SUBJECTS: Final[Mapping[str, tuple[str, str | None]]] = {
    "participant_metadata_changed": ("metadata", "participant_identity"),
    "participant_name_changed": ("name", "participant_identity"),
    "participant_permission_changed": ("permissions", "participant_identity"),
    ATTRIBUTES: ("attributes", "participant_identity"),
    "connection_quality_changed": ("quality", "participant_identity"),
    "track_muted": ("mute", "track_sid"),
    "track_unmuted": ("mute", "track_sid"),
    "active_speakers_changed": ("speakers", None),
    "room_metadata_changed": ("room_metadata", None),
    "room_updated": ("room", None),
}
"""The subject of a native message of which the newest is enough, and the field with its owner."""


def subject_of(event: room_pb2.RoomEvent, name: str) -> Hashable | None:
    """The subject of which the newest message is enough.  None where each message counts."""
    if name not in _SUBJECTS:
        return None
    subject, field = _SUBJECTS[name]
    return subject, field and getattr(getattr(event, name), field)


def merge_attributes(
    first: room_pb2.ParticipantAttributesChanged, newest: room_pb2.ParticipantAttributesChanged
) -> None:
    """Add to `newest` every key that may have changed since before `first`.

    The fold compares them with the attributes of before.  Keys that only changes in between
    had are left out: they were added and removed again.
    """
    now = {entry.key: entry.value for entry in newest.attributes}
    keys = {entry.key: "" for entry in (*first.attributes, *first.changed_attributes)}
    del newest.changed_attributes[:]
    for key, value in (keys | now).items():
        newest.changed_attributes.add(key=key, value=value)
