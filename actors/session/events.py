"""Everything that can happen in a room: the events between the bridge and a session.

The bridge translates the events of the LiveKit SDK into these frozen classes, and
`actors.session.reducer` folds them.  Nothing here knows LiveKit, asyncio or trio, so a simulated
room has exactly the same events.

Conventions:

* ``at`` is in Unix seconds (float).  It is the server's own time if the server gives one
  (``ParticipantInfo.joined_at``), otherwise the moment at which the bridge received the event.
* Participants are named by ``identity`` (the person) and ``sid`` (one join of that person,
  ``PA_...``).  ``sid`` is "" if the SDK does not give it.
* Reasons are LiveKit's ``DisconnectReason`` in lower case (``client_initiated``), None if the
  server gave none.
* Nothing in an event is trusted: participants choose identities, names, metadata and topics.
  These are cut where they enter (`actors.session.texts`) and made harmless where they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import frozen

from actors.session.agent_reports import (
    AgentActivityReported,
    AgentCallReported,
    AgentDispatchListed,
    AgentErrorReported,
    AgentReport,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
)
from actors.session.recording_reports import RecordingReport
from actors.session.room_info import (
    DataFormat,
    ParticipantInfo,
    Permissions,
    Quality,
    Roster,
    TrackInfo,
)
from actors.session.rule_records import RuleRecord
from actors.session.track_stats import TrackWindow
from actors.session.webhook_reports import WebhookReport

GapReason: TypeAlias = Literal[
    "suspended", "worker_stopped", "worker_failed", "reconnecting", "connection_lost", "removed"
]
"""Why nobody watched for a while.

* ``suspended``: the worker's process or its machine did not run.
* ``worker_stopped``: the worker was ended, and was back later.
* ``worker_failed``: the worker was killed or crashed, as a whole or in this room.
* ``reconnecting``: the connection to the room broke and came back.
* ``connection_lost``: it did not come back, and the room was entered anew.
* ``removed``: the agent was removed from the room, and sent there again.
"""


@frozen
class Watching:
    """We are in the room; `roster` has everybody who was there before us.  The first event."""

    at: float
    roster: Roster
    clock_offset: float | None = None
    """Seconds by which this machine's clock is ahead of the server's, None where unknown."""


@frozen
class Resynced:
    """A full view of the room, to compare with the session.

    It comes when the order of events cannot be trusted: after a session was restarted, or after a
    mailbox overflowed.
    """

    at: float
    roster: Roster
    connected: bool = False
    """The connection is certainly up: the end of a reconnect was lost, if one was under way."""


@frozen
class Reconnecting:
    """The connection to the room is down; leaves without a reason mean nothing now."""

    at: float


@frozen
class Reconnected:
    """The connection is back.

    The roster may still lack people who publish nothing (they are announced up to
    3 s later), and may carry another room SID: then this is another room instance.
    """

    at: float
    roster: Roster


@frozen
class Disconnected:
    """We are out of the room for good.  Always the last event of a connection."""

    at: float
    reason: str | None
    gap: GapReason = "connection_lost"
    """The reason of the gap that begins, if the session goes on."""


@frozen
class Suspended:
    """Our process did not run from `since` to `at`.

    This event comes before those that were queued meanwhile.
    """

    at: float
    since: float


@frozen
class ClockCompared:
    """This machine's clock is ahead of the server's by so many seconds, since some time."""

    at: float
    offset: float


@frozen
class ParticipantJoined:
    at: float
    participant: ParticipantInfo


@frozen
class ParticipantActive:
    """The media connection of a participant stands.  Until then the join does not count."""

    at: float
    identity: str
    sid: str


@frozen
class RecorderDetected:
    """The server's list says that this join has the old `recorder` grant: it is no person."""

    at: float
    identity: str
    sid: str


@frozen
class ParticipantLeft:
    at: float
    identity: str
    sid: str
    reason: str | None


@frozen
class NameChanged:
    at: float
    identity: str
    name: str


@frozen
class MetadataChanged:
    at: float
    identity: str
    metadata: str


