"""Reports of LiveKit's webhooks, one class for each kind.

Each report carries two times.  ``at`` is when we received it.  ``sent_at`` is the webhook's own
``createdAt`` in whole seconds: the thing happened in [sent_at, sent_at + 1).  Webhooks can be lost,
doubled, out of order and up to 30 s late.  `actors.session.webhooks` has what they correct.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from actors.session.room_info import ParticipantInfo, TrackInfo


@frozen
class WebhookRoomStarted:
    """`room_started`."""

    at: float
    sent_at: float
    created_at: float | None
    """Unix seconds of the room's creation at the server, None if it was not given."""
    metadata: str


@frozen
class WebhookJoined:
    """`participant_joined`: it is sent once the media connection stands."""

    at: float
    sent_at: float
    participant: ParticipantInfo


@frozen
class WebhookLeft:
    """`participant_left`."""

    at: float
    sent_at: float
    participant: ParticipantInfo
    """As it was when they left."""
    reason: str | None


@frozen
class WebhookJoinAborted:
    """`participant_connection_aborted`: the media connection never stood."""

    at: float
    sent_at: float
    participant: ParticipantInfo
    reason: str | None


@frozen
class WebhookTrack:
    """`track_published` or `track_unpublished`."""

    at: float
    sent_at: float
    identity: str
    sid: str
    """Of the participant."""
    track: TrackInfo
    published: bool


@frozen
class WebhookRoomFinished:
    """`room_finished`."""

    at: float
    sent_at: float


@frozen
class WebhookEgress:
    """`egress_started`, `egress_updated` or `egress_ended`: LiveKit's own recording service."""

    at: float
    sent_at: float
    egress_id: str
    kind: str
    """LiveKit's name of the request: ``room_composite``, ``track``, ``participant``, ..."""
    status: str
    """LiveKit's EgressStatus in lower case: ``starting``, ``active``, ``complete``, ..."""
    started_at: float | None = None
    """Unix seconds; None where it has not begun, or never did."""
    ended_at: float | None = None
    error: str | None = None
    file: str | None = None
    """Place of the first file; None for a stream."""
    updated_at: float = 0.0
    """Unix seconds of this state of it: an older one that comes later changes nothing."""
    intent: str = ""
    """The key of the intent that started it (`actors.session.recording_reports`); empty if the
    egress is not ours."""


WebhookReport: TypeAlias = (
    WebhookRoomStarted
    | WebhookJoined
    | WebhookLeft
    | WebhookJoinAborted
    | WebhookTrack
    | WebhookRoomFinished
    | WebhookEgress
)
