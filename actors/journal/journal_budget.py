"""A bound for what participants can put into a session's journal.

Everybody in a room may send messages and change metadata as fast as the server accepts them.
A session therefore has a budget of bytes a minute.  Beyond it

* messages are counted only, with their bytes, and so are attachments, without them;
* of changes (names, metadata, attributes, mutes, quality, speakers) the newest of each
  waits for the next minute, and those that it overtook are counted;
* data tracks are counted only: anybody can publish hundreds of them a second;
* messages of agents are counted only;
* joins, leaves, tracks of media and rosters are recorded as always, but without metadata and
  attributes.

The counts become a `MessagesDropped`, once a second at least.  The budget reads no clock: its
minutes are those of the events.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final, final, get_args

from attrs import evolve

from actors.session.agent_reports import AgentMessage
from actors.session.bounds import MAX_DATA_TRACKS
from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    ParticipantJoined,
    ParticipantLeft,
    QualityChanged,
    Reconnected,
    Resynced,
    RoomEvent,
    SpeakersChanged,
    TrackMuted,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.room_info import ParticipantInfo
from actors.session.texts import cut_attributes, size
from actors.session.webhook_reports import WebhookJoinAborted, WebhookJoined, WebhookLeft

MOST_BYTES: Final = 4 << 20
"""Bytes that a session may write in a minute: about 20,000 messages without content."""
WINDOW: Final = 60.0
EVERY: Final = 1.0
"""Seconds between two records of what is counted."""

_SUBJECTS: Final[Mapping[type[RoomEvent], Callable[[Any], Hashable]]] = {
    NameChanged: lambda event: ("name", event.identity),
    MetadataChanged: lambda event: ("metadata", event.identity),
    AttributesChanged: lambda event: ("attributes", event.identity),
    QualityChanged: lambda event: ("quality", event.identity),
    TrackMuted: lambda event: ("mute", event.track_sid),
    TrackUnmuted: lambda event: ("mute", event.track_sid),
    SpeakersChanged: lambda _: "speakers",
}
"""Changes, and what each says the newest of.  A room's metadata is its owner's, not theirs."""

_FREQUENT: Final = frozenset({DataReceived, *_SUBJECTS, *get_args(AgentMessage)})
"""Events that bring neither texts of a participant nor the end of what waits."""

_ROSTERS: Final = (Watching, Resynced, Reconnected)
_OF_ONE_PERSON: Final = (ParticipantJoined, WebhookJoined, WebhookLeft, WebhookJoinAborted)
"""Events that bring texts of participants: of everybody, of one."""

_OF_A_PERSON: Final = ("name", "metadata", "attributes", "quality")


@final
class JournalBudget:
    """The budget of one journal.  The journal records what `admit` gives, and calls `spend`."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        """Bytes."""
        self._since: float | None = None
        """Unix seconds when this minute began."""
        self._spent = 0
        self._newest: dict[Hashable, RoomEvent] = {}
        """Changes that wait for the next minute."""
        self._data_tracks: set[str] = set()
        """SIDs of data tracks whose publication was recorded: their end is recorded too."""
        self._messages = self._bytes = self._changes = self._attachments = 0
        """These counts are not recorded yet."""
        self._counting_since = 0.0
        """Unix seconds when the first of these came."""

    def spend(self, cost: int) -> None:
        """So many bytes were recorded."""
        self._spent += cost

    @property
    def due(self) -> float | None:
        """Unix seconds when the next event is wanted, so that nothing waits for ever."""
        if self._counts:
            return self._counting_since + EVERY
        return None if self._since is None or not self._newest else self._since + WINDOW

    def admit(self, event: RoomEvent) -> Iterator[RoomEvent]:
        """Give the records that `event` leads to.  Record each one before asking for the next."""
        at, since = event.at, self._since
        if (
            type(event) in _FREQUENT
            and since is not None
            and since <= at < since + WINDOW
            and self._spent < self._most
            and not self._counts
        ):
            yield event  # The rules below would do the same, for four times the price.
            return
        if since is None or at >= since + WINDOW or at < since:  # clocks are set back
            self._since, self._spent = at, 0
            yield from self._release()
        if self._is_beyond(event):
            self._count(event)
            yield from self._release_counts(at)
            return
        yield from self._release_counts(at, now=True)
        self._give_up_outdated(event)
        self._note_data_track(event)
        yield self._without_texts(event)

    def rest(self, at: float) -> Iterator[RoomEvent]:
        """The last records before the end of the session: nothing is left uncounted."""
        self._give_up(tuple(self._newest), at)
        yield from self._release_counts(at, now=True)

    # ------------------------------------------------------------ what is beyond

    @property
    def _is_spent(self) -> bool:
        return self._spent >= self._most

    @property
    def _counts(self) -> bool:
        return bool(self._messages or self._changes or self._attachments)

    def _is_beyond(self, event: RoomEvent) -> bool:
        if not self._is_spent:
            return False
        if isinstance(event, DataTrackUnpublished):
            return event.track_sid not in self._data_tracks
        counted = DataReceived | AttachmentReceived | DataTrackPublished | AgentMessage
        return isinstance(event, counted) or type(event) in _SUBJECTS

    def _note_data_track(self, event: RoomEvent) -> None:
        if isinstance(event, DataTrackUnpublished):
            self._data_tracks.discard(event.track_sid)
        elif isinstance(event, DataTrackPublished) and len(self._data_tracks) < MAX_DATA_TRACKS:
            self._data_tracks.add(event.track_sid)

    def _count(self, event: RoomEvent) -> None:
        if isinstance(event, DataReceived):
            self._note(event.at, messages=1, length=event.size)
            return
        if isinstance(event, AttachmentReceived):
            self._note(event.at, attachments=1)
            return
        if isinstance(event, DataTrackPublished | DataTrackUnpublished | AgentMessage):
            self._note(event.at, changes=1)
            return
        subject = _SUBJECTS[type(event)](event)
        before = self._newest.pop(subject, None)
        if before is not None:
            self._note(event.at, changes=1)
            if isinstance(event, AttributesChanged) and isinstance(before, AttributesChanged):
                event = evolve(event, changed=cut_attributes({**before.changed, **event.changed}))
        self._newest[subject] = event

    def _note(
        self,
        at: float,
        *,
        messages: int = 0,
        length: int = 0,
        changes: int = 0,
        attachments: int = 0,
    ) -> None:
        if not self._counts:
            self._counting_since = at
        self._messages += messages
        self._bytes += length
        self._changes += changes
        self._attachments += attachments

    def _release_counts(self, at: float, *, now: bool = False) -> Iterator[RoomEvent]:
        """The record of what was counted, where it is time for one."""
        since = self._counting_since
        if self._counts and (now or at >= since + EVERY or at < since):
            dropped = MessagesDropped(
                at, self._messages, self._changes, self._bytes, self._attachments
            )
            self._messages = self._bytes = self._changes = self._attachments = 0
            yield dropped

    def _release(self) -> Iterator[RoomEvent]:
        """Changes that waited, as many as there is room for now."""
        while self._newest and not self._is_spent:
            yield self._newest.pop(next(iter(self._newest)))

    def _give_up_outdated(self, event: RoomEvent) -> None:
        """Give up older changes that `event` contains or makes meaningless."""
        if not self._newest:
            return  # As nearly always.
        if isinstance(event, Watching | Resynced | Reconnected | Disconnected):
            self._give_up(tuple(self._newest), event.at)
        elif isinstance(event, ParticipantLeft | ParticipantJoined):
            who = (
                event.identity
                if isinstance(event, ParticipantLeft)
                else (event.participant.identity)
            )
            self._give_up(tuple((what, who) for what in _OF_A_PERSON), event.at)
        elif isinstance(event, TrackUnpublished):
            self._give_up((("mute", event.track_sid),), event.at)

    def _give_up(self, subjects: tuple[Hashable, ...], at: float) -> None:
        for subject in subjects:
            if self._newest.pop(subject, None) is not None:
                self._note(at, changes=1)

    # ------------------------------------------------------------ texts

    def _without_texts(self, event: RoomEvent) -> RoomEvent:
        """`event` without the metadata and attributes that exceed the budget."""
        # A union of classes in the call would be made anew for each event: 1.5 µs.
        if isinstance(event, _ROSTERS):
            return self._roster_without(event)
        if self._is_spent and isinstance(event, _OF_ONE_PERSON):
            return evolve(event, participant=self._bare(event.participant, event.at))
        return event

    def _roster_without(self, event: Watching | Resynced | Reconnected) -> RoomEvent:
        room, people = self._most - self._spent, list[ParticipantInfo]()
        for who in event.roster.participants:
            room -= _text(who)
            people.append(self._bare(who, event.at) if room < 0 else who)
        if room >= 0:
            return event
        return evolve(event, roster=evolve(event.roster, participants=tuple(people)))

    def _bare(self, who: ParticipantInfo, at: float) -> ParticipantInfo:
        if not _text(who):
            return who
        self._note(at, changes=1)
        return evolve(who, metadata=None, attributes=None)


def _text(who: ParticipantInfo) -> int:
    attributes = who.attributes or {}
    return size(who.metadata or "") + sum(
        size(key) + size(value) for key, value in attributes.items()
    )
