"""Every event that LiveKit sends us, and how it is handled.  Data only.

There are three sources: the events of the SDK's `rtc.Room`, the messages of the native library
below it, and LiveKit's webhooks.  A test compares these tables with what is installed, so an
event of a newer version fails it until somebody decides what to do with it.  The tables are also
in ``docs/coverage.md`` (`page` makes it).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import frozen


@frozen
class Handled:
    """An event that the program uses."""

    by: str
    """The event of `actors.session.events` that it becomes, or the module that uses it."""


@frozen
class LeftOut:
    """An event that the program ignores."""

    because: str


Fate: TypeAlias = Handled | LeftOut

_OURS: Final = LeftOut("About tracks of ours: an agent that watches publishes none.")
_STATE: Final = LeftOut("`reconnecting`, `reconnected` and `disconnected` have the same content.")
_SPEECH: Final = LeftOut(
    "An older form of transcripts: these come as text streams (bridge.livekit.rooms.agent_streams)."
)
_ENCRYPTED: Final = LeftOut(
    "Follows from the encryption of the participant's tracks, which is in each publication."
)
_E2EE: Final = LeftOut("About keys of our own: an agent that watches has none.")

SDK: Final[Mapping[str, Fate]] = {
    "participant_connected": Handled("ParticipantJoined"),
    "participant_disconnected": Handled("ParticipantLeft"),
    "participant_active": Handled("ParticipantActive"),
    "local_track_published": _OURS,
    "local_track_unpublished": _OURS,
    "local_track_republished": _OURS,
    "local_track_subscribed": _OURS,
    "track_published": Handled("TrackPublished"),
    "track_unpublished": Handled("TrackUnpublished"),
    "track_subscribed": Handled("TrackSubscribed"),
    "track_unsubscribed": Handled("bridge.livekit.rooms.subscriptions: another track may be taken"),
    "track_subscription_failed": Handled("TrackSubscriptionFailed"),
    "track_muted": Handled("TrackMuted"),
    "track_unmuted": Handled("TrackUnmuted"),
    "active_speakers_changed": Handled("SpeakersChanged"),
    "room_metadata_changed": Handled("RoomMetadataChanged"),
    "participant_metadata_changed": Handled("MetadataChanged"),
    "participant_name_changed": Handled("NameChanged"),
    "participant_attributes_changed": Handled("AttributesChanged"),
    "connection_quality_changed": Handled("QualityChanged"),
    "participant_encryption_status_changed": _ENCRYPTED,
    "participant_permissions_changed": Handled("PermissionsChanged"),
    "data_received": Handled("DataReceived"),
    "sip_dtmf_received": LeftOut("A key that a caller pressed: may be a PIN or a card's number."),
    "transcription_received": _SPEECH,
    "e2ee_state_changed": _E2EE,
    "connection_state_changed": _STATE,
    "connected": LeftOut("The SDK declares it and never emits it."),
    "disconnected": Handled("Disconnected"),
    "reconnecting": Handled("Reconnecting"),
    "reconnected": Handled("Reconnected"),
    "room_updated": Handled("RecordingChanged; and Resynced where the room's SID is another"),
    "moved": Handled("Resynced"),
    "token_refreshed": LeftOut("The SDK keeps the new token by itself."),
    "data_track_published": Handled("DataTrackPublished"),
    "data_track_unpublished": Handled("DataTrackUnpublished"),
}
"""By the name of the event of `rtc.Room` (`rtc.room.EventTypes`)."""

_TO_THE_ROOM: Final = Handled("the SDK's Room, which emits the event of this name")

_PART: Final = Handled(
    "bridge.livekit.rooms.agent_streams, for topics of agents; other streams have a reader"
)

NATIVE: Final[Mapping[str, Fate]] = {
    "participant_connected": _TO_THE_ROOM,
    "participant_disconnected": _TO_THE_ROOM,
    "local_track_published": _OURS,
    "local_track_unpublished": _OURS,
    "local_track_subscribed": _OURS,
    "local_track_republished": _OURS,
    "track_published": _TO_THE_ROOM,
    "track_unpublished": _TO_THE_ROOM,
    "track_subscribed": _TO_THE_ROOM,
    "track_unsubscribed": _TO_THE_ROOM,
    "track_subscription_failed": _TO_THE_ROOM,
    "track_muted": _TO_THE_ROOM,
    "track_unmuted": _TO_THE_ROOM,
    "active_speakers_changed": Handled("SpeakersChanged"),
    "room_metadata_changed": _TO_THE_ROOM,
    "room_sid_changed": Handled("the SDK's Room, which takes its SID from it"),
    "participant_metadata_changed": _TO_THE_ROOM,
    "participant_name_changed": _TO_THE_ROOM,
    "participant_attributes_changed": _TO_THE_ROOM,
    "connection_quality_changed": Handled("QualityChanged"),
    "connection_state_changed": Handled("the SDK's Room, which takes its state from it"),
    "disconnected": _TO_THE_ROOM,
    "reconnecting": _TO_THE_ROOM,
    "reconnected": _TO_THE_ROOM,
    "e2ee_state_changed": _E2EE,
    "eos": Handled("the SDK's Room, which then ends its task"),
    "data_packet_received": Handled("DataReceived"),
    "transcription_received": _SPEECH,
    "chat_message": LeftOut(
        "LiveKit's chat components of 2024 sent it together with a packet, which counts."
    ),
    "stream_header_received": _PART,
    "stream_chunk_received": _PART,
    "stream_trailer_received": _PART,
    "data_channel_low_threshold_changed": LeftOut(
        "About the queue of data that we send; no sender waits for it."
    ),
    "byte_stream_opened": Handled("AttachmentReceived or DataReceived"),
    "text_stream_opened": Handled("DataReceived"),
    "room_updated": _TO_THE_ROOM,
    "moved": _TO_THE_ROOM,
    "participants_updated": LeftOut(
        "Repeats each change of a participant; the Room would be ahead of it."
    ),
    "participant_encryption_status_changed": _ENCRYPTED,
    "participant_permission_changed": Handled("the SDK's Room: participant_permissions_changed"),
    "token_refreshed": Handled("the SDK's Room, which keeps the token"),
    "participant_active": _TO_THE_ROOM,
    "data_track_published": _TO_THE_ROOM,
    "data_track_unpublished": _TO_THE_ROOM,
}
"""By the name of the message (`room_pb2.RoomEvent`, its oneof `message`)."""

_INGRESS: Final = LeftOut("An ingress is a participant of its own and appears in the room.")

WEBHOOKS: Final[Mapping[str, Fate]] = {
    "room_started": Handled("WebhookRoomStarted"),
    "room_finished": Handled("WebhookRoomFinished"),
    "participant_joined": Handled("WebhookJoined"),
    "participant_left": Handled("WebhookLeft"),
    "participant_connection_aborted": Handled("WebhookJoinAborted"),
    "track_published": Handled("WebhookTrack"),
    "track_unpublished": Handled("WebhookTrack"),
    "egress_started": Handled("WebhookEgress"),
    "egress_updated": Handled("WebhookEgress"),
    "egress_ended": Handled("WebhookEgress"),
    "ingress_started": _INGRESS,
    "ingress_ended": _INGRESS,
}
"""By the webhook's `event`: those of livekit/protocol, ``webhook/events.go``."""

