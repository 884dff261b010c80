"""The state of one session, immutable.

An accepted event makes a new state and leaves the old one valid: an actor that
crashes in the middle of an event goes on from the state before it.  Sharing keeps
that cheap.  Who and what is in the room now is in plain dicts that are copied on a
change (a few hundred entries at most); who and what is over is on shelves
(`actors.session.persistent_map`); everything else is replaced field by field by `change`.

What is kept is bounded, because names, topics and joins are chosen by whoever has a
token.  The live room is bounded by the server; the history by the constants below.
Beyond them totals still count, and `Truncated` says how much lost its own line.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final, TypeVar

from attrs import field, frozen

from actors.session.events import (
    GapReason,
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    Quality,
    RoomEvent,
    TrackKind,
    TrackSource,
)
from actors.session.intervals import OFF, UNKNOWN, Interval, Levels, QualitySeconds, stretch
from actors.session.persistent_map import PersistentMap

RECONNECT_WINDOW: Final = 5.0
"""Seconds within which a person who comes back did not leave but lost the connection."""

CONFIRM_AFTER: Final = 4.0
"""Seconds after which a leave without a reason is believed.

People who publish nothing are announced by the server on a tick of 3 s.
"""

ANNOUNCE_INTERVAL: Final = 3.0
"""Seconds between two announcements of people who publish nothing."""

MAX_PAST_PARTICIPANTS: Final = 10_000
"""People who left and are kept one by one; those beyond are in the totals only."""

MAX_PERSONS: Final = 20_000
"""With a person key: people who are known again under another identity."""

MAX_PAST_TRACKS: Final = 20_000
"""Ended tracks that are kept one by one."""

MAX_JOINS: Final = 100
"""Joins of one person that are kept one by one, the newest."""

MAX_TOPICS: Final = 1_000
"""Topics that are counted under their own name, the first ones."""

MAX_TOPIC_LENGTH: Final = 256
"""Characters of a topic that are kept as its name."""

MAX_RECORDINGS: Final = 100
"""Recordings of a session that are kept."""

MAX_DATA_TRACKS: Final = 1_000
"""Data tracks that are open at the same time and are known by their SID."""

MAX_UNANNOUNCED_SENDERS: Final = 1_000
"""Senders who were not announced yet, whose messages are kept for when they are."""

MAX_PAST_TEXT: Final = 16 * 1024 * 1024
"""Characters of metadata and attributes kept of all people who left (one may have 128 KB)."""

MAX_DEFERRED: Final = 2_000
"""Events that wait for the end of a reconnect; the roster makes up for those beyond."""

MAX_ABORTED_SIDS: Final = 100
"""Aborted joins that are remembered."""

MAX_EXPECTED: Final = 2_000
"""Joins that were told by a webhook and are to be announced; those beyond are not waited for."""

MAX_GAPS: Final = 100
"""Gaps that are kept one by one, the first ones; those beyond are added up."""

OTHER: Final = "…other"
"""The name under which what is beyond a bound is added up."""

COUNTED_KINDS: Final[frozenset[ParticipantKind]] = frozenset({"standard", "sip"})
"""The kinds that are people.  Agents, egress and ingress are machines."""

T = TypeVar("T")


def change(instance: T, **changes: Any) -> T:
    """A copy of a frozen `instance` with some fields replaced.

    `attrs.evolve` does the same through `__init__` and takes 10 µs for a session's
    state; this takes one.  It is for classes with a `__dict__` (``slots=False``) and
    without converters or validators.
    """
    copy = object.__new__(instance.__class__)
    # Past the class's own, which is frozen; one new dict is half of what filling one takes.
    object.__setattr__(copy, "__dict__", instance.__dict__ | changes)
    return copy


@frozen(slots=False)
class Join:
    """One stay of a person in the room."""

    sid: str
    joined_at: float
    """Unix seconds, the server's own."""
    left_at: float | None = None
    """Unix seconds; None while it lasts.  Never before `joined_at`."""
    reason: str | None = None
    end_from_webhook: bool = False
    """Whether LiveKit's webhook told of its end: then `left_at` is the server's word."""
    kind: ParticipantKind | None = None
    """None in joins of old stores: the kind of their person."""
    active: bool = True
    """Whether the media connection ever stood."""
    ringing: bool = False
    """A call that was not answered yet."""
    answered_at: float | None = None
    """Unix seconds when the call was answered, where that was observed."""
    left_within: float | None = None
    """Seconds by which `left_at` may be wrong; None where nobody knows."""
    publisher: bool = False
    """Whether anything was published: the server announces the leave of a publisher at once."""
    end_observed: bool = True
    """Whether the end was heard, or told by a webhook.  Else somebody was there when the watch
    stopped and not when it went on: what they did in between is not known."""

    @property
    def effective(self) -> bool:
        """Whether somebody took part: connected, and answered if it is a call."""
        return self.active and not self.ringing

    @property
    def since(self) -> float:
        """Unix seconds since when somebody took part."""
        return self.joined_at if self.answered_at is None else self.answered_at

    def seconds(self, now: float) -> float:
        if not self.effective:
            return 0.0
        return stretch(self.since, now if self.left_at is None else self.left_at)


