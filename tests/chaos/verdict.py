"""Compares what people did with the store in the end, session by session, field by field.

Counts must be equal: who was there, with which SIDs, what they published, how many were
there at once.  Times may differ by the promised seconds, and in an assertion by `LATE`
more; the table of the runs has what was measured.

Forgiven is only what nobody could see:

* a visit, a track or a message in a time when no worker was in the room (`Blind`), and
  without webhooks when somebody left in it; the same in the seconds before a worker was killed, of
  which it may not have known or stored all (`BUSY`);
* without webhooks, people who publish nothing and left before the server's tick announced
  them, and anybody who left within a second; with them, a track that ended within a second;
* without webhooks, that people who publish nothing became active: somebody whom a tick announces
  while they connect is active with the next one, and a gap or the leave may come first;
* a publication whose media did not come to the server while somebody waited (`lost`);
* a gap that ends with an entry of our own that nobody brought about: the worker's SDK was thrown
  out on a busy machine, or its first attempt to connect failed;
* a join that never became active and that the person does not know: an SDK whose first attempt
  to connect fails on a busy machine tries again, as another participant;
* messages around the moment when a worker came or went: its data channel opens later than
  the room, and what was not yet on disk died with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, Final

from attrs import define, field, frozen

from bridge.lab.people.truth import Deed, RoomTruth

SILENT_TICK: Final = 3.5
"""Seconds: who publishes nothing is announced, in and out, on a tick of the server's."""
SOON: Final = 1.0
"""Seconds within which everything else is known."""
BUSY: Final = 5.0
"""Seconds by which a busy machine may show somebody later than that: the people, the server
and the worker share two cores with whatever else runs there."""
LATE: Final = 10.0
"""Seconds by which a time may be wrong there.  Measured at a load of 4 to 15: 0.9 s in most
runs, 4.3 s for 200 short rooms beside another chaos run.  Counts have no such slack."""
WELL_ENDED: Final = ("room_closed", "room_deleted", "server_lost", "found_ended")
"""Ends of a session with its room.  All rooms end before the last worker does."""


@frozen
class Blind:
    """A stretch in which no worker of ours was in a room."""

    since: float
    until: float
    unsaved: float = 0.0
    """Seconds before it of which nothing may be stored: a worker that is killed on a busy machine
    may not have come to them."""

    @property
    def known_until(self) -> float:
        return self.since - self.unsaved

    def covers(self, at: float, before: float = SOON, after: float = SOON) -> bool:
        return self.known_until - before <= at <= self.until + after


UNDONE: Final = 10.0
"""Seconds within which a worker takes back a room that only it made, which would live for 20 s
(`QUICK_ENDS`).  It takes less than one where the machine is not busy."""


@define
class ListedInstance:
    """One life of a room as the server listed it.  Times are Unix seconds."""

    room: str
    listed_from: float
    listed_until: float = 0.0
    had_people: bool = False
    """Anybody but our workers was in it."""
    entries: set[float] = field(factory=set[float])
    """When our workers entered it, by the server: Unix seconds of each of their participants."""


def made_by_us(instances: Mapping[str, ListedInstance]) -> list[str]:
    """No room lives that only we made.  All rooms of these tests begin with a person."""
    return [
        f"{instance.room} ({sid}) lived for {instance.listed_until - instance.listed_from:.1f} s,"
        " and nobody but us was in it"
        for sid, instance in instances.items()
        if not instance.had_people and instance.listed_until - instance.listed_from > UNDONE
    ]


@define
class Stay:
    """One join of one person, as the person knows it."""

    identity: str
    sid: str
    joined_at: float
    left_at: float = inf
    reason: str | None = None
    tracks: dict[str, Deed] = field(factory=dict[str, Deed])
    muted: dict[str, float] = field(factory=dict[str, float])
    """By track, since when; nobody unmutes."""

    def visible_from(self, blind: Iterable[Blind]) -> float:
        """The time from which on a watcher must have observed it, without webhooks."""
        wait = 0.0 if self.tracks else SILENT_TICK
        at = self.joined_at + wait
        for gap in blind:
            if gap.covers(at, after=SOON + BUSY):
                at = gap.until + SOON + BUSY + wait
        return at

    def visible_until(self, blind: Iterable[Blind]) -> float:
        known = (gap.known_until for gap in blind if gap.covers(self.left_at))
        return min(known, default=self.left_at)


