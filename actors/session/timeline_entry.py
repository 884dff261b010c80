"""Entries of a session's timeline: one for each thing that changed.

An entry is a change that the fold accepted, not an event of the wire: a duplicate makes no entry,
a provisional leave makes one once it is confirmed.  The same entry is a row of the timeline
(`docs/contract.md`), a line of the log and a message to every subscriber.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

ENTRY_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    # event                     keys of `data`
    "session_started": ("existing",),
    "participant_found": ("identity", "sid", "kind", "name", "joined_at"),
    "participant_connected": (
        "identity",
        "sid",
        "kind",
        "name",
        "joined_at",
        "rejoin",
        "reconnect",
    ),
    "participant_disconnected": ("identity", "sid", "kind", "reason", "seconds"),
    "participant_metadata": ("identity", "metadata"),
    "participant_name": ("identity", "name"),
    "participant_attributes": ("identity", "changed"),
    "participant_permissions": (
        "identity",
        "can_publish",
        "can_subscribe",
        "can_publish_data",
        "sources",
    ),
    "track_published": ("identity", "sid", "kind", "source", "muted", "existing", "encrypted"),
    "track_unpublished": ("identity", "sid"),
    "track_muted": ("identity", "sid"),
    "track_unmuted": ("identity", "sid"),
    "track_subscribed": ("identity", "sid"),
    "track_subscription_failed": ("identity", "sid", "error"),
    "data_track_published": ("identity", "sid", "name", "encrypted"),
    "data_track_unpublished": ("identity", "sid"),
    "data_message": ("identity", "topic", "size", "format", "reliable", "stream", "content"),
    "attachment": ("identity", "topic", "size"),
    "messages_thinned": ("count",),
    "attachments_thinned": ("count",),
    "changes_overtaken": ("count",),
    "quality_changed": ("identity", "sid", "quality"),
    "speakers_changed": ("identities",),
    "audio_changed": ("identity", "sid", "audio"),
    "room_metadata": ("metadata",),
    "room_recording": ("active",),
    "reconnecting": (),
    "reconnected": ("gap",),
    "suspended": ("gap",),
    "session_ended": ("reason",),
    "alert_firing": ("rule", "on", "text"),
    "alert_resolved": ("rule", "on", "seconds"),
    "act_done": ("rule", "act", "on", "result"),
    "act_failed": ("rule", "act", "on", "result"),
    "participant_left_at": ("identity", "sid", "kind", "reason", "seconds"),
    "participant_connection_aborted": ("identity", "sid", "kind", "reason"),
    "room_ended": ("reason",),
    "recording_started": ("id", "kind"),
    "recording_ended": ("id", "kind", "status", "error", "file"),
    "recording_requested": ("rule",),
    "recording_failed": ("rule", "error"),
    "recording_lost": ("id", "kind"),
    "recording_resumed": ("id", "kind"),
    "agent_joined": ("identity", "agent", "job", "after"),
    "agent_state": ("identity", "state"),
    "agent_turn": (
        "identity",
        "item",
        "role",
        "seconds",
        "delay",
        "computed",
        "first_token",
        "first_byte",
        "transcription_delay",
        "end_of_turn_delay",
        "interrupted",
    ),
    "agent_tool_call": ("identity", "item", "tool", "seconds", "result"),
    "agent_error": ("identity", "error", "label", "recoverable"),
    "agent_problem": ("identity", "agent", "problem", "seconds"),
    "agent_recovered": ("identity", "agent", "problem", "seconds"),
    "agent_ended": ("identity", "agent", "end"),
}
"""Every event of a session's timeline and the keys it always carries.

From ``participant_left_at`` to ``room_ended`` they come from LiveKit's webhooks only.  They do not
repeat an entry: ``participant_left_at`` corrects the time or the reason of an earlier leave, or
adds a leave that nobody saw because the watch was over.  ``room_ended`` corrects the time and the
reason of ``session_ended``.

The ``identity`` of an entry about an agent is the agent's, also in a turn of its user.  An
``agent_turn`` comes when the turn is over; its ``at`` is when the speech began.
"""


@frozen
class TimelineEntry:
    """One line of a session's timeline."""

    at: float
    """Unix seconds."""
    event: str
    """A key of `ENTRY_KEYS`."""
    data: Mapping[str, Any] = field(factory=dict[str, Any])


class EntryList(list[TimelineEntry]):
    """Collects the entries of one event, in order."""

    def add(self, at: float, event: str, /, **data: Any) -> None:
        """One more entry.  `at` is in Unix seconds, `event` a key of `ENTRY_KEYS`."""
        self.append(TimelineEntry(at, event, data))