@frozen
class AttributesChanged:
    """`changed` has only the keys that changed; an empty value means that the key was removed."""

    at: float
    identity: str
    changed: Mapping[str, str]


@frozen
class PermissionsChanged:
    """The permissions of a participant changed: for example, somebody came on stage."""

    at: float
    identity: str
    permissions: Permissions


@frozen
class TrackPublished:
    at: float
    identity: str
    track: TrackInfo


@frozen
class TrackUnpublished:
    at: float
    identity: str
    track_sid: str


@frozen
class TrackMuted:
    at: float
    identity: str
    track_sid: str


@frozen
class TrackUnmuted:
    at: float
    identity: str
    track_sid: str


@frozen
class TrackSubscribed:
    """Our own subscription to a track took effect."""

    at: float
    identity: str
    track_sid: str


@frozen
class TrackSubscriptionFailed:
    at: float
    identity: str
    track_sid: str
    error: str


@frozen
class DataTrackPublished:
    """A data track: a stream of small frames that is no media and no message."""

    at: float
    identity: str
    track_sid: str
    """May become another one when its publisher reconnects."""
    name: str
    encrypted: bool = False


@frozen
class DataTrackUnpublished:
    at: float
    track_sid: str


@frozen
class SpeakersChanged:
    """`identities` is everyone who speaks now; all others are silent."""

    at: float
    identities: tuple[str, ...]


@frozen
class QualityChanged:
    """The server sends a quality only when it changes; it holds until the next."""

    at: float
    identity: str
    sid: str
    quality: Quality


@frozen
class DataReceived:
    """One data packet or one text stream that was read to its end.

    `identity` is None when the sender was not announced yet: a data packet can come before
    its sender (docs/livekit-facts.md#unattributed).  `content` is None unless the operator
    asked for payloads in the log.
    """

    at: float
    identity: str | None
    topic: str
    size: int
    format: DataFormat
    reliable: bool = True
    stream: bool = False
    content: str | None = None


@frozen
class AttachmentReceived:
    """A file that was sent with a chat message: a byte stream that was read to its end."""

    at: float
    identity: str | None
    topic: str
    size: int
    """Bytes."""


@frozen
class MessagesDropped:
    """Messages and changes that came too fast and are only counted."""

    at: float
    messages: int
    """Their senders, topics and lengths are not known any more."""
    changes: int = 0
    """Of metadata, attributes, names, mutes, quality and speakers: each was overtaken by a newer
    one of the same, which has an event."""
    bytes: int = 0
    """Bytes of the messages whose length is known."""
    attachments: int = 0


@frozen
class RoomMetadataChanged:
    at: float
    metadata: str


@frozen
class RecordingChanged:
    """A recorder came into the room, or the last one left: the room's ``active_recording``."""

    at: float
    active: bool


@frozen
class TracksMeasured:
    """Tracks of the room were measured (`--measure-tracks`), all in the same while."""

    at: float
    windows: tuple[TrackWindow, ...]


@frozen
class Tick:
    """Time passed without an event.  The fold asks for it through `next_deadline`."""

    at: float


RoomEvent: TypeAlias = (
    Watching
    | Resynced
    | Reconnecting
    | Reconnected
    | Disconnected
    | Suspended
    | ClockCompared
    | ParticipantJoined
    | ParticipantActive
    | RecorderDetected
    | ParticipantLeft
    | NameChanged
    | MetadataChanged
    | AttributesChanged
    | PermissionsChanged
    | TrackPublished
    | TrackUnpublished
    | TrackMuted
    | TrackUnmuted
    | TrackSubscribed
    | TrackSubscriptionFailed
    | DataTrackPublished
    | DataTrackUnpublished
    | SpeakersChanged
    | QualityChanged
    | DataReceived
    | AttachmentReceived
    | MessagesDropped
    | RoomMetadataChanged
    | RecordingChanged
    | TracksMeasured
    | AgentActivityReported
    | AgentUserReported
    | AgentTurnReported
    | AgentCallReported
    | AgentErrorReported
    | AgentUsageReported
    | AgentVersionReported
    | AgentDispatchListed
    | AgentReport
    | Tick
    | WebhookReport
    | RuleRecord
    | RecordingReport
)
