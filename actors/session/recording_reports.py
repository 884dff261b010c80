"""What this worker itself reports of recordings: events like those of a room.

A recording that a rule asks for is recorded as intended before LiveKit is asked for it, so a
worker that was killed knows what it may have started.  `intent` is the key of one such wish.  It
is written into the request to LiveKit as well, so an egress says of which intent it is.

No secret is here: of a storage these have the name of the environment variable.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

StorageService: TypeAlias = Literal["s3", "gcs", "azure"]


@frozen
class StorageTarget:
    """A bucket or container that gets a file."""

    service: StorageService
    bucket: str
    """The container, in Azure."""
    secret_env: str
    """Name of the environment variable with the secret: S3's secret key, the JSON of Google's
    service account, Azure's account key."""
    account: str = ""
    """S3's access key, Azure's account name; empty for Google."""
    region: str = ""
    endpoint: str = ""
    """Address of an S3 that is not Amazon's."""
    path_style: bool = False


@frozen
class RecordingOutput:
    """One file of a recording."""

    file: str = ""
    """Its path, with LiveKit's placeholders such as ``{room_name}-{time}``; empty for LiveKit's
    own."""
    storage: StorageTarget | None = None
    """None: where the egress worker is configured to put files."""


@frozen
class RecordingRequest:
    """What is to be recorded: everybody in the room, in one picture or only heard."""

    outputs: tuple[RecordingOutput, ...] = (RecordingOutput(),)
    layout: str = ""
    """One of LiveKit's layouts, as ``grid`` or ``speaker``; empty for its default."""
    audio_only: bool = False


@frozen
class RecordingIntended:
    """A rule wants a recording.  LiveKit is asked once this is on the disk."""

    at: float
    """Unix seconds; so in every report."""
    intent: str
    rule: str
    request: RecordingRequest = RecordingRequest()


@frozen
class RecordingNotStarted:
    """The intent came to nothing."""

    at: float
    intent: str
    error: str
    """Why, for a reader."""


@frozen
class EgressListed:
    """LiveKit's answer to a question of ours about one egress.  Fields as in `WebhookEgress`."""

    at: float
    egress_id: str
    kind: str
    status: str
    intent: str = ""
    """Empty where the egress does not say, and is not known to be ours."""
    started_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    file: str | None = None
    updated_at: float = 0.0


@frozen
class RecordingStopIntended:
    """A rule wants this recording to end."""

    at: float
    egress_id: str
    rule: str


@frozen
class RecorderSilent:
    """LiveKit says that this egress goes on, but its worker does not answer."""

    at: float
    egress_id: str


RecordingReport: TypeAlias = (
    RecordingIntended | RecordingNotStarted | EgressListed | RecordingStopIntended | RecorderSilent
)
