"""The knowledge of one monitor about its person, and the settings of all monitors.

All times are Unix seconds, on LiveKit's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen

from actors.monitoring.monitoring_request import MonitoringRequest
from actors.session import Quality


@frozen
class MonitorSettings:
    """The settings of all monitors."""

    quality_threshold: float = 0.5
    inactivity_timeout: float = 300.0
    """Seconds."""
    notify_people: bool = False
    """False: people get no messages at all."""


@frozen
class QualityChange:
    """One change of the connection quality."""

    since: Quality | None
    until: Quality | None
    at: float
    reason: str
    """`reported` by LiveKit, or `unknown` where it is not known any more."""


Activity: TypeAlias = tuple[object, ...]


@frozen
class WatchedVideo:
    """One video, as it was measured."""

    frames: int
    """Since its subscription."""
    moved_at: float
    """When the last frame was seen."""
    measured_at: float
    fps: float | None = None
    """Frames a second between the last two measures."""
    still: bool = False
    """No frame came for too long."""


@frozen
class Monitor:
    """The knowledge of one monitor about its person."""

    room: str
    identity: str
    sid: str
    """The participant SID of the job.  A monitor that ends with the leave is about this join."""
    request: MonitoringRequest
    settings: MonitorSettings
    began_at: float
    watched: bool = False
    """The room was seen watched."""
    present: bool = False
    joined_at: float | None = None
    """When the newest presence began."""
    left_at: float | None = None
    present_seconds: float = 0.0
    """Seconds of the presences that are over."""
    welcomed: bool = False
    listed: bool = False
    """In LiveKit's list of speakers now."""
    silent_since: float | None = None
    """When they went out of that list; None while they are in it, and before any speech."""
    speaking_since: float | None = None
    """When the speech that goes on began; None while they do not speak."""
    speaking_seconds: float = 0.0
    """Seconds of speech that is over."""
    speeches: int = 0
    quality: Quality | None = None
    changes: tuple[QualityChange, ...] = ()
    quality_changes: int = 0
    warned: bool = False
    """The quality is below the threshold."""
    tracks: frozenset[str] = frozenset()
    """SIDs of the tracks that are published now."""
    tracks_total: int = 0
    videos: frozenset[str] = frozenset()
    """SIDs of the videos that are published and not muted, where they are to be measured."""
    watched_videos: Mapping[str, WatchedVideo] = field(factory=dict[str, WatchedVideo])
    """By SID."""
    frames_total: int = 0
    active_at: float = 0.0
    inactive: bool = False
    long_reported: bool = False
    over: bool = False
    activity: Activity = ()
    """As last seen; a difference is activity."""

    @property
    def inactivity_timeout(self) -> float:
        own = self.request.inactivity_timeout
        return self.settings.inactivity_timeout if own is None else own

    @property
    def quality_threshold(self) -> float:
        own = self.request.quality_threshold
        return self.settings.quality_threshold if own is None else own

    @property
    def speaking(self) -> bool:
        return self.speaking_since is not None

    def wants(self, feature: str) -> bool:
        return feature in self.request.features

    def duration(self, now: float) -> float:
        """Seconds in which the person was present."""
        since = self.joined_at if self.present else None
        return self.present_seconds + (0.0 if since is None else max(0.0, now - since))

    def speaking_total(self, now: float) -> float:
        """Seconds of speech until `now`."""
        since = self.speaking_since
        if since is None:
            return self.speaking_seconds
        until = now if self.silent_since is None else self.silent_since
        return self.speaking_seconds + max(0.0, until - since)