def stays(truth: RoomTruth) -> dict[str, Stay]:
    """Every join of a room, by SID."""
    by_sid: dict[str, Stay] = {}
    for deed in truth.deeds:
        if deed.deed == "joined":
            by_sid[deed.sid] = Stay(deed.identity, deed.sid, deed.data["joined_at"])
        elif deed.deed == "left" and by_sid[deed.sid].left_at == inf:
            by_sid[deed.sid].left_at, by_sid[deed.sid].reason = deed.at, deed.data["reason"]
        elif deed.deed == "published":
            by_sid[deed.sid].tracks[deed.data["track"]] = deed
        elif deed.deed == "muted":
            by_sid[deed.sid].muted[deed.data["track"]] = deed.at
    return by_sid


@define
class Account:
    """The result of the comparison of one run: a row of the table."""

    name: str
    sessions: int = 0
    events: int = 0
    """Entries of all timelines."""
    differences: list[str] = field(factory=list[str])
    joins: float = 0.0
    """Worst lateness, seconds; so with the others."""
    leaves: float = 0.0
    """The greatest error of a time of people who publish, or with webhooks of anybody."""
    silent_leaves: float = 0.0
    gaps: float = 0.0
    note: str = ""

    def check(self) -> None:
        assert not self.differences, "\n".join([self.name, *self.differences])

    def row(self) -> str:
        numbers = f"{self.sessions:>8} {self.events:>7} {len(self.differences):>11}"
        late = (self.joins, self.leaves, self.silent_leaves, self.gaps)
        return f"{self.name:<44}{numbers}" + "".join(f"{one:>8.2f}" for one in late) + self.note


HEADER: Final = (
    f"{'run':<44}{'sessions':>8} {'events':>7} {'differences':>11}"
    f"{'joins':>8}{'leaves':>8}{'silent':>8}{'gaps':>8}  (worst, s)"
)


