"""What a connection does after it has offered an event of the SDK.

The SDK's event says that something changed.  Afterwards tracks are subscribed or released, the room
instance is confirmed, recorders are looked for, and events are offered that the SDK does not have:
`Reconnecting`, `Reconnected`, `Resynced` and `RecordingChanged`.  All of it runs on the trio thread
in the step in which the event was offered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from attrs import evolve
from livekit import rtc
from livekit.rtc.room import EventTypes

from actors.rooms.room_port import RoomJob
from actors.session.events import (
    Reconnected,
    Reconnecting,
    RecordingChanged,
    Resynced,
    RoomEvent,
)
from actors.session.room_info import Roster
from bridge.livekit.rooms import sdk_values, seams
from bridge.livekit.rooms.instance_tracker import InstanceTracker, LookUp
from bridge.livekit.rooms.intake import Intake
from bridge.livekit.rooms.recorder_search import ListRecorders, RecorderSearch
from bridge.livekit.rooms.renewals import Renewals
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.subscriptions import Subscriptions
from bridge.livekit.rooms.track_measurer import MeasuredRoom, TrackMeasurer


class FollowUpOwner(Protocol):
    """The part of the rooms port that the follow-ups need."""

    options: SdkOptions
    look_up: LookUp | None
    list_recorders: ListRecorders | None

    def now(self) -> float:
        """Unix seconds."""
        ...

    def fault(self, name: str, error: BaseException) -> None:
        """Count something that failed where no caller can get the error."""
        ...


class FollowedConnection(Protocol):
    """The connection whose events are followed up."""

    @property
    def room(self) -> rtc.Room | None:
        """The SDK's room, once `connect` has returned."""
        ...

    @property
    def is_open(self) -> bool:
        """`Watching` was offered, and `Disconnected` was not."""
        ...

    @property
    def intake(self) -> Intake: ...

    def close(self, reason: str | None) -> None:
        """We are out of the room for good."""
        ...


