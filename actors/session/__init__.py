"""One room instance as a fold of its events.

| modules | subject |
|---|---|
| `events`, `webhook_reports`, `room_info`, `sighting` | what enters: events, webhooks, parts |
| `recording_reports` | what enters of recordings that are ours |
| `record` | what a journal stores; `record.fold` is the fold |
| `reducer` | the fold's dispatch and its rules; below are the functions that it calls |
| `beginnings` | how a session begins and goes on |
| `arrivals`, `joins`, `unobserved_joins` | people come |
| `leaves`, `provisional_leaves` | people go |
| `due`, `pending` | what waits, and what becomes due |
| `roster` | the state is made equal to a list of participants |
| `tracks`, `recordings`, `activity` | tracks; recordings; names, messages, speaking, quality |
| `measurement`, `track_stats`, `opinion_score` | what was measured of tracks, and their MOS |
| `agent_reports`, `agent_uploads` | what agents report in the room, and what they upload |
| `agents`, `agent_run`, `agent_counts`, `agent_problems` | runs of agents, problems |
| `gaps`, `gap_events` | times in which we did not see the room |
| `webhooks` | corrections by LiveKit's webhooks |
| `state`, `participant`, `people_counts` | what the fold makes |
| `participant_maps`, `persistent_map`, `changes` | how a state is changed |
| `intervals`, `turns`, `media_seconds` | how long something held: talk, camera, screen |
| `estimate`, `bounds`, `texts`, `person_key` | uncertain times, limits, texts, who is who |
| `end_reasons` | why sessions end, and what each reason means |
| `timeline_entry` | what the fold adds to the timeline |
| `view`, `view_parts`, `view_types`, `view_base`, `entry_types`, `time_text` | a session as JSON |
| `agent_views`, `agent_view_types` | its agents as JSON |
| `codec`, `stored_names` | states and records as bytes in a store, of older versions too |

Data passes one way: a record enters `record.fold`, which returns the next state and the entries.
Everything here is pure: no input or output, no clock, nothing of LiveKit and nothing of trio.
"""

from __future__ import annotations

from actors.session.end_reasons import END_REASONS, EndReason
from actors.session.entry_types import EntryView
from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    ClockCompared,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
    GapReason,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    PermissionsChanged,
    QualityChanged,
    Reconnected,
    Reconnecting,
    RecorderDetected,
    RecordingChanged,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    SpeakersChanged,
    Suspended,
    Tick,
    TrackMuted,
    TrackPublished,
    TracksMeasured,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.record import Record, SessionBegan, SessionContinued, SessionEnded, fold
from actors.session.reducer import RoomInstanceChanged, apply, attach_job, begin, end, next_deadline
from actors.session.room_info import (
    QUALITIES,
    DataFormat,
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    Quality,
    Roster,
    TrackInfo,
    TrackKind,
    TrackSource,
)
from actors.session.state import SessionState
from actors.session.timeline_entry import ENTRY_KEYS, TimelineEntry
from actors.session.view import Totals, entry_view, session_row, session_view, totals
from actors.session.view_types import (
    GapView,
    JoinView,
    ParticipantView,
    QualityView,
    RecordingView,
    SessionRow,
    SessionView,
    TrackView,
)
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

__all__ = [
    "END_REASONS",
    "ENTRY_KEYS",
    "QUALITIES",
    "AttachmentReceived",
    "AttributesChanged",
    "ClockCompared",
    "DataFormat",
    "DataReceived",
    "DataTrackPublished",
    "DataTrackUnpublished",
    "Disconnected",
    "EndReason",
    "EntryView",
    "GapReason",
    "GapView",
    "JoinView",
    "MessagesDropped",
    "MetadataChanged",
    "NameChanged",
    "ParticipantActive",
    "ParticipantInfo",
    "ParticipantJoined",
    "ParticipantKind",
    "ParticipantLeft",
    "ParticipantView",
    "Permissions",
    "PermissionsChanged",
    "Quality",
    "QualityChanged",
    "QualityView",
    "Reconnected",
    "Reconnecting",
    "Record",
    "RecorderDetected",
    "RecordingChanged",
    "RecordingView",
    "Resynced",
    "RoomEvent",
    "RoomInstanceChanged",
    "RoomMetadataChanged",
    "Roster",
    "SessionBegan",
    "SessionContinued",
    "SessionEnded",
    "SessionRow",
    "SessionState",
    "SessionView",
    "SpeakersChanged",
    "Suspended",
    "Tick",
    "TimelineEntry",
    "Totals",
    "TrackInfo",
    "TrackKind",
    "TrackMuted",
    "TrackPublished",
    "TrackSource",
    "TrackSubscribed",
    "TrackSubscriptionFailed",
    "TrackUnmuted",
    "TrackUnpublished",
    "TrackView",
    "TracksMeasured",
    "Watching",
    "WebhookEgress",
    "WebhookJoinAborted",
    "WebhookJoined",
    "WebhookLeft",
    "WebhookReport",
    "WebhookRoomFinished",
    "WebhookRoomStarted",
    "WebhookTrack",
    "apply",
    "attach_job",
    "begin",
    "end",
    "entry_view",
    "fold",
    "next_deadline",
    "session_row",
    "session_view",
    "totals",
]
