"""What is known of one life of one room, folded from what was heard of it.

`events` is the vocabulary a room speaks, `entry` what a session has to tell, `fold`
how the one becomes the other (its page has the rules), `view` how a session looks
from outside.  Pure: no I/O, no clock, nothing of LiveKit and nothing of trio.
"""

from __future__ import annotations

from actors.session.entry import ENTRY_KEYS, Entry
from actors.session.events import (
    QUALITIES,
    AttributesChanged,
    DataFormat,
    DataReceived,
    Disconnected,
    MetadataChanged,
    NameChanged,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Quality,
    QualityChanged,
    Reconnected,
    Reconnecting,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    Roster,
    Source,
    SpeakersChanged,
    Tick,
    TrackInfo,
    TrackKind,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.fold import AnotherLife, apply, attach_job, begin, end, next_deadline
from actors.session.state import SessionState
from actors.session.view import Totals, entry_view, session_row, session_view, totals

__all__ = [
    "ENTRY_KEYS",
    "QUALITIES",
    "AnotherLife",
    "AttributesChanged",
    "DataFormat",
    "DataReceived",
    "Disconnected",
    "Entry",
    "MetadataChanged",
    "NameChanged",
    "ParticipantInfo",
    "ParticipantJoined",
    "ParticipantKind",
    "ParticipantLeft",
    "Quality",
    "QualityChanged",
    "Reconnected",
    "Reconnecting",
    "Resynced",
    "RoomEvent",
    "RoomMetadataChanged",
    "Roster",
    "SessionState",
    "Source",
    "SpeakersChanged",
    "Tick",
    "Totals",
    "TrackInfo",
    "TrackKind",
    "TrackMuted",
    "TrackPublished",
    "TrackSubscribed",
    "TrackSubscriptionFailed",
    "TrackUnmuted",
    "TrackUnpublished",
    "Watching",
    "apply",
    "attach_job",
    "begin",
    "end",
    "entry_view",
    "next_deadline",
    "session_row",
    "session_view",
    "totals",
]
