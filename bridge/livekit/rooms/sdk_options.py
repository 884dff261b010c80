"""Options of the SDK.  Its own defaults are made for a client, not for an observer."""

from __future__ import annotations

from attrs import frozen

from bridge.livekit.rooms.subscriptions import MAX_TRACKS
from bridge.livekit.rooms.track_measurer import MeasurePlan


@frozen
class SdkOptions:
    """Switches, each with its reason.

    The figures are of 50 rooms with 540 events/s on two cores.
    """

    demux: bool = True
    """Take events from the native library's callback, by the handle of their room, past
    the SDK's queues and emitters.  Off: every room has the SDK's own queue and task,
    which costs Python twice as much an event."""

    native_logs: bool = False
    """Send every TRACE and DEBUG record of the native library through Python, which is
    the SDK's way: after 50 joins that keeps a core busy for 13 s.  The library is
    started once in a process, so the first one to start it decides."""

    gather_once: bool = True
    """Gather ICE candidates once and not for ever: 14 open files a room at the most while
    it is joined, not 70 to 90."""

    dual_peer_connection: bool = True
    """One peer connection each way, of which an observer uses one: joins three times
    faster than with one for both."""

    pause_microphones: bool = True
    """Stop the media of what we subscribe to; quality and speech come all the same.  On,
    a talking microphone costs 0.8 thousandths of a core, off 5 to 8."""

    renew_paused: bool = True
    """Subscribe to each paused track a second time, so that the server sends no silence for
    it (`bridge.livekit.rooms.renewals`).  Off, each mute brings up to 50 packets."""

    max_tracks: int = MAX_TRACKS
    """Tracks that are subscribed in one room at most: 0.27 MiB each."""

    measure: MeasurePlan | None = None
    """How tracks are measured; None: they are not."""
