"""What can happen in a room: the vocabulary between the bridge and a session.

The bridge translates what the LiveKit SDK says into these frozen messages; the
session folds them (`actors.session.reducer`).  Nothing here knows LiveKit, asyncio
or trio, so that a simulated room speaks exactly the same language.

Conventions:

* ``at`` is in Unix seconds (float).  It is the server's own time where the
  server tells one (``ParticipantInfo.joined_at``), otherwise the moment the
  bridge received the event.
* Participants are named by ``identity`` (the person) and ``sid`` (one join of
  that person, ``PA_...``).  ``sid`` is "" where the SDK does not tell it.
* Reasons are LiveKit's ``DisconnectReason`` in lower case (``client_initiated``),
  None where the server gave none.
* What LiveKit's webhooks say (`WebhookReport`) carries two times: ``at``, when we received
  it, and ``said_at``, the webhook's own ``createdAt`` in whole seconds, so that the
  thing happened in [said_at, said_at + 1).  They are lossy, doubled, in no order and
  up to 30 s late: they correct what was heard in the room.
* Nothing in an event is trusted: identities, names, metadata and topics are
  whatever a participant typed.  They are cut where they enter
  (`actors.session.texts`), else kept as they are, and made harmless where they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import frozen

from actors.session.room_info import (
    DataFormat,
    ParticipantInfo,
    Permissions,
    Quality,
    Roster,
    TrackInfo,
)
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
    """We are in the room; `roster` is who was there before us.  Always the first event."""

    at: float
    roster: Roster
    clock_offset: float | None = None
    """Seconds by which this machine's clock is ahead of the server's, None where unknown."""


@frozen
class Resynced:
    """A full view of the room, to compare with what was folded.

    Offered when the room's own order cannot be trusted: after a session was
    restarted, after a mailbox overflowed.
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
    3 s later), and may carry another room SID: then this is another life of the room.
    """

    at: float
    roster: Roster


@frozen
class Disconnected:
    """We are out of the room for good.  Always the last event of a connection."""

    at: float
    reason: str | None
    gap: GapReason = "connection_lost"
    """Why nobody watches from now on, should the session go on."""


@frozen
class Suspended:
    """Nothing of us ran since `since`; `at` is when it runs again.

    Comes before whatever the room told meanwhile."""

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
    """`changed` has only the keys that changed; an empty value means the key is gone."""

    at: float
    identity: str
    changed: Mapping[str, str]


@frozen
class PermissionsChanged:
    """Somebody came on stage, left it, or may do something else now."""

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
    """`identities` is everyone who speaks now; whoever is not in it is silent."""

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
    """So much came faster than it could be taken in, and is only counted."""

    at: float
    messages: int
    """Whose they were, on which topic and how long is not known any more."""
    changes: int = 0
    """Of metadata, attributes, names, mutes, quality and speakers: each was overtaken by a newer
    one of the same, which is told."""
    bytes: int = 0
    """Of the messages, where their length is known."""
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
class Tick:
    """Time passed and nothing happened.  The fold asks for it through `next_deadline`."""

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
    | Tick
    | WebhookReport
)
