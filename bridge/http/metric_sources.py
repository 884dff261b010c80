"""The sources of `/metrics`: counters of the run, and sums over the live sessions.

A scrape asks no actor.  It reads the newest state of each session, which is an immutable value.  A
stuck session therefore does not delay a scrape.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol, final

from attrs import Factory, define, field, frozen

from actors.journal.backlog import Backlog
from actors.journal.session_reader import WorkerRow
from actors.rooms.run_counters import RunCounters
from actors.runtime import (
    ActorEnded,
    ActorSystem,
    Counters,
    DeadLetter,
    GroupEscalated,
    Signal,
)
from actors.session import SessionState
from actors.session.measurement import poor_microphones
from bridge.http.api.event_stream import EventSource
from bridge.http.server.exchange import App, Message
from bridge.livekit.heartbeat import Heartbeat
from bridge.livekit.server_clock import ServerClock
from bridge.output.harmless import harmless

ROOMS: Final = 500
"""Rooms that have gauges of their own; `--max-rooms` is at most as many."""
NAME_LENGTH: Final = 128
"""Characters of a room's name as a label."""

# ---------------------------------------------------------------- what is counted here

ROOM_ROLES: Final = ("room", "connection", "session", "monitor")
"""Roles of the actors that come and go with rooms and jobs."""
GROUPS: Final = {"rooms": "room", "monitors": "monitor"}
"""Supervisors whose children are named by rooms and jobs, and the role of such a child."""
ENDS: Final = ("handled", "dropped", "coalesced", "dead_lettered", "failed")
"""Of a message that was offered to a mailbox (`actors.runtime.Counters`)."""


@final
class RuntimeCounters:
    """Counters of the runtime's reports.  `take` is for `ActorSystem.listen`."""

    def __init__(self) -> None:
        self.signals: Counter[tuple[type[Signal], str]] = Counter()
        """By role: the last part of an actor's path, `room` for the group of a room."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """Messages of actors that have ended, by role and end."""

    def take(self, signal: Signal) -> None:
        if isinstance(signal, DeadLetter):
            return
        path = signal.supervisor if isinstance(signal, GroupEscalated) else signal.actor
        self.signals[type(signal), role_of(path)] += 1
        if isinstance(signal, ActorEnded) and signal.counters is not None:
            for end in ENDS:
                self.ended[role_of(path), end] += getattr(signal.counters, end)

    @property
    def roles(self) -> set[str]:
        """Roles of actors that a signal named."""
        return {role for _, role in self.signals}

    def of(self, kind: type[Signal]) -> dict[str, float]:
        return {role: count for (one, role), count in self.signals.items() if one is kind}


def role_of(path: str) -> str:
    """An actor's role, which is the same in every room and for every job."""
    parts = path.split("/")
    if len(parts) == 3 and parts[1] in GROUPS:
        return GROUPS[parts[1]]
    return parts[-1] or "root"


STATUSES: Final = ("200", "304", "400", "401", "403", "404", "429", "500", "503")
"""Statuses that are counted from 0 on; others begin with their first answer."""


