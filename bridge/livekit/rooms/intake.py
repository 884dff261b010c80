"""The way of an event of one room: from a native thread to the session.

1. `arrived` runs on a thread of the native library.  It notes the time and puts the event
   into the room's queue.  Above `QUEUE_LIMIT`, messages are counted but not stored, and only
   the latest change of each kind is kept.
2. `_take` runs on the trio thread.  Frequent events are translated as they are
   (`sdk_events.RAW`).  All others drive the SDK's Room, which calls `on_sdk_event`.
3. `on_sdk_event` translates the SDK's event, drops what the roster has shown already, and
   offers the rest.  Then `follow_up` lets the connection react.

Each event is finished before the next event of this room is taken.  So the order is the
server's, and the Room never shows more or less than the offered events tell.

Streams of agents take another way: `bridge.livekit.rooms.agent_listener` puts their parts together
on the native thread, and its messages wait in the same queue.

A Room that drives itself (`SdkOptions.demux` off, or a lost seam) calls `on_sdk_event` only.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Final, TypeAlias

from attrs import frozen
from livekit import rtc
from livekit.rtc._proto import ffi_pb2, room_pb2
from livekit.rtc.room import EventTypes

from actors.rooms.room_port import OfferEvent
from actors.session.events import (
    MessagesDropped,
    ParticipantJoined,
    RoomEvent,
    TrackPublished,
    TrackSubscribed,
    TrackUnpublished,
)
from actors.session.room_info import Roster
from bridge.livekit.rooms import sdk_events, streams
from bridge.livekit.rooms.agent_listener import (
    AgentListener,
    AgentPacket,
    Arrival,
    Sender,
    topics_of,
)
from bridge.livekit.rooms.agent_speech import AgentSpeech
from bridge.livekit.rooms.agent_streams import HEADER, OPENED, PARTS, AgentStream
from bridge.livekit.rooms.inbox import Inbox, RoomQueue

QUEUE_LIMIT: Final = 2_000
"""Events of one room that may wait for the trio thread.  Above it, messages are only counted,
and of repeated changes only the newest is kept.  With LiveKit's largest messages (15 KB)
these are 30 MB.  Joins, leaves, publications and the state of the connection are always kept."""

QueuedEvent: TypeAlias = tuple[float, str, ffi_pb2.FfiEvent | Arrival]
"""When it arrived (Unix seconds), the name of its message, and the event."""
_MAKING: Final = Lock()
"""For the listeners of all rooms: each is made once."""
_AGENT: Final = "agent_packet"
"""Stands for the name where an agent's message waits."""


@frozen
class _Dropped:
    """The number of events of a room that were dropped since it was entered."""

    messages: int = 0
    changes: int = 0
    """Each was replaced by a newer change of the same subject."""
    attachments: int = 0

    def add(self, *, messages: int = 0, changes: int = 0, attachments: int = 0) -> _Dropped:
        return _Dropped(
            self.messages + messages, self.changes + changes, self.attachments + attachments
        )


def _merge(first: QueuedEvent, newest: QueuedEvent) -> QueuedEvent:
    """Make one change out of two of the same subject."""
    before, (_, name, event) = first[2], newest
    if name == sdk_events.ATTRIBUTES:
        assert isinstance(before, ffi_pb2.FfiEvent)
        assert isinstance(event, ffi_pb2.FfiEvent)
        sdk_events.merge_attributes(
            before.room_event.participant_attributes_changed,
            event.room_event.participant_attributes_changed,
        )
    return newest


