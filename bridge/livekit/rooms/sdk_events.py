"""What the SDK says, in our own words: one translator per event of `rtc.Room`.

A translator gets the SDK's arguments and gives a `RoomEvent`, or None where there is
nothing to tell (our own participant, a value the SDK does not know yet).  It may
raise: whoever calls it guards, because the SDK swallows what a callback raises and a
TypeError even takes the other callbacks along.

The most frequent events change nothing that a Room shows (messages, quality, speakers).
Where events come raw, these are translated from what the native library sent, without
the Room (`RAW`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec
from livekit import rtc
from livekit.rtc._proto import participant_pb2, room_pb2
from livekit.rtc.room import EventTypes

from actors.session.events import (
    AttributesChanged,
    DataFormat,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Permissions,
    PermissionsChanged,
    Quality,
    QualityChanged,
    RecorderDetected,
    RoomEvent,
    RoomMetadataChanged,
    Roster,
    Source,
    SpeakersChanged,
    TrackInfo,
    TrackKind,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
)
from actors.session.texts import TOLD, cut_attributes, cut_identity, cut_name, cut_text
from bridge.livekit.rooms import seams
from bridge.livekit.server_clock import joined_at

KINDS: Final[Mapping[int, ParticipantKind]] = {
    rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD: "standard",
    rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS: "ingress",
    rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS: "egress",
    rtc.ParticipantKind.PARTICIPANT_KIND_SIP: "sip",
    rtc.ParticipantKind.PARTICIPANT_KIND_AGENT: "agent",
    5: "sip",  # CONNECTOR: a person on a WhatsApp or Twilio call
    6: "ingress",  # BRIDGE: a camera's RTSP stream
}
CONNECTING: Final = frozenset(
    {participant_pb2.PARTICIPANT_STATE_JOINING, participant_pb2.PARTICIPANT_STATE_JOINED}
)
"""States of a participant whose media connection does not stand yet."""
TRACK_KINDS: Final[Mapping[int, TrackKind]] = {
    rtc.TrackKind.KIND_AUDIO: "audio",
    rtc.TrackKind.KIND_VIDEO: "video",
}
SOURCES: Final[Mapping[int, Source]] = {
    rtc.TrackSource.SOURCE_CAMERA: "camera",
    rtc.TrackSource.SOURCE_MICROPHONE: "microphone",
    rtc.TrackSource.SOURCE_SCREENSHARE: "screen",
    rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO: "screen_audio",
}
QUALITIES: Final[Mapping[int, Quality]] = {
    rtc.ConnectionQuality.QUALITY_EXCELLENT: "excellent",
    rtc.ConnectionQuality.QUALITY_GOOD: "good",
    rtc.ConnectionQuality.QUALITY_POOR: "poor",
    rtc.ConnectionQuality.QUALITY_LOST: "lost",
}
REASONS: Final[Mapping[int, str]] = {
    number: name.lower() for name, number in rtc.DisconnectReason.items() if number
}
"""LiveKit's DisconnectReason in lower case.  0 is UNKNOWN_REASON: the server gave none."""

KEEP: Final = 64 * 1024
"""Bytes of a message that are looked at (and kept, where payloads are wanted)."""


class RoomContext(Protocol):
    """What a translator may ask of the room it translates for."""

    @property
    def me(self) -> str:
        """Our own identity in the room."""
        ...

    @property
    def log_payloads(self) -> bool: ...

    def now(self) -> float:
        """When what is being translated came."""
        ...

    def sid_of(self, identity: str) -> str | None:
        """The SID of somebody else in the room, None for who is not there."""
        ...


# --- descriptions ----------------------------------------------------------------


def reason_of(number: int | None) -> str | None:
    """A DisconnectReason by its name; None for unknown, a number we do not know as such."""
    if not number:
        return None
    return REASONS.get(number, f"reason_{number}")


def track_info(publication: rtc.TrackPublication) -> TrackInfo:
    return TrackInfo(
        sid=cut_identity(publication.sid),
        kind=TRACK_KINDS.get(publication.kind, "video"),
        source=SOURCES.get(publication.source, "unknown"),
        muted=publication.muted,
        name=cut_name(publication.name),
        encrypted=publication.encryption_type != rtc.EncryptionType.NONE,
    )