class RoomFollowUps:
    """The follow-ups of one connection, with what they know of its room."""

    def __init__(
        self,
        connection: FollowedConnection,
        owner: FollowUpOwner,
        loop: asyncio.AbstractEventLoop,
        job: RoomJob,
    ) -> None:
        self._connection = connection
        self._owner = owner
        self._loop = loop
        self._recording = False
        """Whether the room was being recorded when that was last offered."""
        self.subscriptions: Final = self._make_subscriptions()
        self._measurer = self._make_measurer()
        self._instance = InstanceTracker(
            job.room,
            job.room_sid,
            loop=loop,
            look_up=owner.look_up,
            announce=self._announce_reconnected,
            fault=owner.fault,
        )
        self._recorders = RecorderSearch(
            job.room,
            owner.list_recorders,
            offer=self._offer,
            clock=owner.now,
            fault=owner.fault,
        )

    @property
    def room_sid(self) -> str:
        """The room instance that the connection is in, as far as it is certain."""
        return self._instance.room_sid

    def begin(self, room: rtc.Room, roster: Roster) -> None:
        """The connection is about to offer `Watching` with this roster."""
        self.subscriptions.visible = not room.local_participant.permissions.hidden
        self._instance.participants.update(one.sid for one in roster.participants)
        self._recording = room.is_recording

    def take_up(self, room: rtc.Room) -> None:
        """`Watching` was offered: subscribe, and look for recorders."""
        try:
            self.subscriptions.restore(room.remote_participants)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._owner.fault("subscribe", exc)
        self._recorders.begin(room)
        if self._measurer is not None:
            self._measurer.start()

    def stop_rechecks(self) -> None:
        """The connection is about to offer `Disconnected`: no `Reconnected` comes before it."""
        self._instance.cancel_recheck()

    def end(self) -> None:
        """`Disconnected` was offered."""
        self._recorders.end()
        if self._measurer is not None:
            self._measurer.close()
        self.subscriptions.close()

    def follow_up(self, name: EventTypes, *args: Any) -> None:
        """An event of the SDK was offered."""
        function = FOLLOW_UPS.get(name)
        if function is not None:
            function(self, *args)

    def roster(self) -> Roster:
        """Everyone who is there.  While the room instance is uncertain, only participants
        who are known from before the reconnect."""
        room = self._connection.room
        if room is None:
            return Roster(room_sid=self._instance.room_sid)
        room_sid = self._instance.current_sid(room)
        roster = sdk_values.roster_of(room, self._connection.intake.now(), room_sid)
        if not self._instance.reconnecting:
            return roster
        known = self._instance.participants
        return evolve(roster, participants=tuple(p for p in roster.participants if p.sid in known))

    def _offer(self, event: RoomEvent) -> None:
        self._connection.intake.offer(event)

    def _make_subscriptions(self) -> Subscriptions:
        options = self._owner.options
        if not options.pause_microphones:
            return Subscriptions(_leave_playing, most=options.max_tracks)
        renewals = None
        if options.renew_paused and seams.fits("pause_track"):
            renewals = Renewals(
                self._loop,
                connected=self.is_connected,
                get_stats=self.get_stats,
                fault=self._owner.fault,
            )
        return Subscriptions(seams.pause, renewals, seams.resume, options.max_tracks)

    def _make_measurer(self) -> TrackMeasurer | None:
        """None where nothing is measured."""
        plan = self._owner.options.measure
        if plan is None:
            return None
        measured = MeasuredRoom(
            subscriptions=self.subscriptions,
            participants=self._participants,
            connected=self.is_connected,
            get_stats=self.get_stats,
            offer=self._offer,
            now=self._now,
            fault=self._owner.fault,
        )
        return TrackMeasurer(plan, measured, self._loop)

    def _now(self) -> float:
        return self._connection.intake.now()

    def _participants(self) -> Mapping[str, rtc.RemoteParticipant]:
        room = self._connection.room
        return {} if room is None else room.remote_participants

    def is_connected(self) -> bool:
        """The room is open, and the SDK is not reconnecting."""
        room = self._connection.room
        return (
            room is not None
            and self._connection.is_open
            and room.connection_state == rtc.ConnectionState.CONN_CONNECTED
        )

    async def get_stats(self) -> list[Any]:
        """WebRTC's statistics of both peer connections."""
        room = self._connection.room
        if room is None:
            return []
        stats = await room.get_rtc_stats()
        return [*stats.publisher_stats, *stats.subscriber_stats]

    # --- one function for each event of the SDK ----------------------------------------

    def on_disconnected(self, reason: int) -> None:
        self._connection.close(sdk_values.reason_of(reason))

    def on_reconnecting(self) -> None:
        if self._instance.on_reconnecting():
            self._offer(Reconnecting(self._connection.intake.now()))

    def on_reconnected(self) -> None:
        """Subscribe again.  `Reconnected` is offered once the room instance is certain."""
        room = self._connection.room
        assert room is not None
        self.subscriptions.restore(room.remote_participants)
        self._instance.on_reconnected(room)

    def _announce_reconnected(self) -> None:
        if self._connection.is_open:
            roster = self.roster()
            self._instance.participants = {one.sid for one in roster.participants}
            self._recording = bool(roster.recording)
            self._offer(Reconnected(self._owner.now(), roster))

    def on_room_updated(self) -> None:
        """The room changed.  Its SID may be the awaited one, or a new one without a reconnect.

        Another SID without a reconnect (we were moved) is another room instance, too.
        """
        room = self._connection.room
        assert room is not None
        before = self._instance.room_sid
        if self._instance.uncertain:
            self._instance.confirm()
        elif not self._instance.reconnecting and self._instance.current_sid(room) != before:
            self._offer(Resynced(self._connection.intake.now(), self.roster()))
        if not self._instance.reconnecting and room.is_recording != self._recording:
            self._recording = room.is_recording
            self._offer(RecordingChanged(self._connection.intake.now(), self._recording))
        self._recorders.search()

    def on_participant(self, participant: rtc.RemoteParticipant) -> None:
        """A participant or one of its tracks came or went.

        Nothing can be requested while the connection is down.  `on_reconnected` does it then.
        """
        if self.is_connected():
            self.subscriptions.choose(participant)
        self._recorders.search()

    def _use_free_places(self) -> None:
        room = self._connection.room
        if room is not None and self.is_connected():
            self.subscriptions.use_free_places(room.remote_participants)

    def on_participant_joined(self, participant: rtc.RemoteParticipant) -> None:
        self._instance.on_participant(participant.sid)
        self.on_participant(participant)
        agents = self._connection.intake.agents
        if agents is not None:
            agents.joined(participant.identity)

    def on_participant_left(self, participant: rtc.RemoteParticipant) -> None:
        self.subscriptions.left(participant)
        self._use_free_places()
        self._recorders.left(participant.sid)
        agents = self._connection.intake.agents
        if agents is not None:
            agent = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
            agents.left(participant.identity, agent=agent)
        seams.release_participant(participant)

    def on_published(self, _publication: object, participant: rtc.RemoteParticipant) -> None:
        self.on_participant(participant)

    def on_unpublished(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        self.on_participant(participant)
        self._use_free_places()
        seams.release(publication, publication.track)

    def on_subscribed(
        self, _track: object, publication: rtc.RemoteTrackPublication, _participant: object
    ) -> None:
        self.subscriptions.subscribed(publication)

    def on_unsubscribed(
        self,
        track: object,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        self.subscriptions.unsubscribed(publication, participant)
        seams.release(track)


FOLLOW_UPS: Final[Mapping[EventTypes, Callable[..., None]]] = {
    "participant_connected": RoomFollowUps.on_participant_joined,
    "participant_disconnected": RoomFollowUps.on_participant_left,
    "track_published": RoomFollowUps.on_published,
    "track_unpublished": RoomFollowUps.on_unpublished,
    "track_subscribed": RoomFollowUps.on_subscribed,
    "track_unsubscribed": RoomFollowUps.on_unsubscribed,
    "reconnecting": RoomFollowUps.on_reconnecting,
    "reconnected": RoomFollowUps.on_reconnected,
    "room_updated": RoomFollowUps.on_room_updated,
    "moved": RoomFollowUps.on_room_updated,
    "disconnected": RoomFollowUps.on_disconnected,
}
"""The reaction to an event of the SDK, after the event was offered."""


def _leave_playing(_publication: rtc.RemoteTrackPublication) -> None:
    """A subscription that is not paused."""