@frozen(slots=False)
class Participant:
    """Everything known of one identity."""

    number: int
    """Order of first sight."""
    identity: str
    kind: ParticipantKind
    """Of the first join that is a person's, otherwise of the first one."""
    name: str = ""
    metadata: str | None = ""
    """None where it had to be given up (`MAX_TEXT`); so with the attributes."""
    attributes: Mapping[str, str] | None = field(factory=dict[str, str])
    joins: tuple[Join, ...] = ()
    """Oldest first.  Of somebody present the last one is open, and only that one."""
    older_joins: int = 0
    """Joins beyond `MAX_JOINS`, and their seconds."""
    older_seconds: float = 0.0
    quality: Levels = UNKNOWN
    talk: Interval = OFF
    audible: bool = False
    """Whether we would have heard of it if they talked (a microphone was subscribed)."""
    data_messages: int = 0
    encrypted: bool | None = None
    """Whether a track of theirs is encrypted end to end; None while they published nothing."""
    permissions: Permissions | None = None
    pending_leave_since: float | None = None
    """When a new join replaced one whose leave was not heard yet, else None."""
    older_visits: int = 0
    older_aborted: int = 0
    """Of the joins beyond `MAX_JOINS`: how many are in `visits`, and in `aborted`."""
    key: str | None = None
    """Who it is, as the session's person key says; None where it says nothing."""

    @property
    def person(self) -> str:
        """Whom this identity counts as."""
        return self.identity if self.key is None else self.key

    def is_person(self, join: Join) -> bool:
        """Whether this join is of a person, not of a machine."""
        return (join.kind or self.kind) in COUNTED_KINDS

    def is_visit(self, join: Join) -> bool:
        """Whether a person took part in this join."""
        return join.effective and self.is_person(join)

    def is_aborted(self, join: Join) -> bool:
        """Whether a person's join ended before anybody took part.  False where nobody knows."""
        over = join.left_at is not None and join.end_observed
        return over and not join.effective and self.is_person(join)

    @property
    def visits(self) -> int:
        """Joins in which a person took part."""
        return self.older_visits + sum(map(self.is_visit, self.joins))

    @property
    def aborted_joins(self) -> int:
        """Joins of a person that ended before anybody took part."""
        return self.older_aborted + sum(map(self.is_aborted, self.joins))

    @property
    def counted(self) -> bool:
        """Whether this is one of the people: a person took part in one of the joins."""
        return self.older_visits > 0 or any(map(self.is_visit, self.joins))

    @property
    def takes_part(self) -> bool:
        """Whether a person takes part in the newest join, of somebody who is present."""
        return bool(self.joins) and self.joins[-1].left_at is None and self.is_visit(self.joins[-1])

    def took_part_at(self, at: float) -> bool:
        """Whether they took part then, as far as their joins are kept."""
        return any(
            self.is_visit(join) and join.since <= at and (join.left_at is None or at < join.left_at)
            for join in self.joins
        )

    def seconds(self, now: float) -> float:
        """Seconds present, over all joins; of one of the people over those of a person."""
        counted = self.counted
        return self.older_seconds + sum(
            join.seconds(now) for join in self.joins if not counted or self.is_person(join)
        )


