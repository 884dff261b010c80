"""Names that earlier versions wrote to a store, and what they are called now.

A store has names in two places: the tag of a record, and the names of the fields of every
object in a body.  Both tables here say old name -> name of today.  A field that is renamed
gets a row in `RENAMED_FIELDS` in the same commit, and `NAMES` grows by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

import attrs

from actors.session import participant, state, webhook_reports

NAMES: Final = 2
"""The version of the names of a state's fields.  A body says with which one it was written."""

RENAMED_FIELDS: Final[Mapping[type, Mapping[str, str]]] = {
    state.SessionState: {
        "aborted": "aborted_sids",
        "blind_because": "gap_reason",
        "blind_since": "gap_since",
        "data": "messages",
        "early": "unannounced_senders",
        "folded": "truncated",
        "held": "deferred",
        "leaving": "provisional_leaves",
        "numbered": "next_number",
        "past_text": "past_text_size",
        "recorded": "recorded_intervals",
        "server_said": "webhook_received",
        "settle_at": "roster_complete_at",
        "unpublishing": "provisional_unpublishes",
    },
    participant.Participant: {"owed": "pending_leave_since"},
    participant.Join: {"told": "end_from_webhook"},
    state.Truncated: {"held": "deferred", "truncated": "dropped"},
    webhook_reports.WebhookRoomStarted: {"said_at": "sent_at"},
    webhook_reports.WebhookJoined: {"said_at": "sent_at"},
    webhook_reports.WebhookLeft: {"said_at": "sent_at"},
    webhook_reports.WebhookJoinAborted: {"said_at": "sent_at"},
    webhook_reports.WebhookTrack: {"said_at": "sent_at"},
    webhook_reports.WebhookRoomFinished: {"said_at": "sent_at"},
    webhook_reports.WebhookEgress: {"said_at": "sent_at"},
}
"""Of each class, the old name of a field -> its name now.

A body of the current version has new names only and is not looked up here.  A record has no
version: it is read by its new names, and by this table if a field is missing.  So a renamed
field of a record must be one without a default.
"""

VERSION_1_TAGS: Final[Mapping[str, str]] = {
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
"""Tags of records in the first version, which were the names of its classes -> tags now."""


def with_new_names(kind: Any, value: Any) -> Any:
    """`value`, which was decoded to plain objects, with the field names that `kind` has now.

    A part that has not the shape of `kind` stays as it is; decoding it will fail.
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        if attrs.has(origin):
            return _with_new_fields(origin, arguments, items)
        if origin is Mapping:
            return {key: with_new_names(arguments[1], one) for key, one in items.items()}
        for one in filter(attrs.has, arguments):  # of an optional object
            return with_new_names(one, items)
    elif isinstance(value, list) and origin is tuple and arguments[1:] == (...,):
        return [with_new_names(arguments[0], one) for one in cast("list[Any]", value)]
    return cast("Any", value)


def _with_new_fields(
    kind: type, arguments: tuple[Any, ...], fields: dict[Any, Any]
) -> dict[Any, Any]:
    kinds: dict[Any, Any] = get_type_hints(kind)
    new_names: Mapping[Any, str] = RENAMED_FIELDS.get(kind, {})
    renamed = dict[Any, Any]()
    for old, value in fields.items():
        name = new_names.get(old, old)
        of = kinds.get(name)
        if of is not None and getattr(of, "__parameters__", ()):
            of = of[arguments]  # the class is generic
        renamed[name] = with_new_names(of, value)
    return renamed
