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

from attrs import field, frozen

from actors.session.events import GapReason, RoomEvent
from actors.session.intervals import OFF, Interval, QualitySeconds
from actors.session.participant import Participant
from actors.session.persistent_map import PersistentMap
from actors.session.room_info import (
    ParticipantInfo,
    Quality,
    TrackKind,
    TrackSource,
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
