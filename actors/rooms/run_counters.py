"""Counts over all sessions of this run, for metrics: a fold of the entries that they publish.

`RunCounters.offer` is called with every entry of every session, so it takes about a microsecond.
Every key is one of a known set, so that participants cannot create series.

Seconds of quality and of talk, watched and in gaps, are step functions
(`actors.session.intervals`): they grow without entries.  `advance` therefore adds, now and then,
the seconds since the last time for a session and the people who are in the room; joins, leaves,
gaps and ends do the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, final, get_args

from actors.rooms.agent_counters import AgentCounters
from actors.rooms.histogram import Histogram
from actors.rooms.usage_counters import UsageCounters
from actors.session import END_REASONS, ENTRY_KEYS, QUALITIES, SessionState, TimelineEntry, totals
from actors.session.intervals import stretch
from actors.session.measurement import stats_of, stats_until_the_end
from actors.session.participant import Participant
from actors.session.room_info import ParticipantKind, TrackSource
from actors.session.track_stats import TrackStats
from actors.session.view import coverage, entered_after, watched_and_unseen

OTHER: Final = "other"
UNKNOWN: Final = "unknown"

KINDS: Final[tuple[str, ...]] = get_args(ParticipantKind)
SOURCES: Final[tuple[str, ...]] = get_args(TrackSource)
ENDS: Final = (*END_REASONS, OTHER)
LEAVE_REASONS: Final = (
    "client_initiated", "duplicate_identity", "server_shutdown", "participant_removed",
    "room_deleted", "state_mismatch", "join_failure", "migration", "signal_close",
    "room_closed", "user_unavailable", "user_rejected", "sip_trunk_failure",
    "connection_timeout", "media_failure", "agent_error", UNKNOWN, OTHER,
)  # fmt: skip
"""LiveKit's; `unknown` where the server gave none, `other` where it is a newer one's."""

DURATION: Final = (10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 86_400.0)
"""Seconds."""
COVERAGE: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
ENTRY: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0)
"""Seconds."""
FIRST_MEDIA: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""
LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Seconds."""
LOSS: Final = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
CONCEALMENT: Final = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
JITTER: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
"""Seconds."""
MOS: Final = (1.5, 2.0, 2.5, 3.0, 3.2, 3.4, 3.6, 3.8, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5)


_Seconds: TypeAlias = tuple[float, float, float, float, float]
"""Seconds of one person: in each quality, in the order of `QUALITIES`, and talking."""

_NONE: Final[_Seconds] = (0.0, 0.0, 0.0, 0.0, 0.0)