class Intake(sdk_events.TranslationContext):
    """Takes the events of one room in, translates them and offers them.

    `clock` gives Unix seconds and is called on native threads too.  `follow_up` gets each of
    the SDK's events after it was offered.  `is_renewal` says of a track's SID whether we
    subscribe to it a second time.  `fault` gets what failed.
    """

    def __init__(
        self,
        offer: OfferEvent,
        *,
        identity: str,
        inbox: Inbox | None,
        clock: Callable[[], float],
        drive: Callable[[ffi_pb2.FfiEvent], None],
        follow_up: Callable[..., None],
        is_renewal: Callable[[str], bool],
        fault: Callable[[str, BaseException], None],
        log_payloads: bool,
        speech: AgentSpeech | None = None,
    ) -> None:
        self._offer = offer
        self._own_identity = identity
        self.queue: RoomQueue[QueuedEvent] | None = (
            None if inbox is None else inbox.queue(self._take, _merge)
        )
        """None where the Room drives itself."""
        self._clock = clock
        self._drive = drive
        self._follow_up = follow_up
        self._is_renewal = is_renewal
        self._fault = fault
        self._log_payloads = log_payloads
        self._room: rtc.Room | None = None
        self._open = False
        self._dropped = _Dropped()
        """Written by native threads."""
        self._reported = self._dropped
        """The part of `_dropped` that the session knows of."""
        self._arrived_at: float | None = None
        """When the event arrived that is being translated."""
        self.agents: AgentListener | None = None
        """None until the first stream of an agent: a room without any pays nothing."""
        self._speech = speech
        self._agent_topics = topics_of(speech)
        self._tracks: set[str] = set()
        """SIDs of the tracks that were offered, so that none is offered twice."""

    def begin(self, room: rtc.Room) -> None:
        """The room is open: events may be offered from here on."""
        self._room = room
        self._own_identity = room.local_participant.identity
        self._open = True

    def note_roster(self, roster: Roster) -> None:
        """Tracks that a roster shows are not offered once more as publications."""
        self._tracks.update(track.sid for one in roster.participants for track in one.tracks)

    def end(self) -> None:
        """Nothing is offered from here on."""
        self._open = False

    # --- what a translator may ask ------------------------------------------------

    @property
    def me(self) -> str:
        return self._own_identity

    @property
    def log_payloads(self) -> bool:
        return self._log_payloads

    def now(self) -> float:
        return self._clock() if self._arrived_at is None else self._arrived_at

    def sid_of(self, identity: str) -> str | None:
        assert self._room is not None
        participant = self._room.remote_participants.get(identity)
        return None if participant is None else participant.sid

    def _sender(self, identity: str) -> Sender:
        room = self._room
        participant = None if room is None else room.remote_participants.get(identity)
        if participant is None:
            return "unknown"
        agent = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        return "agent" if participant.kind == agent else "other"

    # --- on a native thread ---------------------------------------------------------

    def arrived(self, event: ffi_pb2.FfiEvent) -> None:
        """Queue an event of this room.  Called on a native thread.

        The time is taken here, so that a busy trio thread does not delay it.
        """
        queue = self.queue
        assert queue is not None
        name = event.room_event.WhichOneof("message")
        if name is None or name in sdk_events.NEEDLESS:
            if name in PARTS:
                self._take_part(event.room_event, name)
            return
        at = self._clock()
        if name in OPENED and self._is_taken(at, event.room_event, name):
            return
        item = (at, name, event)
        if len(queue) < QUEUE_LIMIT:
            queue.put(item)
        else:
            self._put_above_limit(queue, item)

    def _take_part(self, event: room_pb2.RoomEvent, name: str) -> None:
        if name == HEADER:
            if event.stream_header_received.header.topic in self._agent_topics:
                self._listener().take_part(self._clock(), event, name)
        elif self.agents is not None:
            self.agents.take_part(self._clock(), event, name)

    def _is_taken(self, at: float, event: room_pb2.RoomEvent, name: str) -> bool:
        """True for a stream that the SDK's Room does not get: one of an agent, or one that nobody
        reads.  A transcription opens one for every few words, which would wake the trio thread."""
        topic = getattr(event, name).reader.info.topic
        if topic in self._agent_topics:
            return self._listener().is_taken(at, event, name)
        if streams.is_message(topic):
            return False
        streams.discard(event, name)
        return True

    def _listener(self) -> AgentListener:
        """The listener to agents, made when it is needed.  Called on any thread."""
        with _MAKING:
            if self.agents is None:
                self.agents = AgentListener(
                    self._sender, self._put_packet, self.offer, self._speech
                )
            return self.agents

    def _put_packet(self, at: float, packet: Arrival) -> None:
        """Queue a message of an agent.  Called on a native thread."""
        queue = self.queue
        if queue is not None and len(queue) < QUEUE_LIMIT:
            queue.put((at, _AGENT, packet))

    def _put_above_limit(self, queue: RoomQueue[QueuedEvent], item: QueuedEvent) -> None:
        _, name, event = item
        assert isinstance(event, ffi_pb2.FfiEvent)
        subject = sdk_events.subject_of(event.room_event, name)
        if subject is not None:
            if queue.put_latest(subject, item):
                self._dropped = self._dropped.add(changes=1)
        elif name in streams.MESSAGES:
            kind = streams.discard(event.room_event, name)
            if kind == "message":
                self._dropped = self._dropped.add(messages=1)
            elif kind == "attachment":
                self._dropped = self._dropped.add(attachments=1)
        else:
            queue.put(item)

    # --- on the trio thread -----------------------------------------------------------

    def _take(self, item: QueuedEvent) -> None:
        self._arrived_at, name, event = item
        if self._reported is not self._dropped:
            self._report_dropped()
        translator = sdk_events.RAW.get(name)
        try:
            if isinstance(event, AgentPacket | AgentStream):
                self._listener().take(self._arrived_at, event)
            elif translator is not None:
                translated = translator(self, getattr(event.room_event, name))
                if translated is not None:
                    self.offer(translated)
            elif name == "text_stream_opened" and streams.is_correction(event.room_event, name):
                streams.discard(event.room_event, name)
            else:
                self._drive(event)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._fault(name, exc)
        finally:
            self._arrived_at = None

    def _report_dropped(self) -> None:
        before, self._reported = self._reported, self._dropped
        self.offer(
            MessagesDropped(
                self.now(),
                self._reported.messages - before.messages,
                self._reported.changes - before.changes,
                attachments=self._reported.attachments - before.attachments,
            )
        )

    def on_sdk_event(self, name: EventTypes, *args: Any) -> None:
        """Translate and offer one of the SDK's events, then follow it up.

        `*args` is the signature that is cheapest for the SDK to call.
        """
        if not self._open:
            return
        try:
            translator = sdk_events.TRANSLATORS.get(name)
            if translator is not None:
                event = translator(self, *args)
                if event is not None and self._is_new(event):
                    self.offer(event)
            self._follow_up(name, *args)
        except Exception as exc:  # noqa: BLE001  the SDK would swallow it
            self._fault(name, exc)

    def _is_new(self, event: RoomEvent) -> bool:
        """False for a track that the roster has shown, or that was subscribed already."""
        match event:
            case TrackSubscribed():
                return not self._is_renewal(event.track_sid)
            case TrackPublished():
                if event.track.sid in self._tracks:
                    return False
                self._tracks.add(event.track.sid)
            case TrackUnpublished():
                self._tracks.discard(event.track_sid)
            case ParticipantJoined():
                self._tracks.update(track.sid for track in event.participant.tracks)
            case _:
                pass
        return True

    def offer(self, event: RoomEvent) -> None:
        """Offer an event to the session, while the room is open."""
        if self._open:
            try:
                self._offer(event)
            except Exception as exc:  # noqa: BLE001  counted and logged
                self._fault("offer", exc)
