"""LiveKit's webhooks in our own words (`actors.session.events.WebhookReport`).  Pure.

The SDK's view of a room does not show hidden participants, and a session does not have our own
agents.  So webhooks about either are left out, and a session has the same participants with and
without webhooks.  A recorder with the old grant `recorder` has the kind of a person.  It becomes an
egress here, because the kind egress replaced that grant.  Webhooks of tracks name a participant by
SID and identity only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from attrs import frozen
from livekit.protocol import models
from livekit.protocol.webhook import WebhookEvent

from actors.session.room_info import (
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    TrackInfo,
    TrackKind,
    TrackSource,
)
from actors.session.texts import cut_attributes, cut_identity, cut_name, cut_text
from actors.session.webhook_reports import (
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from bridge.livekit.egress_infos import egress_state
from bridge.livekit.server_clock import joined_at
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, CHECK_PREFIX
from bridge.livekit.worker.jobs import MAX_NAME_LENGTH

_Kind = models.ParticipantInfo.Kind
KINDS: Final[Mapping[int, ParticipantKind]] = {
    _Kind.STANDARD: "standard",
    _Kind.INGRESS: "ingress",
    _Kind.EGRESS: "egress",
    _Kind.SIP: "sip",
    _Kind.AGENT: "agent",
    _Kind.CONNECTOR: "sip",  # a person on a WhatsApp or Twilio call
    _Kind.BRIDGE: "ingress",  # a camera's RTSP stream
}
"""The server's numbers, which differ from the SDK's (`bridge.livekit.rooms.sdk_values`)."""
TRACK_KINDS: Final[Mapping[int, TrackKind]] = {
    models.TrackType.AUDIO: "audio",
    models.TrackType.VIDEO: "video",
}
SOURCES: Final[Mapping[int, TrackSource]] = {
    models.TrackSource.CAMERA: "camera",
    models.TrackSource.MICROPHONE: "microphone",
    models.TrackSource.SCREEN_SHARE: "screen",
    models.TrackSource.SCREEN_SHARE_AUDIO: "screen_audio",
}
REASONS: Final[Mapping[int, str]] = {
    number: name.lower() for name, number in models.DisconnectReason.items() if number
}
"""0 is UNKNOWN_REASON: the server gave none."""


@frozen
class TranslatedWebhook:
    """One webhook about a room, in our own words."""

    room: str
    room_sid: str
    event: WebhookReport
    id: str = ""
    """LiveKit's id of the webhook."""


def translate(webhook: WebhookEvent, agent_name: str, at: float) -> TranslatedWebhook | None:
    """The translation of `webhook`, received `at` (Unix seconds).

    None where it does not concern a session: an event of another kind (ingress, or of a newer
    server); a participant who is hidden or is the agent `agent_name`; a room without a name or
    SID, with one that is longer than a job's may be, or of `check`.
    """
    translator = TRANSLATORS.get(webhook.event)
    room, room_sid = _room_of(webhook)
    if translator is None or not room or not room_sid or room.startswith(CHECK_PREFIX):
        return None
    if max(len(room), len(room_sid)) > MAX_NAME_LENGTH:
        return None
    if _is_left_out(webhook.participant, agent_name):
        return None
    report = translator(webhook, at, float(webhook.created_at))
    return TranslatedWebhook(room, room_sid, report, webhook.id)


def _room_of(webhook: WebhookEvent) -> tuple[str, str]:
    """The name and SID of the room; a webhook of an egress has them in the egress."""
    room = webhook.room
    if room.name:
        return room.name, room.sid
    return webhook.egress_info.room_name, webhook.egress_info.room_id


def _is_left_out(participant: models.ParticipantInfo, agent_name: str) -> bool:
    ours = (
        participant.kind == _Kind.AGENT
        and participant.attributes.get(AGENT_NAME_ATTRIBUTE) == agent_name
    )
    return participant.permission.hidden or ours


def _participant(info: models.ParticipantInfo, otherwise: float) -> ParticipantInfo:
    server_time = info.joined_at_ms / 1000 or float(info.joined_at)
    return ParticipantInfo(
        identity=cut_identity(info.identity),
        sid=cut_identity(info.sid),
        joined_at=joined_at(server_time, otherwise),
        kind="egress" if info.permission.recorder else KINDS.get(info.kind, "standard"),
        name=cut_name(info.name),
        metadata=cut_text(info.metadata),
        attributes=cut_attributes(info.attributes),
        tracks=tuple(_track(track) for track in info.tracks),
        permissions=_permissions(info.permission) if info.HasField("permission") else None,
    )


def _permissions(given: models.ParticipantPermission) -> Permissions:
    sources: set[TrackSource] = {
        SOURCES.get(source, "unknown") for source in given.can_publish_sources
    }
    return Permissions(
        can_publish=given.can_publish,
        can_subscribe=given.can_subscribe,
        can_publish_data=given.can_publish_data,
        sources=tuple(sorted(sources)),
    )


def _track(track: models.TrackInfo) -> TrackInfo:
    return TrackInfo(
        sid=cut_identity(track.sid),
        kind=TRACK_KINDS.get(track.type, "video"),
        source=SOURCES.get(track.source, "unknown"),
        muted=track.muted,
        name=cut_name(track.name),
        encrypted=track.encryption != models.Encryption.NONE,
    )


def _reason(number: int) -> str | None:
    return REASONS.get(number, f"reason_{number}") if number else None


def _room_started(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    created_at = w.room.creation_time_ms / 1000 or float(w.room.creation_time) or None
    return WebhookRoomStarted(at, said_at, created_at, cut_text(w.room.metadata))


def _joined(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    return WebhookJoined(at, said_at, _participant(w.participant, said_at))


def _left(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    who = w.participant
    return WebhookLeft(at, said_at, _participant(who, said_at), _reason(who.disconnect_reason))


def _aborted(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    who = w.participant
    reason = _reason(who.disconnect_reason)
    return WebhookJoinAborted(at, said_at, _participant(who, said_at), reason)


def _track_changed(w: WebhookEvent, at: float, said_at: float, published: bool) -> WebhookReport:
    identity, sid = cut_identity(w.participant.identity), cut_identity(w.participant.sid)
    return WebhookTrack(at, said_at, identity, sid, _track(w.track), published)


def _published(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    return _track_changed(w, at, said_at, True)


def _unpublished(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    return _track_changed(w, at, said_at, False)


def _finished(_: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    return WebhookRoomFinished(at, said_at)


def _egress(w: WebhookEvent, at: float, said_at: float) -> WebhookReport:
    state = egress_state(w.egress_info)
    return WebhookEgress(
        at,
        said_at,
        egress_id=state.egress_id,
        kind=state.kind,
        status=state.status,
        started_at=state.started_at,
        ended_at=state.ended_at,
        error=state.error,
        file=state.file,
        updated_at=state.updated_at or said_at,
        intent=state.intent,
    )


WebhookTranslator: TypeAlias = Callable[[WebhookEvent, float, float], WebhookReport]

TRANSLATORS: Final[Mapping[str, WebhookTranslator]] = {
    "room_started": _room_started,
    "participant_joined": _joined,
    "participant_left": _left,
    "participant_connection_aborted": _aborted,
    "track_published": _published,
    "track_unpublished": _unpublished,
    "room_finished": _finished,
    "egress_started": _egress,
    "egress_updated": _egress,
    "egress_ended": _egress,
}
"""By LiveKit's name of the event."""