def permissions_of(given: participant_pb2.ParticipantPermission) -> Permissions:
    sources: set[Source] = {SOURCES.get(source, "unknown") for source in given.can_publish_sources}
    return Permissions(
        can_publish=given.can_publish,
        can_subscribe=given.can_subscribe,
        can_publish_data=given.can_publish_data,
        sources=tuple(sorted(sources)),
    )


def told_joined_at(participant: rtc.Participant) -> float:
    """Unix seconds; 0 where the server told none, or one that no calendar has."""
    try:
        told = participant.joined_at
    except (ValueError, OverflowError, OSError):
        return 0.0
    return 0.0 if told is None else told.timestamp()


def participant_info(participant: rtc.RemoteParticipant, now: float) -> ParticipantInfo:
    """One join as the SDK shows it; `now` stands in where the server's join time is missing."""
    told = told_joined_at(participant)
    return ParticipantInfo(
        identity=cut_identity(participant.identity),
        sid=cut_identity(participant.sid),
        joined_at=joined_at(told, now),
        kind=KINDS.get(participant.kind, "standard"),
        name=cut_name(participant.name),
        metadata=cut_text(participant.metadata),
        attributes=cut_attributes(participant.attributes),
        tracks=tuple(track_info(pub) for pub in participant.track_publications.values()),
        permissions=permissions_of(participant.permissions),
        active=participant.state not in CONNECTING,
    )


def room_sid(room: rtc.Room) -> str:
    """The room's SID if the SDK knows it already, else ""; never waits.

    `Room.sid` is a coroutine that ends at once when the SID is there.
    """
    waiting = room.sid
    try:
        waiting.send(None)
    except StopIteration as done:
        return str(done.value)
    except RuntimeError:  # the room is disconnected
        return ""
    finally:
        waiting.close()
    return ""


def roster_of(room: rtc.Room, now: float, life: str) -> Roster:
    """Everyone whom the SDK shows in the room.  Our own participant is never among them.

    `life` is the room's SID; what the SDK shows of a room with another is of the past.
    """
    current = room_sid(room) in (life, "")
    return Roster(
        room_sid=life,
        metadata=cut_text(room.metadata) if current else "",
        participants=tuple(participant_info(p, now) for p in room.remote_participants.values()),
        created_at=(room.creation_time.timestamp() or None) if current else None,
        recording=room.is_recording if current else None,
    )


# --- messages --------------------------------------------------------------------


class _LegacyChat(msgspec.Struct):
    """What LiveKit's chat components send as a packet, as far as it concerns us."""

    message: str
    ignore_legacy: bool = msgspec.field(default=False, name="ignoreLegacy")


_read_legacy_chat: Final = msgspec.json.Decoder(_LegacyChat).decode
_MARK: Final = b"ignoreLegacy"


def is_news(topic: str, payload: bytes) -> bool:
    """Whether a data packet is a message, and not the second telling of one or a correction.

    LiveKit's chat components send each message twice: as a text stream, and as a packet with
    ``"ignoreLegacy": true`` for clients that know no streams.  The packet is on the topic
    ``lk-chat-topic``, or on that of the stream where the application chose one
    (components-js, ``packages/core/src/components/chat.ts``).  A packet without the mark is
    from a client that sends no stream.  Components before March 2025 sent the new text of an
    edited message on a topic of its own.
    """
    if topic == CHAT_UPDATE:
        return False
    if _MARK not in payload[:KEEP]:
        return True
    try:
        return not _read_legacy_chat(payload[:KEEP]).ignore_legacy
    except (msgspec.DecodeError, ValueError, RecursionError):
        return True


CHAT_UPDATE: Final = "lk-chat-update-topic"


