"""Generated rooms with two witnesses: the events of the room itself, and LiveKit's webhooks.

A world is drawn first: the visits and their times.  An agent in it misses what a real one
misses: people who publish nothing are announced on a tick of 3 s, so short visits are never seen
(docs/livekit-facts.md#batch-tick).
Webhooks have a clock of whole seconds and come late, doubled or not at all.  Times are seconds
after `T0`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor
from typing import Final

from attrs import frozen
from hypothesis import strategies as st

from actors.session import (
    Disconnected,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    RoomEvent,
    Roster,
    Tick,
    TrackInfo,
    TrackPublished,
    TrackUnpublished,
    Watching,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookTrack,
)
from tests.session.session_story import LEFT, T0

TICK: Final = 3.0
CLOSED: Final = 120.0
"""The time at which the room is closed: everybody left before."""
LATEST: Final = 29.0
"""The greatest delay of a webhook."""
DELAY: Final = 0.02
"""The delay with which the room reports people who publish."""


@frozen
class Stay:
    identity: str
    sid: str
    start: float
    end: float
    publishes: bool

    def there(self, at: float) -> bool:
        return self.start <= at < self.end

    @property
    def track(self) -> TrackInfo:
        return TrackInfo(f"TR_{self.sid}", "audio", "microphone")

    def info(self, at: float | None = None) -> ParticipantInfo:
        """The participant as a roster shows it; without a time, as a webhook does."""
        tracks = (self.track,) if self.publishes and at is not None else ()
        return ParticipantInfo(self.identity, self.sid, T0 + self.start, tracks=tracks)

    def reports(self) -> Iterator[tuple[float, type[WebhookReport]]]:
        yield self.start, WebhookJoined
        if self.publishes:
            yield self.start, WebhookTrack
            yield self.end, WebhookTrack
        yield self.end, WebhookLeft


@frozen
class World:
    stays: tuple[Stay, ...]

    def of(self, identity: str) -> list[Stay]:
        return [stay for stay in self.stays if stay.identity == identity]

    @property
    def identities(self) -> list[str]:
        return list(dict.fromkeys(stay.identity for stay in self.stays))

    def watched(self, start: float, stop: float) -> list[RoomEvent]:
        """The events of an agent that is in the room from `start` to `stop`."""
        there = tuple(stay.info(start) for stay in self.stays if stay.there(start))
        events: list[RoomEvent] = []
        for stay in self.stays:
            if stay.publishes:
                events.extend(_publisher_events(stay, start))
        for identity in self.identities:
            events.extend(self._subscriber_events(identity, start, stop))
        events = sorted((e for e in events if e.at < T0 + stop), key=lambda e: e.at)
        return [Watching(T0 + start, Roster("RM_1", "", there)), *events]

    def _subscriber_events(self, identity: str, start: float, stop: float) -> Iterator[RoomEvent]:
        stays = [stay for stay in self.of(identity) if not stay.publishes]
        known = next((stay for stay in stays if stay.there(start)), None)
        at = start + TICK / 2
        while at < stop:
            now = next((stay for stay in stays if stay.there(at)), None)
            if known is not None and now is not known:
                yield ParticipantLeft(T0 + at, identity, known.sid, LEFT if now is None else None)
            if now is not None and now is not known:
                yield ParticipantJoined(T0 + at, now.info())
            known, at = now, at + TICK


def _publisher_events(stay: Stay, start: float) -> Iterator[RoomEvent]:
    identity = stay.identity
    if stay.start > start:
        yield ParticipantJoined(T0 + stay.start + DELAY, stay.info())
        yield TrackPublished(T0 + stay.start + DELAY, identity, stay.track)
    if stay.end > start:
        yield TrackUnpublished(T0 + stay.end + DELAY, identity, stay.track.sid)
        yield ParticipantLeft(T0 + stay.end + DELAY, identity, stay.sid, LEFT)


def report_of(stay: Stay, kind: type[WebhookReport], happened: float, late: float) -> WebhookReport:
    at, sent_at = T0 + happened + late, float(floor(T0 + happened))
    if kind is WebhookJoined:
        return WebhookJoined(at, sent_at, stay.info())
    if kind is WebhookLeft:
        return WebhookLeft(at, sent_at, stay.info(), LEFT)
    return WebhookTrack(at, sent_at, stay.identity, stay.sid, stay.track, happened == stay.start)


_moments = st.integers(0, int(CLOSED * 10) - 1).map(lambda tenth: tenth / 10)
_latenesses = st.one_of(st.floats(0.02, 0.15), st.floats(0.02, 3.0), st.floats(0.02, LATEST))


@st.composite
def worlds(draw: st.DrawFn, longest_blindness: bool = True) -> World:
    """`longest_blindness`: with visits and absences that an agent cannot see."""
    stays: list[Stay] = []
    for number in range(draw(st.integers(1, 4))):
        identity, publishes = f"p{number}", draw(st.booleans())
        times = sorted(draw(st.lists(_moments, unique=True, min_size=2, max_size=8)))
        apart = 0.0 if longest_blindness else 2 * TICK
        for start, end in zip(times[::2], times[1::2], strict=False):
            ended = stays[-1].end if stays and stays[-1].identity == identity else -apart
            if end - start > apart and start - ended >= apart:
                stays.append(Stay(identity, f"PA_{number}_{start}", start, end, publishes))
    return World(tuple(stays))


@st.composite
def webhooks(draw: st.DrawFn, world: World, complete: bool) -> list[WebhookReport]:
    """The webhooks of the server, late and doubled; some are lost unless `complete`."""
    events: list[WebhookReport] = []
    for stay in world.stays:
        for happened, kind in stay.reports():
            times = draw(st.sampled_from([1, 1, 2] if complete else [0, 1, 2]))
            events.extend(report_of(stay, kind, happened, draw(_latenesses)) for _ in range(times))
    if complete or draw(st.booleans()):
        late = draw(_latenesses)
        events.append(WebhookRoomFinished(T0 + CLOSED + late, float(floor(T0 + CLOSED))))
    return events


def mixed(*stories: list[RoomEvent] | list[WebhookReport]) -> list[RoomEvent]:
    """All of them in the order in which we received them."""
    return sorted((event for story in stories for event in story), key=lambda event: event.at)


def over() -> list[RoomEvent]:
    """The events of an agent when the room is closed, and time until all is confirmed."""
    return [Disconnected(T0 + CLOSED + DELAY, "room_closed"), Tick(T0 + CLOSED + 2 * LATEST)]
