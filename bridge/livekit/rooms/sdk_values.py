"""Rooms, participants and tracks as the SDK shows them, in our own types.

Numbers that this version does not know become a neutral value, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from livekit import rtc
from livekit.rtc._proto import participant_pb2

from actors.session.room_info import (
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    Quality,
    Roster,
    TrackInfo,
    TrackKind,
    TrackSource,
)
from actors.session.texts import cut_attributes, cut_identity, cut_name, cut_text
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
"""States of a participant whose media connection is not established yet."""
TRACK_KINDS: Final[Mapping[int, TrackKind]] = {
    rtc.TrackKind.KIND_AUDIO: "audio",
    rtc.TrackKind.KIND_VIDEO: "video",
}
SOURCES: Final[Mapping[int, TrackSource]] = {
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


def reason_of(number: int | None) -> str | None:
    """The name of a DisconnectReason.  None for unknown, `reason_N` for a number without a name."""
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
    sources: set[TrackSource] = {
        SOURCES.get(source, "unknown") for source in given.can_publish_sources
    }
    return Permissions(
        can_publish=given.can_publish,
        can_subscribe=given.can_subscribe,
        can_publish_data=given.can_publish_data,
        sources=tuple(sorted(sources)),
    )


def server_joined_at(participant: rtc.Participant) -> float:
    """Unix seconds.  0 where the server sent none, or one that is in no calendar."""
    try:
        sent = participant.joined_at
    except (ValueError, OverflowError, OSError):
        return 0.0
    return 0.0 if sent is None else sent.timestamp()


def participant_info(participant: rtc.RemoteParticipant, now: float) -> ParticipantInfo:
    """One join as the SDK shows it.  `now` replaces a join time that the server did not send."""
    server_time = server_joined_at(participant)
    return ParticipantInfo(
        identity=cut_identity(participant.identity),
        sid=cut_identity(participant.sid),
        joined_at=joined_at(server_time, now),
        kind=KINDS.get(participant.kind, "standard"),
        name=cut_name(participant.name),
        metadata=cut_text(participant.metadata),
        attributes=cut_attributes(participant.attributes),
        tracks=tuple(track_info(pub) for pub in participant.track_publications.values()),
        permissions=permissions_of(participant.permissions),
        active=participant.state not in CONNECTING,
    )


def room_sid(room: rtc.Room) -> str:
    """The room's SID if the SDK knows it already, else "".  Does not wait.

    `Room.sid` is a coroutine that ends at once if the SID is known.
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


def roster_of(room: rtc.Room, now: float, sid: str) -> Roster:
    """Everyone whom the SDK shows in the room.  Our own participant is never among them.

    `sid` is the room's SID.  Where the SDK still shows another SID, its metadata, creation time
    and recording state are of an earlier room instance and are left out.
    """
    current = room_sid(room) in (sid, "")
    return Roster(
        room_sid=sid,
        metadata=cut_text(room.metadata) if current else "",
        participants=tuple(participant_info(p, now) for p in room.remote_participants.values()),
        created_at=(room.creation_time.timestamp() or None) if current else None,
        recording=room.is_recording if current else None,
    )


def is_person(participant: rtc.RemoteParticipant) -> bool:
    """True also for a recorder with the old grant: the SDK shows it as a person."""
    return participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD
