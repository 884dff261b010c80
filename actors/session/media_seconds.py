"""What each participant published: seconds of camera and of a shared screen, and when it began.

It is derived from the tracks of a session when a view of it is made, so nothing is stored for it.
A track of which nobody knows since when it was published counts from our first view of the room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define

from actors.session.intervals import stretch
from actors.session.participant import Join
from actors.session.room_info import TrackSource
from actors.session.state import SessionState, Track

CAMERA: Final[TrackSource] = "camera"
SCREEN: Final[TrackSource] = "screen"


@define
class PublishedMedia:
    """What one participant published."""

    camera_seconds: float = 0.0
    """Seconds in which a camera was published and not muted."""
    screen_seconds: float = 0.0
    """The same for a shared screen."""
    first_at: float | None = None
    """Unix seconds when the first track was published; None where nobody knows."""

    def seconds_after(self, joins: Iterable[Join]) -> float | None:
        """Seconds from the join in which the first track was published until then."""
        if self.first_at is None:
            return None
        began = [join.joined_at for join in joins if join.joined_at <= self.first_at]
        return stretch(began[-1], self.first_at) if began else None


NOTHING: Final = PublishedMedia()


def published_media(
    state: SessionState, tracks: Iterable[Track], until: float
) -> Mapping[str, PublishedMedia]:
    """By identity, of everybody who published something.  `tracks` are in the order of their
    first sight; an open one counts until `until` (Unix seconds)."""
    watched_from = state.started_at if state.watched_from is None else state.watched_from
    by_identity = dict[str, PublishedMedia]()
    for track in tracks:
        media = by_identity.get(track.identity)
        if media is None:
            media = by_identity[track.identity] = PublishedMedia(first_at=track.published_at)
        if track.source not in (CAMERA, SCREEN):
            continue
        since = watched_from if track.published_at is None else track.published_at
        end = until if track.unpublished_at is None else track.unpublished_at
        seconds = max(0.0, stretch(since, end) - track.muted.total(end))
        if track.source == CAMERA:
            media.camera_seconds += seconds
        else:
            media.screen_seconds += seconds
    return by_identity
