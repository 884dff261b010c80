"""`/metrics`: Prometheus' text, or OpenMetrics for who asks for it.

A scrape takes what it needs on the loop's thread in slices (`turns`), as plain numbers,
and makes the text of them in another thread: 500 rooms hold up nobody.  It asks no actor:
a session's state is immutable, and the one that its journal has now is read as it is, so
that a stuck session does not hold up a scrape either.

Every family is a row of `FAMILIES`, a histogram, or of the rooms.  Only gauges of live
rooms have a label that strangers choose; there are at most `ROOMS` of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, final

import trio
from attrs import Factory, define, field, frozen
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.requests import Request
from starlette.responses import Response

from actors.journal.backlog import Backlog
from actors.rooms.run_counters import Histogram, RunCounters
from actors.runtime import (
    ActorEnded,
    ActorSystem,
    Counters,
    Crashed,
    DeadLetter,
    Failed,
    GroupEscalated,
    Overran,
    Restarting,
    Signal,
)
from actors.session import QUALITIES, SessionState
from bridge.http.api.event_stream import EventSource
from bridge.http.api.query import asked
from bridge.http.server.exchange import App, Message
from bridge.http.server.routes import HttpRoute
from bridge.http.server.time_slices import TimeSlices
from bridge.livekit.heartbeat import Heartbeat
from bridge.livekit.server_clock import ServerClock
from bridge.output.harmless import harmless

PREFIX: Final = "room_actors_"
ROOMS: Final = 500
"""Rooms that have gauges of their own; `--max-rooms` is at most as many."""
NAME_LENGTH: Final = 128
"""Characters of a room's name as a label."""


# ---------------------------------------------------------------- what is counted here

ENDS: Final = ("handled", "dropped", "coalesced", "dead_lettered", "failed")
"""Of a message that was offered to a mailbox (`actors.runtime.Counters`)."""


@final
class RuntimeCounters:
    """What the runtime reports, counted.  `take` is for `ActorSystem.listen`."""

    def __init__(self) -> None:
        self.signals: Counter[tuple[type[Signal], str]] = Counter()
        """By role: the last part of an actor's path, `room` for the group of a room."""
        self.gone: Counter[tuple[str, str]] = Counter()
        """Messages of actors that are gone, by role and end."""

    def take(self, signal: Signal) -> None:
        if isinstance(signal, DeadLetter):
            return
        path = signal.supervisor if isinstance(signal, GroupEscalated) else signal.actor
        self.signals[type(signal), role_of(path)] += 1
        if isinstance(signal, ActorEnded) and signal.counters is not None:
            for end in ENDS:
                self.gone[role_of(path), end] += getattr(signal.counters, end)

    def of(self, kind: type[Signal]) -> dict[str, float]:
        return {role: count for (one, role), count in self.signals.items() if one is kind}


def role_of(path: str) -> str:
    """Who an actor is, whatever room it is of."""
    parts = path.split("/")
    return "room" if len(parts) == 3 and parts[1] == "rooms" else parts[-1] or "root"


