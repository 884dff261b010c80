"""The entries that an endpoint wants: patterns of event names and of room names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from attrs import field, frozen

from actors.session.timeline_entry import ENTRY_KEYS, TimelineEntry

DEFAULT_EVENTS: Final = (
    "session_started",
    "session_ended",
    "participant_found",
    "participant_connected",
    "participant_disconnected",
    "participant_connection_aborted",
    "participant_left_at",
    "track_published",
    "track_unpublished",
    "room_metadata",
    "room_ended",
    "recording_*",
    "alert_*",
    "act_*",
)
"""The events for an endpoint that names none: who came and went, what was published, how a session
ended, what was recorded and done.  Mutes, messages, quality and speakers are many a minute; they
come only where they are named."""


def unknown_events(patterns: Sequence[str]) -> list[str]:
    """The patterns that match no event there is."""
    return [one for one in patterns if not any(fnmatchcase(name, one) for name in ENTRY_KEYS)]


@frozen
class Subscription:
    """The entries that one endpoint wants."""

    events: tuple[str, ...] = DEFAULT_EVENTS
    """Patterns with `*` and `?`."""
    rooms: tuple[str, ...] = ("*",)
    name: str = ""
    """Name of the endpoint.  A rule's act `webhook` refers to it."""
    _wanted: dict[str, bool] = field(factory=dict[str, bool], init=False, eq=False, repr=False)
    """The decision about each event name; there are some forty names."""

    def wants_entry(self, room: str, entry: TimelineEntry) -> bool:
        """Whether the endpoint gets this entry."""
        if entry.event == "act_done" and entry.data.get("act") == "webhook":
            # A rule calls one endpoint, whatever that has subscribed to.
            return entry.data.get("result") == self.name
        return self.wants(room, entry.event)

    def wants(self, room: str, event: str) -> bool:
        wanted = self._wanted.get(event)
        if wanted is None:
            wanted = any(fnmatchcase(event, one) for one in self.events)
            if len(self._wanted) < 1000:
                self._wanted[event] = wanted
        return wanted and any(one == "*" or fnmatchcase(room, one) for one in self.rooms)
