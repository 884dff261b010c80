"""The messages to the recorder, and its answer."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from actors.runtime import ReplyTo
from actors.session.recording_reports import RecordingRequest

Outcome: TypeAlias = Literal["started", "running", "stopped", "not_running", "failed"]
"""``running``: one of ours records the room already; ``not_running``: there is none to stop."""


@frozen
class RecordingResult:
    """The result of a start or a stop."""

    outcome: Outcome
    egress_id: str = ""
    error: str = ""
    """Why it failed, for a reader."""
    retry: bool = False
    """Another try may succeed."""


@frozen
class RecordRoom:
    """Record a room instance, unless a recording of ours runs there.

    `intent` is the key of the wish: the same key again, also after a restart, starts no second
    recording.  Answered when it records, or cannot: after a minute at most, where LiveKit answers
    at all.
    """

    room: str
    room_sid: str
    intent: str
    rule: str
    request: RecordingRequest
    reply_to: ReplyTo[RecordingResult]


@frozen
class EndRecording:
    """Stop what we record in a room instance."""

    room_sid: str
    rule: str
    reply_to: ReplyTo[RecordingResult]


RecorderMessage: TypeAlias = RecordRoom | EndRecording