@frozen(slots=False)
class Track:
    """One publication."""

    number: int
    """Order of first sight."""
    sid: str
    identity: str
    kind: TrackKind
    source: TrackSource
    published_at: float | None
    """Unix seconds; None where it was there before us, for nobody knows how long."""
    unpublished_at: float | None = None
    muted: Interval = OFF
    subscribed: bool = False
    encrypted: bool = False
    published_within: float | None = None
    """Seconds by which `published_at` may be wrong; None where nobody knows."""


@frozen
class Gap:
    """A time in which nobody of ours saw the room."""

    since: float
    """Unix seconds."""
    until: float
    reason: GapReason


@frozen
class ProvisionalEnd:
    """A leave, or an unpublish, that may not be true: it waits until it is."""

    at: float
    """Unix seconds when it was first heard: the time it counts from once it is true."""
    due: float = inf
    """Unix seconds when it becomes true; infinite while the connection is down."""
    quality: Quality | None = None
    """What held until then, and holds again if it was not true."""
    within: float | None = None
    """Seconds by which `at` may be wrong."""
    observed: bool = True
    """False where it happened, if at all, while nobody of ours saw the room."""


@frozen
class ExpectedJoin:
    """Somebody of whom LiveKit's webhook told before the room announced them."""

    info: ParticipantInfo
    due: float
    """Unix seconds when they would have been announced were they still there."""


@frozen(slots=False)
class MessageTotals:
    """The messages of a session."""

    total: int = 0
    bytes: int = 0
    unattributed: int = 0
    """Those that came before their sender was announced.  LiveKit does not say later who it
    was (docs/livekit-facts.md#unattributed)."""
    by_topic: Mapping[str, int] = field(factory=dict[str, int])
    attachments: int = 0
    """Files that were sent with messages; in none of the other counts."""


@frozen(slots=False)
class RecordedInterval:
    """A stretch of time in which the room said that it is recorded."""

    started_at: float
    """Unix seconds when we knew it: no later than it began plus the 3 s of the server's tick,
    except for one that had begun before we came."""
    ended_at: float | None = None


@frozen(slots=False)
class Recording:
    """One egress, as LiveKit's webhooks told it last (`actors.session.events.WebhookEgress`)."""

    id: str
    kind: str
    status: str
    started_at: float | None
    ended_at: float | None
    error: str | None
    file: str | None
    updated_at: float


@frozen(slots=False)
class Truncated:
    """What is counted but has no line of its own any more, because of the bounds."""

    people: int = 0
    tracks: int = 0
    joins: int = 0
    messages: int = 0
    """Messages counted under `OTHER`, or not kept for an unannounced sender."""
    changes: int = 0
    """That a newer one of the same overtook before they could be told."""
    texts: int = 0
    """People whose metadata and attributes were given up."""
    deferred: int = 0
    dropped: int = 0
    """Messages and changes of which only the number is known: they came too fast, or were too much
    for the journal."""
    seconds: float = 0.0
    """Presence, quality and talk of the people above, machines left out."""
    quality: QualitySeconds | None = None
    talk: float | None = None
    gaps: int = 0
    gap_seconds: float = 0.0