@final
class Requests:
    """Counts the answers of an application."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()

    def around(self, inner: App) -> App:
        async def counted(
            scope: Message, receive: Callable[..., Any], send: Callable[..., Any]
        ) -> None:
            async def counting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.statuses[str(message["status"])] += 1
                await send(message)

            await inner(scope, receive, counting)

        return counted


# ---------------------------------------------------------------- what is read


class MeasuredWorker(Protocol):
    """What is measured of a worker."""

    @property
    def registered(self) -> bool: ...
    @property
    def max_rooms(self) -> int: ...


@frozen
class Sources:
    """Everything that has something to measure."""

    sessions: Callable[[], Iterable[SessionState]]
    """Of the rooms that are watched; each is read when a scrape gets to it."""
    tally: RunCounters
    vitals: RuntimeCounters
    system: ActorSystem
    backlog: Backlog
    worker: Callable[[], MeasuredWorker]
    webhooks: Mapping[str, int]
    webhooks_dropped: Callable[[], int]
    feed: EventSource
    requests: Requests
    server_clock: ServerClock = field(factory=ServerClock)
    heartbeat: Heartbeat = field(factory=Heartbeat)
    clock: Callable[[], float] = field(
        default=Factory(lambda self: self.server_clock.now, takes_self=True)
    )
    """Unix seconds on the clock of the sessions."""


@define
class LiveTotals:
    """The sessions that we are in, added up."""

    rooms: dict[str, tuple[float, ...]] = field(factory=dict[str, tuple[float, ...]])
    """By name, in the order of `ROOM_FAMILIES`."""
    sessions: int = 0
    people: int = 0
    talking: int = 0
    tracks: Counter[str] = field(factory=Counter[str])
    qualities: Counter[str] = field(factory=Counter[str])
    unwatched: int = 0
    """Rooms to which the connection is down."""

    def add(self, state: SessionState) -> None:
        self.sessions += 1
        self.people += state.current
        self.talking += len(state.speaking)
        self.unwatched += not state.watching
        for track in state.tracks.values():
            self.tracks[track.source] += 1
        for person in state.present.values():
            if person.counted and person.quality.level is not None:
                self.qualities[person.quality.level] += 1
        if len(self.rooms) < ROOMS:
            self.rooms[label_of(state.room)] = tuple(read(state) for _, _, read in ROOM_FAMILIES)


def label_of(room: str) -> str:
    """A room's name as the value of a label: short and harmless, and another for another room.

    A name that had to be changed for that gets the beginning of its SHA-256, because two that
    differ behind their 128th character, or in what does not print, are two rooms.
    """
    label = harmless(room, NAME_LENGTH)
    if label == room:
        return label
    digest = hashlib.sha256(room.encode(errors="surrogatepass")).hexdigest()
    return f"{harmless(room[:NAME_LENGTH])} #{digest[:8]}"


ROOM_FAMILIES: Final[tuple[tuple[str, str, Callable[[SessionState], float]], ...]] = (
    ("room_people", "People in a live room.", lambda state: state.current),
    ("room_tracks", "Tracks published in a live room.", lambda state: len(state.tracks)),
    ("room_talking", "People talking in a live room.", lambda state: len(state.speaking)),
    (
        "room_started_timestamp_seconds",
        "When the session of a live room began.",
        lambda state: state.started_at,
    ),
    (
        "room_watched",
        "1 while we are connected to a live room, else 0.",
        lambda state: float(state.watching),
    ),
)


@define
class Mailboxes:
    """The mailboxes of all actors, by role."""

    depth: Counter[str] = field(factory=Counter[str])
    deepest: dict[str, float] = field(factory=dict[str, float])
    ends: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])

    def add(self, path: str, counters: Counters) -> None:
        role = role_of(path)
        self.depth[role] += counters.queued
        self.deepest[role] = max(self.deepest.get(role, 0), counters.queued)
        for end in ENDS:
            self.ends[role, end] += getattr(counters, end)


@frozen
class Scrape:
    """What one scrape has seen."""

    live: LiveTotals
    mailboxes: Mailboxes
    now: float


# ---------------------------------------------------------------- the families

Values: TypeAlias = "float | Mapping[str, float] | Mapping[tuple[str, str], float]"


@frozen
class Family:
    """One family; its values are by label where it has one or two."""

    kind: Literal["gauge", "counter"]
    name: str
    about: str
    read: Callable[[Sources, Scrape], Values]
    labels: tuple[str, ...] = ()


def _load(sources: Sources, seen: Scrape) -> float:
    return min(1.0, seen.live.sessions / sources.worker().max_rooms)


def _store_lag(sources: Sources, seen: Scrape) -> float:
    written_at = sources.backlog.health.written_at
    return float("nan") if written_at is None else max(0.0, seen.now - written_at)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _quality_seconds(sources: Sources, _: Scrape) -> Mapping[str, float]:
    return dict(zip(QUALITIES, sources.tally.seconds, strict=False))


def _mailbox_ends(sources: Sources, seen: Scrape) -> Mapping[tuple[str, str], float]:
    return sources.vitals.gone + seen.mailboxes.ends


FAMILIES: Final = (
    # Rooms and people, now.
    Family("gauge", "rooms", "Rooms that are watched.", lambda _, n: n.live.sessions),
    Family(
        "gauge", "rooms_disconnected", "Rooms to which the connection is down.",
        lambda _, n: n.live.unwatched,
    ),
    Family("gauge", "people", "People in all rooms.", lambda _, n: n.live.people),
    Family("gauge", "people_talking", "People talking.", lambda _, n: n.live.talking),
    Family(
        "gauge", "people_quality", "People by connection quality.",
        lambda _, n: {level: n.live.qualities[level] for level in QUALITIES}, ("quality",),
    ),
    Family(
        "gauge", "tracks", "Tracks that are published.",
        lambda s, n: {source: n.live.tracks[source] for source in s.tally.tracks}, ("source",),
    ),
    # Rooms and people, since the start.
    Family(
        "counter", "events", "Entries of all timelines.", lambda s, _: s.tally.events, ("event",)
    ),
    Family("counter", "joins", "Joins, and who was there before; by the kind known then.",
           lambda s, _: s.tally.joins, ("kind",)),
    Family("counter", "leaves", "Leaves by LiveKit's reason.", lambda s, _: s.tally.leaves,
           ("reason",)),
    Family("counter", "sessions_ended", "Ends of sessions.", lambda s, _: s.tally.ends,
           ("reason",)),
    Family("counter", "tracks_published", "Publications.", lambda s, _: s.tally.tracks,
           ("source",)),
    Family("counter", "data_messages", "Data messages.", lambda s, _: s.tally.data_messages),
    Family("counter", "data_bytes", "Bytes of data messages.", lambda s, _: s.tally.data_bytes),
    Family("counter", "quality_seconds", "Seconds of people by connection quality.",
           _quality_seconds, ("quality",)),
    Family("counter", "talk_seconds", "Seconds that people talked.",
           lambda s, _: s.tally.seconds[-1]),
    # The actors.
    Family("gauge", "mailbox_depth", "Messages that wait, by actor.",
           lambda _, n: n.mailboxes.depth, ("actor",)),
    Family("gauge", "mailbox_depth_max", "Messages that wait in the fullest mailbox.",
           lambda _, n: n.mailboxes.deepest, ("actor",)),
    Family("counter", "mailbox_messages", "Messages by what became of them.",
           _mailbox_ends, ("actor", "end")),
    Family("counter", "actor_restarts", "Restarts.", lambda s, _: s.vitals.of(Restarting),
           ("actor",)),
    Family("counter", "actor_crashes", "Exceptions that left an actor.",
           lambda s, _: s.vitals.of(Crashed), ("actor",)),
    Family("counter", "actor_failures", "Actors that spent their restarts.",
           lambda s, _: s.vitals.of(Failed), ("actor",)),
    Family("counter", "actor_escalations", "Supervisors that spent their restarts.",
           lambda s, _: s.vitals.of(GroupEscalated), ("actor",)),
    Family("counter", "actor_overruns", "Actors that did not stop in time.",
           lambda s, _: s.vitals.of(Overran), ("actor",)),
    Family("counter", "dead_letters", "Messages that nobody read.",
           lambda s, _: s.system.dead_letters.total()),
    # The worker.
    Family("gauge", "worker_registered", "1 while LiveKit knows this worker, else 0.",
           lambda s, _: float(s.worker().registered)),
    Family("gauge", "worker_max_rooms", "Rooms that are watched at most.",
           lambda s, _: s.worker().max_rooms),
    Family("gauge", "worker_load_ratio", "Share of those that is watched.", _load),
    # Time.
    Family("gauge", "clock_offset_seconds",
           "How far this machine's clock is ahead of LiveKit's; NaN while unknown.",
           lambda s, _: _or_nan(s.server_clock.offset)),
    Family("gauge", "clock_uncertainty_seconds",
           "By how much that may be wrong, each way; NaN while unknown.",
           lambda s, _: _or_nan(s.server_clock.uncertainty)),
    Family("counter", "suspensions", "Times that this process did not run for seconds.",
           lambda s, _: s.heartbeat.count),
    Family("counter", "suspended_seconds", "Seconds of these.",
           lambda s, _: s.heartbeat.seconds),
    # The store.
    Family("gauge", "store_lag_seconds", "Age of the newest batch that is kept; NaN before any.",
           _store_lag),
    Family("gauge", "store_waiting_lines", "Lines that are not kept yet.",
           lambda s, _: s.backlog.waiting),
    Family("gauge", "store_trouble", "1 while the store cannot be written, else 0.",
           lambda s, _: float(bool(s.backlog.health.trouble))),
    Family("counter", "store_written_lines", "Lines kept.", lambda s, _: s.backlog.health.written),
    Family("counter", "store_over_size_sessions", "Sessions dropped because of --keep-size.",
           lambda s, _: s.backlog.health.over_size.sessions),
    Family("counter", "store_over_size_bytes", "Bytes of lines dropped because of --keep-size.",
           lambda s, _: s.backlog.health.over_size.bytes),
    Family("counter", "store_lost_lines", "Lines given up.", lambda s, _: s.backlog.health.lost),
    # HTTP.
    Family("counter", "webhooks", "LiveKit's webhooks by what became of them.",
           lambda s, _: dict(s.webhooks), ("outcome",)),
    Family("counter", "webhooks_dropped_by_server", "Webhooks that LiveKit gave up on.",
           lambda s, _: s.webhooks_dropped()),
    Family("counter", "http_requests", "Requests by the status of their answer.",
           lambda s, _: s.requests.statuses, ("status",)),
    Family("gauge", "event_listeners", "Clients of the event stream.",
           lambda s, _: s.feed.clients),
    Family("counter", "event_listeners_dropped", "Clients that could not follow.",
           lambda s, _: s.feed.dropped),
    Family("counter", "event_listeners_refused", "Clients for whom there was no place.",
           lambda s, _: s.feed.refused),
)  # fmt: skip
"""Names are without `PREFIX`, and counters' without `_total`."""

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[RunCounters], Histogram]], ...]] = (
    ("session_duration_seconds", "Of sessions that ended.", lambda tally: tally.duration),
    ("session_coverage_ratio", "Share of the time since our entry.", lambda tally: tally.coverage),
    ("event_lag_seconds", "From the SDK's callback to the fold.", lambda tally: tally.lag),
)


