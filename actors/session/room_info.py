"""The shapes of a room at one moment: participants, tracks, permissions, the roster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

ParticipantKind: TypeAlias = Literal["standard", "agent", "egress", "ingress", "sip"]
TrackKind: TypeAlias = Literal["audio", "video"]
TrackSource: TypeAlias = Literal["camera", "microphone", "screen", "screen_audio", "unknown"]
Quality: TypeAlias = Literal["excellent", "good", "poor", "lost"]
DataFormat: TypeAlias = Literal["json", "text", "binary"]

QUALITIES: Final[tuple[Quality, ...]] = ("excellent", "good", "poor", "lost")
"""From the best to the worst."""
WEAK_QUALITIES: Final[frozenset[Quality | None]] = frozenset({"poor", "lost"})


@frozen
class TrackInfo:
    """One publication as its publisher announced it."""

    sid: str
    kind: TrackKind
    source: TrackSource
    muted: bool = False
    name: str = ""
    encrypted: bool = False
    """End to end: the server and we see nothing of its content."""


@frozen
class Permissions:
    """The permissions of a participant."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    sources: tuple[TrackSource, ...] = ()
    """Sources that may be published; empty for all."""


@frozen
class ParticipantInfo:
    """One join of one participant, as the room shows it at one moment."""

    identity: str
    sid: str
    joined_at: float
    """Unix seconds, the server's own clock (millisecond precision)."""
    kind: ParticipantKind = "standard"
    name: str = ""
    metadata: str | None = ""
    """None if the journal's budget left no room for it: then it stays as it was.  The same holds
    for the attributes."""
    attributes: Mapping[str, str] | None = field(factory=dict[str, str])
    tracks: tuple[TrackInfo, ...] = ()
    permissions: Permissions | None = None
    """None if the server did not say."""
    active: bool = True
    """True if the media connection is established (LiveKit's state ACTIVE).  It may never be."""


@frozen
class Roster:
    """Everyone who is in the room at one moment, ourselves not among them."""

    room_sid: str
    metadata: str = ""
    participants: tuple[ParticipantInfo, ...] = ()
    created_at: float | None = None
    """Unix seconds of the room's creation at the server, None if unknown."""
    recording: bool | None = None
    """True if the room is being recorded; None if the server did not say."""
