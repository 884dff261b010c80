"""One stay of an observer in a simulated room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, final

import trio

from actors.rooms.room_port import OfferEvent, OpenRoom, SendOutcome
from actors.session.events import (
    DataReceived,
    Disconnected,
    RoomEvent,
    TrackSubscribed,
    Watching,
)
from actors.session.room_info import Roster, TrackSource
from actors.simulation.simulated_person import SimulatedPerson, format_of

if TYPE_CHECKING:
    from actors.simulation.simulated_rooms import SimulatedRoom

WATCHED: Final[tuple[TrackSource, ...]] = ("microphone", "unknown", "camera", "screen")
"""What a watcher takes of a person, the first of these that there is."""


@final
class Watcher(OpenRoom):
    """One stay of an observer in a simulated room.  Hidden: not in anybody's roster."""

    def __init__(self, room: SimulatedRoom, offer: OfferEvent) -> None:
        self._room = room
        self._offer = offer
        self._out = trio.Event()
        self._reason: str | None = None
        self._last = Roster(room_sid=room.sid)
        self.watched: dict[str, str] = {}
        """Identity to the SID of the track that is taken from this person."""
        self.tell(Watching(room.now(), self.roster()))
        room.watchers.append(self)
        for person in room.people.values():
            self.watch(person)

    def roster(self) -> Roster:
        if not self._out.is_set():
            self._last = self._room.roster()
        return self._last

    async def video_frames(self, track_sids: frozenset[str]) -> Mapping[str, int]:
        await trio.lowlevel.checkpoint()
        people = self._room.people.values()
        return {sid: one.frames_of(sid) for one in people for sid in track_sids & set(one.tracks)}

    async def send_text(
        self, text: str, *, topic: str, identities: Sequence[str] = ()
    ) -> SendOutcome:
        outcome = await self._room.stream_outcome()
        if outcome == "not sent" or self._out.is_set():
            return "not sent"
        self._room.text_sent(text)
        data = text.encode()
        for person in self._room.people.values():
            if not identities or person.identity in identities:
                person.received.append((topic, data))
        for watcher in () if identities else tuple(self._room.watchers):
            if watcher is not self:
                now, size = self._room.now(), len(data)
                watcher.tell(DataReceived(now, None, topic, size, format_of(data), stream=True))
        return outcome

    async def closed(self) -> str | None:
        await self._out.wait()
        return self._reason

    def tell(self, event: RoomEvent) -> None:
        if not self._out.is_set():
            self._offer(event)

    def watch(self, person: SimulatedPerson) -> None:
        """Take one track of this person, the best there is, as the real connection does."""
        ranked = sorted(
            (WATCHED.index(track.source), sid)
            for sid, track in person.tracks.items()
            if track.source in WATCHED
        )
        watched = self.watched.get(person.identity)
        best = ranked[0] if ranked else None
        if best is None:
            self.watched.pop(person.identity, None)
        elif watched not in person.tracks or WATCHED.index(person.tracks[watched].source) > best[0]:
            self.watched[person.identity] = best[1]
            self.tell(TrackSubscribed(self._room.now(), person.identity, best[1]))

    def forget(self, identity: str) -> None:
        self.watched.pop(identity, None)

    def leave(self, reason: str | None) -> None:
        """Out of the room for good; again is harmless."""
        if self._out.is_set():
            return
        self.roster()
        self._reason = reason
        self.tell(Disconnected(self._room.now(), reason))
        self._out.set()
        self._room.watchers.remove(self)