def names() -> frozenset[str]:
    """Every series' name, as a query has it."""
    found = {f"{PREFIX}{one.name}{'_total' * (one.kind == 'counter')}" for one in FAMILIES}
    found |= {PREFIX + name for name, _, _ in ROOM_FAMILIES}
    parts = ("_bucket", "_sum", "_count")
    return frozenset(found | {PREFIX + name + part for name, _, _ in HISTOGRAMS for part in parts})


def _metric(one: Family, values: Values) -> Metric:
    make = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
    if not isinstance(values, Mapping):
        return make(PREFIX + one.name, one.about, value=values)
    metric = make(PREFIX + one.name, one.about, labels=one.labels)
    for label, value in values.items():
        metric.add_metric([label] if isinstance(label, str) else label, value)
    return metric


def _room_metrics(rooms: Mapping[str, tuple[float, ...]]) -> Iterator[Metric]:
    for index, (name, about, _) in enumerate(ROOM_FAMILIES):
        metric = GaugeMetricFamily(PREFIX + name, about, labels=["room"])
        for room, values in rooms.items():
            metric.add_metric([room], values[index])
        yield metric


def _histogram(name: str, about: str, counts: list[int], one: Histogram, total: float) -> Metric:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*map(str, one.bounds), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return HistogramMetricFamily(PREFIX + name, about, buckets=buckets, sum_value=total)


