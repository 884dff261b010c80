"""The port to LiveKit's recording: start, stop, list.

Two things fill it: LiveKit's server API (`bridge.livekit.livekit_egress`) and a simulated egress
(`actors.simulation.simulated_egress`).  One contract suite in the tests runs over both, and over a
real egress where one is named.

LiveKit has no key that makes a start idempotent: two starts make two recordings.  So each start
carries the key of its intent, and `list_room` says which egress is of which intent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from attrs import evolve, frozen

from actors.session.recording_reports import RecordingRequest, StorageTarget
from actors.session.recordings import OVER

CLOCK_DIFFERENCE: Final = 60.0
"""Seconds by which the egress worker's clock may be behind ours."""


@frozen
class EgressState:
    """One egress, as LiveKit has it."""

    egress_id: str
    room_sid: str
    kind: str
    """LiveKit's name of the request: ``template``, ``room_composite``, ..."""
    status: str
    """LiveKit's EgressStatus in lower case."""
    intent: str = ""
    """The key that its start carried; empty where it does not say."""
    request: RecordingRequest | None = None
    """The request that made it, without secrets; None where we make no such request."""
    started_at: float | None = None
    """Unix seconds; None where it has not begun."""
    ended_at: float | None = None
    error: str | None = None
    file: str | None = None
    updated_at: float = 0.0
    """Unix seconds of this state."""

    @property
    def is_over(self) -> bool:
        """Nothing more will be recorded."""
        return self.status in OVER

    def is_of(self, intent: str, request: RecordingRequest, since: float) -> bool:
        """True if this is the egress of an intent of that time (Unix seconds).

        One that carries no key is ours if it records the same since then.
        """
        if self.intent:
            return self.intent == intent
        same = self.request == without_secrets(request)
        return same and self.updated_at >= since - CLOCK_DIFFERENCE


def without_secrets(request: RecordingRequest) -> RecordingRequest:
    """A request as LiveKit shows it: of a storage only where it is."""
    return evolve(
        request,
        outputs=tuple(
            one
            if one.storage is None
            else evolve(one, storage=StorageTarget(one.storage.service, one.storage.bucket, ""))
            for one in request.outputs
        ),
    )


class EgressPort(Protocol):
    """LiveKit's recording.  Every method may raise each `RoomControlError`."""

    async def start(self, room: str, request: RecordingRequest, intent: str) -> EgressState:
        """Start a recording.  Takes up to 30 s where no egress worker answers.

        `ControlUnsupported`: the server has no Redis.  `ControlRefused`: also where a secret of
        the request is not in the environment.
        """
        ...

    async def stop(self, egress_id: str) -> None:
        """Stop a recording.  `ControlNotFound` where it is over, or never was; `ControlTimedOut`
        where its worker does not answer."""
        ...

    async def list_room(self, room: str) -> Sequence[EgressState]:
        """The recordings of this room name of the last day, also those that are over."""
        ...

    async def look_up(self, egress_id: str) -> EgressState:
        """One recording, `ControlNotFound` where LiveKit does not know it."""
        ...