@final
class Requests:
    """Counts the answers of an application."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))

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
    """The measured values of a worker."""

    @property
    def registered(self) -> bool: ...
    @property
    def max_rooms(self) -> int: ...


class OutletCounters(Protocol):
    """What is counted of an endpoint of webhooks."""

    @property
    def delivered(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def dead(self) -> int: ...
    @property
    def lag(self) -> float: ...


class MeasuredOutlet(Protocol):
    """What is measured of an endpoint of webhooks."""

    @property
    def name(self) -> str: ...
    @property
    def counts(self) -> OutletCounters: ...


@frozen
class Sources:
    """Everything that has something to measure."""

    sessions: Callable[[], Iterable[SessionState]]
    """Of the rooms that are watched; each is read when a scrape gets to it."""
    run: RunCounters
    """Counts over every entry of every session of this run."""
    runtime: RuntimeCounters
    system: ActorSystem
    backlog: Backlog
    worker: Callable[[], MeasuredWorker] | None
    """None: the program watches nothing."""
    webhooks: Mapping[str, int]
    webhooks_dropped: Callable[[], int]
    events: EventSource
    requests: Requests
    workers: Callable[[], Sequence[WorkerRow]] = tuple
    """All workers of the store, where there may be several."""
    uploads: Callable[[], Mapping[str, int]] = dict
    """Uploads of voice agents, by what became of them."""
    uploaded_runs_dropped: Callable[[], int] = int
    """Runs whose waiting uploads were dropped."""
    outlets: Callable[[], Sequence[MeasuredOutlet]] = tuple
    open_sessions: Callable[[], Iterable[SessionState]] = tuple
    """Sessions that have not ended, watched or not."""
    alert_rules: Collection[str] = ()
    """Names of the rules that make alerts."""
    server_clock: ServerClock = field(factory=ServerClock)
    heartbeat: Heartbeat = field(factory=Heartbeat)
    clock: Callable[[], float] = field(
        default=Factory(lambda self: self.server_clock.now, takes_self=True)
    )
    """Unix seconds on the clock of the sessions."""


@define
class LiveTotals:
    """The sessions of the watched rooms, added up."""

    rooms: dict[str, tuple[float, ...]] = field(factory=dict[str, tuple[float, ...]])
    """By name, in the order of `ROOM_FAMILIES`."""
    sessions: int = 0
    people: int = 0
    talking: int = 0
    tracks: Counter[str] = field(factory=Counter[str])
    qualities: Counter[str] = field(factory=Counter[str])
    poor_audio: int = 0
    """People whose measured audio is poor."""
    unwatched: int = 0
    """Rooms to which the connection is down."""

    def add(self, state: SessionState) -> None:
        self.sessions += 1
        self.people += state.current
        self.talking += state.people_talking
        self.unwatched += not state.watching
        if state.track_stats is not None:
            self.poor_audio += len(poor_microphones(state))
        for track in state.tracks.values():
            self.tracks[track.source] += 1
        for person in state.present.values():
            if person.counted and person.quality.level is not None:
                self.qualities[person.quality.level] += 1
        if len(self.rooms) < ROOMS:
            self.rooms[label_of(state.room)] = tuple(read(state) for _, _, read in ROOM_FAMILIES)


def label_of(room: str) -> str:
    """A room's name as the value of a label: short and harmless, and another for another room.

    A name that had to be changed for that gets the beginning of its SHA-256, because two names that
    differ behind their 128th character, or in characters that do not print, are two rooms.
    """
    label = harmless(room, NAME_LENGTH)
    if label == room:
        return label
    digest = hashlib.sha256(room.encode(errors="surrogatepass")).hexdigest()
    return f"{harmless(room[:NAME_LENGTH])} #{digest[:8]}"


def buckets_of(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus has them: each with those below it.

    `counts` has one more than `bounds`: those above all of them.
    """
    names = (*map(str, bounds), "+Inf")
    return list(zip(names, map(float, accumulate(counts)), strict=True))


ROOM_FAMILIES: Final[tuple[tuple[str, str, Callable[[SessionState], float]], ...]] = (
    ("room_people", "People in a live room.", lambda state: state.current),
    ("room_tracks", "Tracks published in a live room.", lambda state: len(state.tracks)),
    ("room_talking", "People talking in a live room.", lambda state: state.people_talking),
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
    """The values that one scrape reads."""

    live: LiveTotals
    mailboxes: Mailboxes
    now: float
    alerts: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])
    """Alerts that are not over, by phase and rule."""

    def alerts_in(self, phase: str, rules: Collection[str]) -> dict[str, float]:
        """By rule; 0 of a rule that has none."""
        there = {rule: float(count) for (one, rule), count in self.alerts.items() if one == phase}
        return dict.fromkeys(rules, 0.0) | there