@frozen
class _Collected:
    """A registry, for the one scrape."""

    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


# ---------------------------------------------------------------- a scrape


@final
class Metrics:
    """Gives the row."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._one_at_a_time = trio.Lock()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/metrics", self._answer),)

    async def _answer(self, request: Request) -> Response:
        asked(request)
        is_open = "application/openmetrics-text" in request.headers.get("accept", "").lower()
        text = await self.scrape(is_open=is_open)
        kind = openmetrics.CONTENT_TYPE_LATEST if is_open else CONTENT_TYPE_PLAIN_0_0_4
        return Response(text, headers={"content-type": kind, "vary": "accept"})

    async def scrape(self, *, is_open: bool) -> bytes:
        """Everything as text."""
        async with self._one_at_a_time:
            sources = self._sources
            seen = await self._look()
            values = [(one, _copy(one.read(sources, seen))) for one in FAMILIES]
            histograms = [
                (name, about, list(one.counts), one, one.sum)
                for name, about, of in HISTOGRAMS
                for one in (of(sources.tally),)
            ]

            def make() -> bytes:
                metrics = [_metric(*row) for row in values]
                metrics += _room_metrics(seen.live.rooms)
                metrics += [_histogram(*row) for row in histograms]
                registry: Any = _Collected(metrics)
                return (openmetrics.generate_latest if is_open else generate_latest)(registry)

            return await trio.to_thread.run_sync(make)

    async def _look(self) -> Scrape:
        sources, live, mailboxes = self._sources, LiveTotals(), Mailboxes()
        now, turns = sources.clock(), TimeSlices()
        for state in sources.sessions():
            await turns.may_pass()
            if not state.ended:
                sources.tally.advance(state, now)
                live.add(state)
        for path, counters in sources.system.mailbox_counters():
            await turns.may_pass()
            mailboxes.add(path, counters)
        return Scrape(live, mailboxes, now)


def _copy(values: Values) -> Values:
    return dict(values) if isinstance(values, Mapping) else values