def format_of(payload: bytes, whole: bool = True) -> DataFormat:
    """What a message is: a JSON object or array, other text, or bytes.

    A bare number or word is text, as it is for the reader of a chat.  Of a message
    that is not `whole` only the beginning is there to judge by.
    """
    if not whole:
        start = payload[:-4] if len(payload) > 4 else payload  # a cut character is no fault
        text = start.decode("utf-8", "ignore")
        broken = len(start) - len(text.encode()) > 3
        if broken or "\x00" in text:
            return "binary"
        return "json" if text.lstrip()[:1] in ("{", "[") else "text"
    if payload.lstrip()[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(payload)
            return "json"
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
    try:
        return "binary" if "\x00" in payload.decode() else "text"
    except UnicodeDecodeError:
        return "binary"


def message(
    here: RoomContext,
    *,
    at: float,
    identity: str | None,
    topic: str,
    payload: bytes,
    size: int | None = None,
    reliable: bool = True,
    stream: bool = False,
    binary: bool = False,
) -> DataReceived:
    """One message that came.  `size` says how long it was where `payload` is only its start."""
    length = len(payload) if size is None else size
    head = payload[:KEEP]
    kind: DataFormat = "binary" if binary else format_of(head, whole=len(head) == length)
    return DataReceived(
        at=at,
        identity=None if identity is None else cut_identity(identity),
        topic=cut_name(topic),
        size=length,
        format=kind,
        reliable=reliable,
        stream=stream,
        content=cut_text(head.decode("utf-8", "replace"), TOLD) if here.log_payloads else None,
    )


# --- one translator per event ----------------------------------------------------


def _who(participant: rtc.Participant) -> tuple[str, str]:
    """Identity and SID."""
    return cut_identity(participant.identity), cut_identity(participant.sid)


def _whose(participant: rtc.Participant, track_sid: str) -> tuple[str, str]:
    """Identity and the SID of a track."""
    return cut_identity(participant.identity), cut_identity(track_sid)


def _joined(here: RoomContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    now = here.now()
    return ParticipantJoined(now, participant_info(participant, now))


def _active(here: RoomContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    return ParticipantActive(here.now(), *_who(participant))


def is_person(participant: rtc.RemoteParticipant) -> bool:
    """As far as the SDK shows it: a recorder by its old grant looks like one."""
    return participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD


def recorder_found(participant: rtc.RemoteParticipant, at: float) -> RecorderDetected:
    return RecorderDetected(at, *_who(participant))


def _left(here: RoomContext, participant: rtc.RemoteParticipant) -> RoomEvent:
    reason = reason_of(participant.disconnect_reason)
    return ParticipantLeft(here.now(), *_who(participant), reason)


def _name(here: RoomContext, participant: rtc.Participant, _old: str, new: str) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return NameChanged(here.now(), cut_identity(participant.identity), cut_name(new))


def _metadata(
    here: RoomContext, participant: rtc.Participant, _old: str, new: str
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return MetadataChanged(here.now(), cut_identity(participant.identity), cut_text(new))


def _attributes(
    here: RoomContext, changed: Mapping[str, str], participant: rtc.Participant
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return AttributesChanged(
        here.now(), cut_identity(participant.identity), cut_attributes(changed)
    )


def _published(
    here: RoomContext, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
) -> RoomEvent:
    return TrackPublished(here.now(), cut_identity(participant.identity), track_info(publication))


def _unpublished(
    here: RoomContext, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
) -> RoomEvent:
    return TrackUnpublished(here.now(), *_whose(participant, publication.sid))


def _muted(
    here: RoomContext, participant: rtc.Participant, publication: rtc.TrackPublication
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return TrackMuted(here.now(), *_whose(participant, publication.sid))


def _unmuted(
    here: RoomContext, participant: rtc.Participant, publication: rtc.TrackPublication
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return TrackUnmuted(here.now(), *_whose(participant, publication.sid))


def _subscribed(
    here: RoomContext,
    _track: object,
    publication: rtc.RemoteTrackPublication,
    participant: rtc.RemoteParticipant,
) -> RoomEvent:
    return TrackSubscribed(here.now(), *_whose(participant, publication.sid))


def _subscription_failed(
    here: RoomContext, participant: rtc.RemoteParticipant, track_sid: str, error: str
) -> RoomEvent:
    return TrackSubscriptionFailed(
        here.now(), *_whose(participant, track_sid), cut_text(error, TOLD)
    )


def _speakers(here: RoomContext, speakers: list[rtc.Participant]) -> RoomEvent:
    others = tuple(cut_identity(p.identity) for p in speakers if p.identity != here.me)
    return SpeakersChanged(here.now(), others)


def _quality(
    here: RoomContext, participant: rtc.Participant | None, quality: int
) -> RoomEvent | None:
    level = QUALITIES.get(quality)
    if participant is None or participant.identity == here.me or level is None:
        return None
    return QualityChanged(here.now(), *_who(participant), level)


def _data(here: RoomContext, packet: rtc.DataPacket) -> RoomEvent | None:
    if not is_news(packet.topic or "", packet.data):
        return None
    return message(
        here,
        at=here.now(),
        identity=None if packet.participant is None else packet.participant.identity,
        topic=packet.topic or "",
        payload=packet.data,
        reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
    )


def _permissions(
    here: RoomContext,
    participant: rtc.Participant,
    permissions: participant_pb2.ParticipantPermission,
) -> RoomEvent | None:
    if participant.identity == here.me:
        return None
    return PermissionsChanged(
        here.now(), cut_identity(participant.identity), permissions_of(permissions)
    )


def _data_track_published(here: RoomContext, track: rtc.RemoteDataTrack) -> RoomEvent | None:
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


def _data_track_unpublished(here: RoomContext, sid: str) -> RoomEvent:
    return DataTrackUnpublished(here.now(), cut_identity(sid))


def _room_metadata(here: RoomContext, _old: str, new: str) -> RoomEvent:
    return RoomMetadataChanged(here.now(), cut_text(new))


ATTRIBUTES: Final = "participant_attributes_changed"
"""The SDK and the native library have the same name for it."""

Translator: TypeAlias = Callable[..., RoomEvent | None]

TRANSLATORS: Final[Mapping[EventTypes, Translator]] = {
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

Not here: what happens to the connection itself (`bridge.livekit.rooms.livekit_rooms`), and
`connected`, which the SDK declares and never emits.
"""


# --- straight from the native library ----------------------------------------------


def _raw_data(here: RoomContext, packet: room_pb2.DataPacketReceived) -> RoomEvent | None:
    if packet.WhichOneof("value") != "user":
        return None  # a telephone key
    payload = seams.take_payload(packet.user)
    if not is_news(packet.user.topic, payload):
        return None
    return message(
        here,
        at=here.now(),
        identity=packet.participant_identity or None,
        topic=packet.user.topic,
        payload=payload,
        reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
    )


def _raw_quality(here: RoomContext, changed: room_pb2.ConnectionQualityChanged) -> RoomEvent | None:
    identity = changed.participant_identity
    sid, level = here.sid_of(identity), QUALITIES.get(changed.quality)
    if sid is None or level is None:
        return None
    return QualityChanged(here.now(), cut_identity(identity), cut_identity(sid), level)


def _raw_speakers(here: RoomContext, changed: room_pb2.ActiveSpeakersChanged) -> RoomEvent:
    others = (one for one in changed.participant_identities if here.sid_of(one) is not None)
    return SpeakersChanged(here.now(), tuple(map(cut_identity, others)))


RAW: Final[Mapping[str, Translator]] = {
    "data_packet_received": _raw_data,
    "connection_quality_changed": _raw_quality,
    "active_speakers_changed": _raw_speakers,
}
"""By the name of the native message.  All others are for the Room, which calls back."""

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
"""Native messages that neither a Room nor we have a use for.  `participants_updated` follows
every change of somebody's and says it again, as a whole: a Room that took it would show
what is not told yet."""

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
"""What a native message says the newest of, and the field that tells of whom or what."""


def subject_of(event: room_pb2.RoomEvent, name: str) -> Hashable | None:
    """What the newest such message is enough of; None where each one counts."""
    if name not in _SUBJECTS:
        return None
    what, field = _SUBJECTS[name]
    return what, field and getattr(getattr(event, name), field)


def merge_attributes(
    first: room_pb2.ParticipantAttributesChanged, newest: room_pb2.ParticipantAttributesChanged
) -> None:
    """Make `newest` tell of all that may have changed since before `first`.

    What did is seen by whoever knows how it was.  The keys in between need no word: what
    came and went was never there.
    """
    now = {entry.key: entry.value for entry in newest.attributes}
    keys = {entry.key: "" for entry in (*first.attributes, *first.changed_attributes)}
    del newest.changed_attributes[:]
    for key, value in (keys | now).items():
        newest.changed_attributes.add(key=key, value=value)