@frozen(slots=False)
class SessionState:
    """One life of one room, as far as it was told."""

    room: str
    room_sid: str
    """The session's own key."""
    worker: str
    agent_name: str
    job_ids: tuple[str, ...]
    started_at: float
    """Unix seconds when we began to watch."""
    created_at: float | None
    """Unix seconds of the room's creation at the server."""

    last_at: float
    """Unix seconds of the last event; while we watch, of the last that was not a webhook's: then
    it is the last sign that somebody watched."""
    ended_at: float | None = None
    end_reason: str | None = None
    metadata: str | None = None
    """None until a roster told it."""

    watched_from: float | None = None
    """Unix seconds of the first `Watching`; None before."""
    watched: Interval = OFF
    gap_since: float | None = None
    """Unix seconds since when we do not see the room; None while we do, and before."""
    gap_reason: GapReason | None = None
    """Why; None where we left by ourselves, until the end says why."""
    gaps: tuple[Gap, ...] = ()
    """Those that are over, oldest first."""
    suspended: Gap | None = None
    """The last time in which nothing of us ran."""
    clock_offset: float | None = None
    """Seconds by which the worker's own clock was ahead, as compared last; None if unknown."""
    reconnecting: bool = False
    roster_complete_at: float = -inf
    """Until then a roster may lack people who are there (after a reconnect)."""

    present: Mapping[str, Participant] = field(factory=dict[str, Participant])
    """Who is in the room, by identity; those on a provisional leave are still here."""
    past: PersistentMap[Participant] = field(factory=PersistentMap[Participant])
    """Who left.  Somebody who came back is in both: `present` is right then."""
    tracks: Mapping[str, Track] = field(factory=dict[str, Track])
    """What is published now, by SID."""
    past_tracks: PersistentMap[Track] = field(factory=PersistentMap[Track])
    past_text_size: int = 0
    """Characters of metadata and attributes in `past`."""

    provisional_leaves: Mapping[str, ProvisionalEnd] = field(factory=dict[str, ProvisionalEnd])
    """Provisional leaves, by identity."""
    provisional_unpublishes: Mapping[str, ProvisionalEnd] = field(factory=dict[str, ProvisionalEnd])
    """Provisional ends of tracks, by SID."""
    expected: Mapping[str, ExpectedJoin] = field(factory=dict[str, ExpectedJoin])
    """Joins that are to be announced, by SID."""
    due: float | None = None
    """Unix seconds when the first of these three is due."""
    deferred: tuple[RoomEvent, ...] = ()
    """What came while reconnecting and may belong to another life of the room."""
    speaking: frozenset[str] = frozenset()

    person_key: str | None = None
    """Where it stands who a participant is (`actors.session.person_key`)."""
    persons: Mapping[str, tuple[int, int]] = field(factory=dict[str, tuple[int, int]])
    """With a person key, of each person: identities who took part, and who are here."""

    next_number: int = 0
    """People and tracks that got a number."""
    current: int = 0
    peak: int = 0
    unique: int = 0
    """People who took part; with a person key, those whom it tells apart."""
    joins: int = 0
    """These four: people who took part."""
    aborted_joins: int = 0
    """Joins of people that ended before anybody took part."""
    first_person_at: float | None = None
    """Unix seconds, the earliest join of a person that is known."""
    tracks_total: int = 0
    by_source: Mapping[TrackSource, int] = field(factory=dict[TrackSource, int])
    messages: MessageTotals = MessageTotals()
    unannounced_senders: Mapping[str, int] = field(factory=dict[str, int])
    """Messages of senders who were not announced yet, by identity."""
    encrypted: bool | None = None
    """Whether any track was encrypted end to end; None before the first track."""
    data_tracks: Mapping[str, str] = field(factory=dict[str, str])
    """Data tracks that are published now: SID to the identity of their publisher."""
    recorded_intervals: tuple[RecordedInterval, ...] = ()
    """Oldest first.  Only the last may be open."""
    recordings: Mapping[str, Recording] = field(factory=dict[str, Recording])
    """By egress id, in the order in which they were told."""

    truncated: Truncated = Truncated()
    anomalies: int = 0
    """Events that made no sense here: duplicates, late ones, leaves of strangers."""

    webhook_received: bool = False
    """Whether a webhook told who or what is in the room."""
    closed_at: float | None = None
    """Unix seconds when the server closed the room, where a webhook told it."""
    aborted_sids: tuple[str, ...] = ()
    """SIDs of the last joins that came to nothing, so that none is told twice."""

    @property
    def watching(self) -> bool:
        """Whether we see the room, as far as we know."""
        return self.watched.since is not None

    @property
    def messages_hidden(self) -> bool:
        """Whether messages are encrypted, so that none came to us: their number is not known."""
        return bool(self.encrypted) and not self.messages.total and not self.messages.attachments

    @property
    def recorded_now(self) -> bool:
        """Whether the room said last that it is recorded."""
        return bool(self.recorded_intervals) and self.recorded_intervals[-1].ended_at is None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None