WEBHOOK_FIELDS: Final[Mapping[str, Fate]] = {
    "event": Handled("the kind of the webhook"),
    "room": Handled("the room of the webhook"),
    "participant": Handled("WebhookJoined, WebhookLeft, WebhookJoinAborted"),
    "egress_info": Handled("WebhookEgress"),
    "ingress_info": _INGRESS,
    "track": Handled("WebhookTrack"),
    "job": LeftOut("No server of version 1.13 sends a webhook of a job."),
    "id": Handled("bridge.http.webhook_endpoint: a repeated webhook counts once"),
    "created_at": Handled("`said_at` of each event"),
    "num_dropped": Handled("bridge.http.webhook_endpoint: a metric"),
    "room_end_reason": LeftOut(
        "The room connection has the reason; a room that ended unwatched is `found_ended`."
    ),
}
"""By the field of `WebhookReport`.  A webhook of something new comes with a field of its own."""

TABLES: Final[Mapping[str, Mapping[str, Fate]]] = {
    "Events of the SDK": SDK,
    "Messages of the native library": NATIVE,
    "Webhooks": WEBHOOKS,
    "Fields of a webhook": WEBHOOK_FIELDS,
}


def page() -> str:
    """The tables as Markdown: ``docs/coverage.md``."""
    lines = [
        "# LiveKit's events, and what becomes of each",
        "",
        "Made from `bridge/livekit/event_coverage.py` (`python -m bridge.livekit.event_coverage`).",
        "The events named as handlers are those of `actors/session/events.py`.",
    ]
    for title, table in TABLES.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| event | becomes | or is left out because |",
            "|---|---|---|",
        ]
        for name, fate in table.items():
            handled = fate.by if isinstance(fate, Handled) else ""
            left_out = fate.because if isinstance(fate, LeftOut) else ""
            lines.append(f"| `{name}` | {handled} | {left_out} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
