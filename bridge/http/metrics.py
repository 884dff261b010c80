"""`/metrics`: Prometheus' text, or OpenMetrics for clients that ask for it.

A scrape takes what it needs on the loop's thread in time slices, as plain numbers, and makes the
text in another thread, so that 500 rooms hold nothing up.

Every family is a row of `FAMILIES`, a histogram, or of the rooms.  Only gauges of live rooms have a
label that strangers choose; there are at most `ROOMS` of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias, final

import trio
from attrs import frozen
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

from actors.rooms.histogram import Histogram
from actors.rooms.run_counters import RunCounters
from actors.runtime import (
    Crashed,
    Failed,
    GroupEscalated,
    Overran,
    Restarting,
    Signal,
)
from actors.session import QUALITIES
from actors.session.alerts import open_alerts
from bridge.http.agent_metrics import agent_metrics, agent_series, read_agents
from bridge.http.api.query import asked
from bridge.http.metric_sources import (
    ENDS,
    ROOM_FAMILIES,
    ROOM_ROLES,
    LiveTotals,
    Mailboxes,
    MeasuredWorker,
    Scrape,
    Sources,
    buckets_of,
)
from bridge.http.server.routes import HttpRoute
from bridge.http.server.time_slices import TimeSlices

PREFIX: Final = "room_actors_"

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


def _worker(sources: Sources) -> MeasuredWorker:
    assert sources.worker is not None
    return sources.worker()


def _load(sources: Sources, scrape: Scrape) -> float:
    most = _worker(sources).max_rooms
    return min(1.0, scrape.live.sessions / most) if most else 0.0


def _workers(sources: Sources, _: Scrape) -> Mapping[str, float]:
    """By state; nothing where one worker has a store of its own."""
    rows = sources.workers()
    if sources.worker is not None and not rows:
        return {}
    states = Counter("draining" if one.running and one.draining else one.state for one in rows)
    return {state: states[state] for state in ("running", "draining", "ended", "lost")}


def _store_lag(sources: Sources, scrape: Scrape) -> float:
    written_at = sources.backlog.health.written_at
    return float("nan") if written_at is None else max(0.0, scrape.now - written_at)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _quality_seconds(sources: Sources, _: Scrape) -> Mapping[str, float]:
    return dict(zip(QUALITIES, sources.run.seconds, strict=False))


def _mailbox_ends(sources: Sources, scrape: Scrape) -> Mapping[tuple[str, str], float]:
    ends = sources.runtime.ended + scrape.mailboxes.ends
    return {(role, end): ends[role, end] for role in _roles(sources, scrape) for end in ENDS}


def _roles(sources: Sources, scrape: Scrape) -> list[str]:
    """Actors that are there, those that have ended, and those of a room.

    Every counter of an actor starts at 0 with its role.  Prometheus' `increase` takes the first
    value of a series as its beginning, so a series that is born with a burst never shows it.
    """
    ended = (role for role, _ in sources.runtime.ended)
    return sorted({*ROOM_ROLES, *scrape.mailboxes.depth, *ended, *sources.runtime.roles})


def _signals(kind: type[Signal]) -> Callable[[Sources, Scrape], Mapping[str, float]]:
    def read(sources: Sources, scrape: Scrape) -> Mapping[str, float]:
        counts = sources.runtime.of(kind)
        return {role: counts.get(role, 0.0) for role in _roles(sources, scrape)}

    return read


FAMILIES: Final = (
    # Rooms and people, now.
    Family("gauge", "rooms", "Rooms that are watched.", lambda _, n: n.live.sessions),
    Family("gauge", "rooms_disconnected", "Rooms to which the connection is down.",
           lambda _, n: n.live.unwatched),
    Family("gauge", "people", "People in all rooms.", lambda _, n: n.live.people),
    Family("gauge", "people_talking", "People talking.", lambda _, n: n.live.talking),
    Family(
        "gauge", "people_quality", "People by connection quality.",
        lambda _, n: {level: n.live.qualities[level] for level in QUALITIES}, ("quality",),
    ),
    Family("gauge", "people_poor_audio", "People whose measured audio is poor.",
           lambda _, n: n.live.poor_audio),
    Family(
        "gauge", "tracks", "Tracks that are published.",
        lambda s, n: {source: n.live.tracks[source] for source in s.run.tracks}, ("source",),
    ),
    # Rooms and people, since the start.
    Family(
        "counter", "events", "Entries of all timelines.", lambda s, _: s.run.events, ("event",)
    ),
    Family("counter", "joins", "Joins, and who was there before; by the kind known then.",
           lambda s, _: s.run.joins, ("kind",)),
    Family("counter", "leaves", "Leaves by LiveKit's reason.", lambda s, _: s.run.leaves,
           ("reason",)),
    Family("counter", "joins_aborted", "Joins that ended before they were active, by reason.",
           lambda s, _: s.run.aborted, ("reason",)),
    Family("counter", "sessions_ended", "Ends of sessions.", lambda s, _: s.run.ends,
           ("reason",)),
    Family("counter", "tracks_published", "Publications.", lambda s, _: s.run.tracks,
           ("source",)),
    Family("counter", "data_messages", "Data messages.", lambda s, _: s.run.data_messages),
    Family("counter", "data_bytes", "Bytes of data messages.", lambda s, _: s.run.data_bytes),
    Family("counter", "quality_seconds", "Seconds of people by connection quality.",
           _quality_seconds, ("quality",)),
    Family("counter", "talk_seconds", "Seconds that people talked.",
           lambda s, _: s.run.seconds[-1]),
    Family("counter", "watched_seconds", "Seconds of sessions that were watched.",
           lambda s, _: s.run.watched),
    Family("counter", "gap_seconds", "Seconds of sessions in gaps: entered, and not watched.",
           lambda s, _: s.run.gaps),
    # Alerts.
    Family("gauge", "alerts_firing", "Alerts that fire, by rule.",
           lambda s, n: n.alerts_in("firing", s.alert_rules), ("rule",)),
    Family("gauge", "alerts_pending", "Alerts whose rule holds and waits for its time, by rule.",
           lambda s, n: n.alerts_in("pending", s.alert_rules), ("rule",)),
    Family("counter", "alert_episodes", "Alerts that fired, by rule.",
           lambda s, _: dict.fromkeys(s.alert_rules, 0.0) | s.run.alerts, ("rule",)),
    # The actors.
    Family("gauge", "mailbox_depth", "Messages that wait, by actor.",
           lambda _, n: n.mailboxes.depth, ("actor",)),
    Family("gauge", "mailbox_depth_max", "Messages that wait in the fullest mailbox.",
           lambda _, n: n.mailboxes.deepest, ("actor",)),
    Family("counter", "mailbox_messages", "Messages by what became of them.",
           _mailbox_ends, ("actor", "end")),
    Family("counter", "actor_restarts", "Restarts.", _signals(Restarting),
           ("actor",)),
    Family("counter", "actor_crashes", "Exceptions that left an actor.",
           _signals(Crashed), ("actor",)),
    Family("counter", "actor_failures", "Actors that spent their restarts.",
           _signals(Failed), ("actor",)),
    Family("counter", "actor_escalations", "Supervisors that spent their restarts.",
           _signals(GroupEscalated), ("actor",)),
    Family("counter", "actor_overruns", "Actors that did not stop in time.",
           _signals(Overran), ("actor",)),
    Family("counter", "dead_letters", "Messages that nobody read.",
           lambda s, _: s.system.dead_letters.total()),
    # The worker.
    Family("gauge", "worker_registered", "1 while LiveKit knows this worker, else 0.",
           lambda s, _: float(_worker(s).registered)),
    Family("gauge", "worker_max_rooms", "Rooms that are watched at most.",
           lambda s, _: _worker(s).max_rooms),
    Family("gauge", "worker_load_ratio", "Share of those that is watched.", _load),
    Family("gauge", "workers", "Workers of the database by state.", _workers, ("state",)),
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
    Family("counter", "store_refused_lines", "Lines dropped: another worker owns their room.",
           lambda s, _: s.backlog.health.refused),
    # HTTP.
    Family("counter", "webhooks", "LiveKit's webhooks by what became of them.",
           lambda s, _: dict(s.webhooks), ("outcome",)),
    Family("counter", "webhooks_dropped_by_server", "Webhooks that LiveKit gave up on.",
           lambda s, _: s.webhooks_dropped()),
    Family("counter", "agent_uploads", "Uploads of voice agents by what became of them.",
           lambda s, _: s.uploads(), ("outcome",)),
    Family("counter", "agent_uploaded_runs_dropped",
           "Runs whose waiting uploads were dropped for lack of memory.",
           lambda s, _: s.uploaded_runs_dropped()),
    Family("counter", "outlet_attempts", "Attempts to deliver webhooks, by what became of them.",
           lambda s, _: {(one.name, end): getattr(one.counts, end) for one in s.outlets()
                         for end in ("delivered", "failed")}, ("webhook", "result")),
    Family("gauge", "outlet_waiting", "Webhooks that are tried again later.",
           lambda s, _: {one.name: one.counts.waiting for one in s.outlets()}, ("webhook",)),
    Family("gauge", "outlet_dead", "Webhooks that were given up and are kept.",
           lambda s, _: {one.name: one.counts.dead for one in s.outlets()}, ("webhook",)),
    Family("gauge", "outlet_lag_seconds", "From the last delivered event to its delivery.",
           lambda s, _: {one.name: one.counts.lag for one in s.outlets()}, ("webhook",)),
    Family("counter", "http_requests", "Requests by the status of their answer.",
           lambda s, _: s.requests.statuses, ("status",)),
    Family("gauge", "event_listeners", "Clients of the event stream.",
           lambda s, _: s.events.clients),
    Family("counter", "event_listeners_dropped", "Clients that could not follow.",
           lambda s, _: s.events.dropped),
    Family("counter", "event_listeners_refused", "Clients for whom there was no place.",
           lambda s, _: s.events.refused),
)  # fmt: skip
"""Names are without `PREFIX`, and counters' without `_total`."""
EVERYWHERE: Final = frozenset({
    "mailbox_depth", "mailbox_depth_max", "mailbox_messages", "actor_restarts", "actor_crashes",
    "actor_failures", "actor_escalations", "actor_overruns", "dead_letters", "workers",
    "http_requests", "event_listeners", "event_listeners_dropped", "event_listeners_refused",
})  # fmt: skip
"""Families of a program that watches nothing too (`serve`).  It has no others: sums over all
programs stay right, and it does not look like a worker that is not registered."""

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[RunCounters], Histogram]], ...]] = (
    ("session_duration_seconds", "Of sessions that ended.", lambda run: run.duration),
    ("session_coverage_ratio", "Share of the time since our entry.", lambda run: run.coverage),
    (
        "session_entered_after_seconds",
        "From a room's first person to our entry, of sessions that ended.",
        lambda run: run.entry,
    ),
    ("first_media_seconds", "From a person's join to the first track.",
     lambda run: run.first_media),
    ("event_lag_seconds", "From the SDK's callback to the fold.", lambda run: run.lag),
    ("track_loss_ratio", "Lost packets of measured tracks that ended.", lambda run: run.loss),
    ("track_concealment_ratio", "Made-up share of the sound of measured tracks that ended.",
     lambda run: run.concealment),
    ("track_jitter_seconds", "Mean jitter of measured tracks that ended.", lambda run: run.jitter),
    ("track_mos", "Mean opinion score of measured tracks that ended.", lambda run: run.mos),
)  # fmt: skip