@final
class RunCounters:
    """See the module.  All counts only grow."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter(dict.fromkeys(ENTRY_KEYS, 0))
        """Entries by their event."""
        self.joins: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        """By kind as it was known then, with the people of the initial roster.  A recorder with
        the old grant counts as `standard`: it is recognized later, and no count goes down."""
        self.leaves: Counter[str] = Counter(dict.fromkeys(LEAVE_REASONS, 0))
        self.aborted: Counter[str] = Counter(dict.fromkeys(LEAVE_REASONS, 0))
        """Joins that ended before they were active, by reason."""
        self.ends: Counter[str] = Counter(dict.fromkeys(ENDS, 0))
        """Of sessions, by reason."""
        self.tracks: Counter[str] = Counter(dict.fromkeys(SOURCES, 0))
        self.alerts: Counter[str] = Counter()
        """Alerts that fired, by rule."""
        self.data_messages = 0
        """With the messages of a flood, of which only the number is known."""
        self.data_bytes = 0
        self.seconds: list[float] = list(_NONE)
        """As `_Seconds`, of all people."""
        self.duration = Histogram(DURATION)
        self.watched = 0.0
        """Seconds of sessions that were watched."""
        self.gaps = 0.0
        """Seconds of sessions in gaps: after our entry and not watched."""
        self.coverage = Histogram(COVERAGE)
        self.entry = Histogram(ENTRY)
        """Seconds from a room's first person to our entry, of sessions that ended."""
        self.first_media = Histogram(FIRST_MEDIA)
        """Seconds from a person's join to the first track, of joins that this run saw."""
        self.lag = Histogram(LAG)
        self.loss = Histogram(LOSS)
        self.concealment = Histogram(CONCEALMENT)
        self.jitter = Histogram(JITTER)
        self.mos = Histogram(MOS)
        """These four: of each measured track when it ends."""
        self.agents = AgentCounters()
        self.usage = UsageCounters()
        self._there: dict[str, dict[str, _Seconds]] = {}
        """By session and identity: the seconds that were added for people who are in the room."""
        self._silent: dict[str, dict[str, float]] = {}
        """By session and identity: when people joined who have not published yet."""
        self._views: dict[str, tuple[float, float]] = {}
        """By session: the seconds watched and those in gaps that were added."""
        self._begun_here: set[str] = set()
        """Sessions that go on and began in this run."""
        self._count: Mapping[str, Callable[[SessionState, TimelineEntry], None]] = {
            "session_started": self._started,
            "reconnected": self._view_changed,
            "suspended": self._view_changed,
            "participant_found": self._joined,
            "participant_connected": self._joined,
            "participant_disconnected": self._left,
            "participant_connection_aborted": self._aborted,
            "track_published": self._published,
            "track_unpublished": self._unpublished,
            "data_message": self._count_message,
            "messages_thinned": self._count_dropped,
            "alert_firing": self._fired,
            "session_ended": self._ended,
        }

    def observe_lag(self, lag: float) -> None:
        """An event was folded `lag` seconds after it came.  A clock may have been set back."""
        self.lag.observe(max(0.0, lag))

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        """Count an entry of a session, which is now in `state`."""
        self.events[entry.event] += 1
        if entry.event.startswith("agent_"):
            self.agents.offer(state, entry)
            self._add_usage(state)
            return
        count = self._count.get(entry.event)
        if count is not None:
            count(state, entry)

    def advance(self, state: SessionState, now: float) -> None:
        """Add the seconds of a session and of its people since they were added last."""
        self._add_view(state, now)
        if state.agents is not None:
            self._add_usage(state)
        there = self._there.get(state.room_sid)
        if there is None:  # It continues from an earlier run, which counted the seconds before.
            there = self._there[state.room_sid] = {}
        for identity, person in state.present.items():
            if person.counted:
                seconds = _seconds_of(person, now)
                self._add(there.get(identity, seconds), seconds)
                there[identity] = seconds

    def _add(self, before: _Seconds, now: _Seconds) -> None:
        for index, seconds in enumerate(now):
            # A webhook may correct a leave, and then the seconds become fewer.
            if seconds > before[index]:
                self.seconds[index] += seconds - before[index]

    def _add_view(self, state: SessionState, at: float, gap: float = 0.0) -> None:
        """Add the seconds watched and in gaps.  `gap`: seconds of a gap that ends at `at`.

        Of a session that goes on from an earlier run, the gap between the two runs counts here, as
        no other run could count it.
        """
        watched, unseen = watched_and_unseen(state, at)
        before = self._views.get(state.room_sid)
        if before is None:
            since = state.gap_since
            open_gap = 0.0 if since is None else stretch(since, at)
            before = (watched, unseen - max(gap, open_gap))
        # A webhook may correct an end, and then the seconds become fewer.
        now = (max(before[0], watched), max(before[1], unseen))
        self.watched += now[0] - before[0]
        self.gaps += now[1] - before[1]
        self._views[state.room_sid] = now

    def _add_usage(self, state: SessionState) -> None:
        # A session that only uploads told of has no entry of its begin.
        earlier = state.watched_from is not None and state.room_sid not in self._begun_here
        self.usage.advance(state, earlier=earlier)

    # ------------------------------------------------------------ by event

    def _started(self, state: SessionState, _: TimelineEntry) -> None:
        self._views[state.room_sid] = (0.0, 0.0)
        self._begun_here.add(state.room_sid)

    def _view_changed(self, state: SessionState, entry: TimelineEntry) -> None:
        self._add_view(state, entry.at, entry.data.get("gap", 0.0))

    def _joined(self, state: SessionState, entry: TimelineEntry) -> None:
        self.joins[entry.data["kind"]] += 1
        person = state.present.get(entry.data["identity"])
        if person is not None and person.counted:
            there = self._there.setdefault(state.room_sid, {})
            there[person.identity] = _seconds_of(person, entry.at)
            if entry.event == "participant_connected":
                silent = self._silent.setdefault(state.room_sid, {})
                silent[person.identity] = person.joins[-1].joined_at

    def _left(self, state: SessionState, entry: TimelineEntry) -> None:
        reason = entry.data["reason"]
        self.leaves[UNKNOWN if reason is None else _within(self.leaves, reason)] += 1
        self._silent.get(state.room_sid, {}).pop(entry.data["identity"], None)
        there = self._there.get(state.room_sid)
        if there is not None:
            self._add_and_remove(state, there, entry.data["identity"], entry.at)

    def _add_and_remove(
        self, state: SessionState, there: dict[str, _Seconds], identity: str, at: float
    ) -> None:
        before, person = there.pop(identity, None), state.past.get(identity)
        if before is not None and person is not None:
            self._add(before, _seconds_of(person, at))

    def _aborted(self, _: SessionState, entry: TimelineEntry) -> None:
        self.aborted[_within(self.aborted, entry.data["reason"] or UNKNOWN)] += 1

    def _published(self, state: SessionState, entry: TimelineEntry) -> None:
        self.tracks[_within(self.tracks, entry.data["source"], UNKNOWN)] += 1
        silent = self._silent.get(state.room_sid, {})
        joined_at = silent.pop(entry.data["identity"], None)
        if joined_at is not None:
            self.first_media.observe(stretch(joined_at, entry.at))

    def _unpublished(self, state: SessionState, entry: TimelineEntry) -> None:
        stats = stats_of(state, entry.data["sid"])
        if stats is not None:
            self._observe_track(stats)

    def _observe_track(self, stats: TrackStats) -> None:
        if stats.loss is None or stats.score is None:
            return
        self.loss.observe(stats.loss)
        self.jitter.observe(stats.jitter or 0.0)
        self.mos.observe(stats.score)
        if stats.concealment is not None:
            self.concealment.observe(stats.concealment)

    def _count_message(self, _: SessionState, entry: TimelineEntry) -> None:
        self.data_messages += 1
        self.data_bytes += entry.data["size"]

    def _count_dropped(self, _: SessionState, entry: TimelineEntry) -> None:
        self.data_messages += entry.data["count"]

    def _fired(self, _: SessionState, entry: TimelineEntry) -> None:
        self.alerts[entry.data["rule"]] += 1

    def _ended(self, state: SessionState, entry: TimelineEntry) -> None:
        self.ends[_within(self.ends, entry.data["reason"])] += 1
        self.duration.observe(totals(state, entry.at).duration)
        self.coverage.observe(coverage(state, entry.at))
        for stats in stats_until_the_end(state):
            self._observe_track(stats)
        entered = entered_after(state)
        if entered is not None:
            self.entry.observe(entered)
        self._add_view(state, entry.at)
        self._add_usage(state)
        self.usage.end(state.room_sid)
        self._begun_here.discard(state.room_sid)
        self._views.pop(state.room_sid, None)
        self._silent.pop(state.room_sid, None)
        there = self._there.pop(state.room_sid, {})
        for identity in tuple(there):
            self._add_and_remove(state, there, identity, entry.at)


def _within(known: Mapping[str, int], name: str, otherwise: str = OTHER) -> str:
    return name if name in known else otherwise


def _seconds_of(person: Participant, now: float) -> _Seconds:
    quality = person.quality.totals(now) or _NONE[:4]
    return (*quality, person.talk.total(now) if person.audible else 0.0)


assert len(_NONE) == len(QUALITIES) + 1
