"""The state of one session, immutable.

An accepted event makes a new state and leaves the old one valid: an actor that crashes within
an event goes on from the state before it.  States share structure, so that is cheap.  Present
participants and open tracks are in plain dicts that are copied on a change (a few hundred
entries at most).  Past ones are in persistent maps (`actors.session.persistent_map`).  `change`
replaces everything else field by field.

The live room is bounded by the server, the history by `actors.session.bounds`.  Beyond a bound
totals still count; `Truncated` has how much got no record of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from attrs import field, frozen

from actors.session.agent_run import RoomAgents
from actors.session.events import GapReason, RoomEvent
from actors.session.intervals import OFF, Interval, QualitySeconds
from actors.session.participant import Participant
from actors.session.persistent_map import PersistentMap
from actors.session.recording_reports import RecordingRequest
from actors.session.room_info import (
    ParticipantInfo,
    Quality,
    TrackKind,
    TrackSource,
)
from actors.session.rule_state import RuleState
from actors.session.track_stats import TrackStats


@frozen(slots=False)
class Track:
    """One publication."""

    number: int
    """Order of the first sighting; shared with participants."""
    sid: str
    identity: str
    kind: TrackKind
    source: TrackSource
    published_at: float | None
    """Unix seconds; None if it was there before us and nobody knows since when."""
    unpublished_at: float | None = None
    muted: Interval = OFF
    subscribed: bool = False
    encrypted: bool = False
    published_within: float | None = None
    """Seconds by which `published_at` may be wrong; None if nobody knows."""
    muted_at_end: bool = False
    """It was muted when it ended.  If the end proves untrue, it was muted all along."""


@frozen
class Gap:
    """A time in which we did not see the room."""

    since: float
    """Unix seconds."""
    until: float
    reason: GapReason


@frozen
class ProvisionalEnd:
    """A leave or an unpublish that may be untrue: it is confirmed when due, or withdrawn."""

    at: float
    """Unix seconds when it was received: it counts from then on, once it is confirmed."""
    due: float = inf
    """Unix seconds when it is confirmed; infinite while the connection is down."""
    quality: Quality | None = None
    """The quality until then, which goes on if the end was untrue."""
    within: float | None = None
    """Seconds by which `at` may be wrong."""
    observed: bool = True
    """False if it was in a gap."""


@frozen
class ExpectedJoin:
    """A join that a webhook reported before the room announced it."""

    info: ParticipantInfo
    due: float
    """Unix seconds by which the room announces it, if it still lasts."""


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
    """An interval in which the room said that it is recorded."""

    started_at: float
    """Unix seconds when we learned of it: up to 3 s late (the server's tick), or later if it began
    before our entry."""
    ended_at: float | None = None


@frozen(slots=False)
class Recording:
    """One egress, by its last webhook (`actors.session.webhook_reports.WebhookEgress`) or by
    LiveKit's last answer (`actors.session.recording_reports.EgressListed`)."""

    id: str
    kind: str
    status: str
    started_at: float | None
    ended_at: float | None
    error: str | None
    file: str | None
    updated_at: float
    intent: str = ""
    """The key of the intent that it fulfils; empty if it is not ours."""
    rule: str | None = None
    """The rule that wanted it."""
    stop_wanted: bool = False
    """A rule wants it to end."""
    lost_at: float | None = None
    """Unix seconds since when nobody records although LiveKit says so; None while all is well."""

    @property
    def is_ours(self) -> bool:
        """True if this worker or an earlier one started it."""
        return bool(self.intent)


@frozen(slots=False)
class RecordingIntent:
    """A recording that a rule wants and that has no egress yet."""

    intent: str
    rule: str
    at: float
    """Unix seconds when it was wanted."""
    request: RecordingRequest
    asked_at: float = 0.0
    """Unix seconds before which LiveKit was not asked the last time."""


@frozen(slots=False)
class Truncated:
    """Counts of everything that has no record of its own, because a bound was reached."""

    people: int = 0
    tracks: int = 0
    joins: int = 0
    messages: int = 0
    """Messages that are counted under `OTHER`, or without their unannounced sender."""
    changes: int = 0
    """Changes that a newer one of the same overtook: they have no entry."""
    texts: int = 0
    """People whose metadata and attributes were dropped."""
    deferred: int = 0
    dropped: int = 0
    """Messages and changes of which only the number is known: they came too fast, or exceeded the
    journal's budget."""
    seconds: float = 0.0
    """Presence, quality and talk of the people above, machines left out."""
    quality: QualitySeconds | None = None
    talk: float | None = None
    gaps: int = 0
    gap_seconds: float = 0.0


@frozen(slots=False)
class SessionState:
    """All that is known of one room instance."""

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
    """Unix seconds of the last event.  While we watch, webhooks do not count: then it is the last
    sign that we watched."""
    ended_at: float | None = None
    end_reason: str | None = None
    metadata: str | None = None
    """None until a roster or a webhook has it."""

    watched_from: float | None = None
    """Unix seconds of the first `Watching`; None before."""
    watched: Interval = OFF
    gap_since: float | None = None
    """Unix seconds since when we do not see the room; None while we see it, and before."""
    gap_reason: GapReason | None = None
    """Why; None if we left by ourselves, until the end says why."""
    gaps: tuple[Gap, ...] = ()
    """Those that are over, oldest first."""
    suspended: Gap | None = None
    """The last time in which our process did not run."""
    clock_offset: float | None = None
    """Seconds by which the worker's own clock was ahead, last time; None if unknown."""
    reconnecting: bool = False
    roster_complete_at: float = -inf
    """Unix seconds until which a roster may lack people who are present (after a reconnect)."""

    present: Mapping[str, Participant] = field(factory=dict[str, Participant])
    """Participants in the room, by identity, those with a provisional leave among them."""
    past: PersistentMap[Participant] = field(factory=PersistentMap[Participant])
    """Participants who left.  Somebody who came back is in both; `present` is right then."""
    tracks: Mapping[str, Track] = field(factory=dict[str, Track])
    """Open tracks, by SID."""
    past_tracks: PersistentMap[Track] = field(factory=PersistentMap[Track])
    past_text_size: int = 0
    """Characters of metadata and attributes in `past`."""

    provisional_leaves: Mapping[str, ProvisionalEnd] = field(factory=dict[str, ProvisionalEnd])
    """Provisional leaves, by identity."""
    provisional_unpublishes: Mapping[str, ProvisionalEnd] = field(factory=dict[str, ProvisionalEnd])
    """Provisional ends of tracks, by SID."""
    expected: Mapping[str, ExpectedJoin] = field(factory=dict[str, ExpectedJoin])
    """Joins that the room is expected to announce, by SID."""
    due: float | None = None
    """Unix seconds when the first of these three is due."""
    deferred: tuple[RoomEvent, ...] = ()
    """Events that came while reconnecting and may belong to another room instance."""
    speaking: frozenset[str] = frozenset()

    person_key: str | None = None
    """See `actors.session.person_key`."""
    persons: Mapping[str, tuple[int, int]] = field(factory=dict[str, tuple[int, int]])
    """With a person key, for each person: identities that took part and present ones."""

    next_number: int = 0
    """The number of the next participant or track."""
    current: int = 0
    peak: int = 0
    unique: int = 0
    """People who took part; with a person key, those that it distinguishes."""
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
    """True if any track was encrypted end to end; None before the first track."""
    data_tracks: Mapping[str, str] = field(factory=dict[str, str])
    """Data tracks that are published now: SID to the identity of their publisher."""
    recorded_intervals: tuple[RecordedInterval, ...] = ()
    """Oldest first.  Only the last may be open."""
    recordings: Mapping[str, Recording] = field(factory=dict[str, Recording])
    """By egress id, in the order of their first report."""
    recording_intents: Mapping[str, RecordingIntent] = field(factory=dict[str, RecordingIntent])
    """By key: recordings that a rule wants and that have no egress yet."""

    truncated: Truncated = Truncated()
    anomalies: int = 0
    """Events that did not fit the state: duplicates, late ones, leaves of unknown participants."""

    webhook_received: bool = False
    """True if a webhook reported a participant, a track, a recording or the room itself."""
    closed_at: float | None = None
    """Unix seconds when the server closed the room, if a webhook reported it."""
    aborted_sids: tuple[str, ...] = ()
    """SIDs of the last aborted joins, so that none is recorded twice."""
    rules: RuleState | None = None
    """Episodes and acts of rules; None while there are none."""
    track_stats: PersistentMap[TrackStats] | None = None
    """What was measured of tracks, open and past ones, by SID; None while nothing was."""
    agents: RoomAgents | None = None
    """Runs of agents and dispatches of them; None while there were none."""

    @property
    def watching(self) -> bool:
        """True if we see the room."""
        return self.watched.since is not None

    @property
    def people_talking(self) -> int:
        """People who talk now, agents not among them."""
        there = self.present
        return sum(one in there and there[one].takes_part for one in self.speaking)

    @property
    def messages_hidden(self) -> bool:
        """True if messages are encrypted, so that none came to us: their number is not known."""
        return bool(self.encrypted) and not self.messages.total and not self.messages.attachments

    @property
    def recorded_now(self) -> bool:
        """True if the room is recorded, by its own last word."""
        return bool(self.recorded_intervals) and self.recorded_intervals[-1].ended_at is None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None