@define
class Comparison:
    """One life of one room against its session."""

    account: Account
    truth: RoomTruth
    session: Mapping[str, Any] | None
    blind: Sequence[Blind]
    """In order; the first from the room's creation until the first watch.  Empty where it is
    not known when the room was watched."""
    webhooks: bool
    entries: Collection[float] = ()
    """When our workers entered it, as the server listed them."""
    attempts: set[str] = field(factory=set[str], init=False)
    """SIDs of joins that never became active and that nobody knows of."""

    def __attrs_post_init__(self) -> None:
        self.blind = self.blind or self._before_the_session()

    def _before_the_session(self) -> list[Blind]:
        return [] if self.session is None else [Blind(0.0, unix(self.session["started_at"]))]

    def differs(self, what: str) -> None:
        self.account.differences.append(f"{self.truth.room} ({self.truth.room_sid}): {what}")

    def run(self, known_gaps: bool) -> None:
        real, session = stays(self.truth), self.session
        must = {sid for sid, stay in real.items() if self._must_be_observed(stay)}
        if session is None:
            if must or known_gaps:
                self.differs("has no session")
            return
        self.account.sessions += 1
        self.account.events += len(session["timeline"] or ())
        if session["people"]["joins"] is None:
            if must:
                self.differs("nothing of it was seen")
            return
        if session["end_reason"] not in WELL_ENDED:
            self.differs(f"ended as {session['end_reason']}, and the room lived on")
        stored = {
            join["sid"]: join for person in session["participants"] for join in person["joins"]
        }
        for sid in sorted(must - stored.keys()):
            self.differs(f"{real[sid]} is not in the session, blind {self.blind}")
        unknown = stored.keys() - real.keys()
        self.attempts = {sid for sid in unknown if not stored[sid]["active"]}
        for sid in sorted(unknown - self.attempts):
            self.differs(f"{stored[sid]} never was")
        both = {sid: real[sid] for sid in stored.keys() & real.keys()}
        self._counts(session, stored, both)
        for sid, stay in both.items():
            self._stay(stay, stored[sid])
        self._peak(session, both, must)
        self._tracks(session, real, must)
        self._messages(session)
        if known_gaps:
            self._gaps(session)

    def _must_be_observed(self, stay: Stay) -> bool:
        if self.webhooks:
            return True
        return stay.visible_from(self.blind) < stay.visible_until(self.blind) - SOON

    def _must_be_active(self, stay: Stay) -> bool:
        """True where the tick after the one that announced them must have come, too."""
        if self.webhooks or stay.tracks:
            return self._must_be_observed(stay)
        from_then = stay.visible_from(self.blind) + SILENT_TICK
        return from_then < stay.visible_until(self.blind) - SOON

    def _counts(
        self, session: Mapping[str, Any], stored: Mapping[str, Any], both: Mapping[str, Stay]
    ) -> None:
        counts = session["people"]
        active = {sid: stay for sid, stay in both.items() if stored[sid]["active"]}
        for sid in sorted(both.keys() - active.keys()):
            if self._must_be_active(both[sid]):
                self.differs(f"{both[sid]} is not active, blind {self.blind}")
        who = {stay.identity for stay in active.values()}
        here = sum(stay.left_at == inf for stay in active.values())
        wanted = {"current": here, "unique": len(who), "joins": len(active)}
        if any(counts[key] != number for key, number in wanted.items()):
            self.differs(f"{counts}, in truth {wanted}")
        for person in session["participants"]:
            sids = {sid for sid, stay in both.items() if stay.identity == person["identity"]}
            if sids != {*person["sids"]} - self.attempts or person["kind"] != "standard":
                self.differs(f"{person['identity']}: {person['sids']}, in truth {sorted(sids)}")
        seconds = sum(person["seconds"] for person in session["participants"])
        if abs(session["people_seconds"] - seconds) > 0.1:
            self.differs(f"people_seconds {session['people_seconds']}, people {seconds}")

    def _stay(self, real: Stay, stored: Mapping[str, Any]) -> None:
        late = abs(unix(stored["joined_at"]) - real.joined_at)
        self.account.joins = max(self.account.joins, late)
        if late > SOON:
            self.differs(f"{real} joined, seen {stored}")
        if stored["left_at"] is None or real.left_at == inf:
            if (stored["left_at"] is None) != (real.left_at == inf):
                self.differs(f"{real} left, seen {stored}")
            return
        reasons = {None, real.reason}
        if self.session and self.session["end_reason"] == "room_deleted":
            reasons.add("room_deleted")  # Who says goodbye just then was quicker, or was not.
        if stored["leave_reason"] not in reasons:
            self.differs(f"{real} left, seen {stored}")
        self._leave(real, unix(stored["left_at"]), stored)

    def _leave(self, real: Stay, left_at: float, stored: Mapping[str, Any]) -> None:
        unseen = [gap for gap in self.blind if gap.covers(real.left_at)]
        if unseen and not self.webhooks:
            # It counts from when the watching stopped, or from when it was heard after.
            first, last = unseen[0].since - SOON - LATE, unseen[-1].until + SILENT_TICK + LATE
            if not first <= left_at <= last and left_at != unix(stored["joined_at"]):
                self.differs(f"{real} left, seen {stored}, blind {unseen}")
            return
        late = left_at - real.left_at
        silent = not (self.webhooks or real.tracks)
        if silent:
            self.account.silent_leaves = max(self.account.silent_leaves, abs(late))
        else:
            self.account.leaves = max(self.account.leaves, abs(late))
        if not -SOON - LATE <= late <= (SILENT_TICK if silent else SOON) + LATE:
            self.differs(f"{real} left, seen {late:+.2f} s: {stored}, blind {self.blind}")

    def _peak(self, session: Mapping[str, Any], both: Mapping[str, Stay], must: set[str]) -> None:
        """At least who was together for long enough to be seen; at most who was together by
        the times in the session (they are compared one by one).  A webhook may correct a
        leave to an earlier time after the peak was counted."""
        certain = [
            (both[sid].visible_from(self.blind), both[sid].visible_until(self.blind) - SOON)
            for sid in must & both.keys()
            if self._must_be_active(both[sid])
        ]
        corrected = SILENT_TICK if self.webhooks else 0.001
        entries = [
            (unix(join["joined_at"]), inf if (left := join["left_at"]) is None else unix(left))
            for person in session["participants"]
            for join in person["joins"]
        ]
        least, most = together(certain), together([(a, b + corrected) for a, b in entries])
        if not least <= session["people"]["peak"] <= most:
            self.differs(f"peak {session['people']['peak']} of {least} to {most}")

    def _tracks(self, session: Mapping[str, Any], real: Mapping[str, Stay], must: set[str]) -> None:
        theirs = {track: deed for stay in real.values() for track, deed in stay.tracks.items()}
        stored = {track["sid"]: track for track in session["tracks"]}
        wanted = {
            track
            for sid in must
            for track, deed in real[sid].tracks.items()
            if self._shown(real[sid], deed)
        }
        if not wanted <= stored.keys() <= theirs.keys():
            missing, strange = wanted - stored.keys(), stored.keys() - theirs.keys()
            self.differs(f"tracks {missing} missing, {strange} never were, blind {self.blind}")
        for stay in real.values():
            for sid in stay.tracks.keys() & stored.keys():
                self._track(stay, sid, stored[sid])
        counts = session["track_counts"]
        by_source = Counter(track["source"] for track in stored.values())
        if counts["total"] != len(stored) or counts["by_source"] != by_source:
            self.differs(f"{counts} for {len(stored)} tracks")

    def _track(self, stay: Stay, sid: str, track: Mapping[str, Any]) -> None:
        deed = stay.tracks[sid]
        if "lost" in deed.data:
            return
        if (track["identity"], track["source"]) != (deed.identity, deed.data["source"]):
            self.differs(f"{track} in truth {deed}")
        published_at = track["published_at"]
        if published_at and not -BUSY <= unix(published_at) - deed.at <= SOON + BUSY:
            self.differs(f"{track} in truth published at {deed.at}")
        muted_at = stay.muted.get(sid, stay.left_at)
        observed_from = max(
            muted_at, *(gap.until for gap in self.blind if gap.covers(muted_at)), 0.0
        )
        longest = max(0.0, stay.left_at - muted_at) + SOON + LATE if sid in stay.muted else 0.0
        least = stay.visible_until(self.blind) - observed_from - SOON - LATE
        if not least <= track["muted_seconds"] <= longest:
            self.differs(f"{track} in truth muted for {least:.1f} to {longest:.1f} s")

    def _shown(self, stay: Stay, deed: Deed) -> bool:
        """True where a publication lasted long enough while a worker watched."""
        if "lost" in deed.data:
            return False
        if self.webhooks:
            return deed.at < stay.left_at - SOON
        at = deed.at
        for gap in self.blind:
            if gap.covers(at, after=SOON + BUSY):
                at = gap.until + SOON + BUSY
        return at < stay.visible_until(self.blind) - SOON

    def _messages(self, session: Mapping[str, Any]) -> None:
        sent = [deed.at for deed in self.truth.deeds if deed.deed == "sent"]
        messages = session["data_messages"]
        total = messages["total"] or 0
        certain = [at for at in sent if not self._near_blind(at)]
        if not len(certain) <= total <= len(sent):
            self.differs(f"{total} messages of {len(sent)}, {len(certain)} before an observer")
        size = sum(deed.data["size"] for deed in self.truth.deeds if deed.deed == "sent")
        if sum(messages["by_topic"].values()) != total or (messages["bytes"] or 0) > size:
            self.differs(f"{messages} do not add up")

    def _near_blind(self, at: float) -> bool:
        return any(gap.covers(at, after=SOON + BUSY) for gap in self.blind)

    def _gaps(self, session: Mapping[str, Any]) -> None:
        """Each gap as the timeline tells it, and all together as the coverage has them."""
        entries = [one for one in session["timeline"] or () if one["event"] == "reconnected"]
        unseen = 0.0
        for at in self._further_entries():
            told = next((one for one in entries if abs(unix(one["at"]) - at) <= LATE), None)
            if told is not None:
                entries.remove(told)
                unseen += told["gap"]
        gaps = [gap.until - gap.since for gap in self.blind[1:] if gap.until < inf]
        if len(entries) != len(gaps):
            self.differs(f"gaps told: {[one['gap'] for one in entries]}, in truth {gaps}")
        for one, gap in zip(entries, gaps, strict=False):
            late = abs(one["gap"] - gap)
            self.account.gaps = max(self.account.gaps, late)
            if late > SOON + LATE:
                self.differs(f"a gap of {gap:.2f} s is told as {one['gap']} s")
        entered_at, ended_at = self.blind[0].until, unix(session["ended_at"])
        lasted = ended_at - entered_at
        unseen += sum(min(gap.until, ended_at) - gap.since for gap in self.blind[1:])
        if abs((1.0 - session["coverage"]) * lasted - unseen) > (SOON + LATE) * len(self.blind):
            self.differs(f"coverage {session['coverage']} of {lasted:.1f} s, unseen {unseen:.1f} s")

    def _further_entries(self) -> list[float]:
        """Our entries after the first one that no known gap ends with."""
        known = {gap.until for gap in self.blind}
        return sorted(at for at in self.entries if at > self.blind[0].until and at not in known)


def together(spans: Iterable[tuple[float, float]]) -> int:
    """The most spans that overlap at one moment; where one ends as another begins they do not."""
    changes = sorted(
        change for begin, end in spans if begin < end for change in ((begin, 1), (end, -1))
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