def names() -> frozenset[str]:
    """Every series' name, as a query has it."""
    series = {f"{PREFIX}{one.name}{'_total' * (one.kind == 'counter')}" for one in FAMILIES}
    series |= {PREFIX + name for name, _, _ in ROOM_FAMILIES} | agent_series(PREFIX)
    parts = ("_bucket", "_sum", "_count")
    return frozenset(series | {PREFIX + name + part for name, _, _ in HISTOGRAMS for part in parts})


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
    buckets = buckets_of(one.bounds, counts)
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
    """Gives the route of `/metrics`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._one_at_a_time = trio.Lock()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/metrics", self._answer),)

    async def _answer(self, request: Request) -> Response:
        asked(request)
        as_openmetrics = "application/openmetrics-text" in request.headers.get("accept", "").lower()
        text = await self.scrape(as_openmetrics=as_openmetrics)
        kind = openmetrics.CONTENT_TYPE_LATEST if as_openmetrics else CONTENT_TYPE_PLAIN_0_0_4
        return Response(text, headers={"content-type": kind, "vary": "accept"})

    async def scrape(self, *, as_openmetrics: bool) -> bytes:
        """Everything as text."""
        async with self._one_at_a_time:
            sources = self._sources
            scrape = await self._read()
            watches = sources.worker is not None
            values = [
                (one, _copy(one.read(sources, scrape)))
                for one in FAMILIES
                if watches or one.name in EVERYWHERE
            ]
            histograms = [
                (name, about, list(one.counts), one, one.sum)
                for name, about, of in (HISTOGRAMS if watches else ())
                for one in (of(sources.run),)
            ]

            agents = read_agents(sources.run.agents, sources.run.usage) if watches else None

            def make() -> bytes:
                metrics = [_metric(*row) for row in values]
                metrics += _room_metrics(scrape.live.rooms) if watches else ()
                metrics += [_histogram(*row) for row in histograms]
                metrics += [] if agents is None else agent_metrics(agents, PREFIX)
                registry: Any = _Collected(metrics)
                return (openmetrics.generate_latest if as_openmetrics else generate_latest)(
                    registry
                )

            return await trio.to_thread.run_sync(make)

    async def _read(self) -> Scrape:
        sources, live, mailboxes = self._sources, LiveTotals(), Mailboxes()
        now, slices = sources.clock(), TimeSlices()
        for state in sources.sessions():
            await slices.may_pass()
            if not state.ended:
                sources.run.advance(state, now)
                live.add(state)
        alerts = Counter[tuple[str, str]]()
        for state in sources.open_sessions():
            await slices.may_pass()
            for one in open_alerts((state,), sources.alert_rules):
                alerts[one.phase, one.rule] += 1
        for path, counters in sources.system.mailbox_counters():
            await slices.may_pass()
            mailboxes.add(path, counters)
        return Scrape(live, mailboxes, now, alerts)


def _copy(values: Values) -> Values:
    return dict(values) if isinstance(values, Mapping) else values
