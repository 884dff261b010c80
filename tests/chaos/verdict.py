"""What people did against what the store says in the end, session by session.

Who was there, with which SIDs, what they published and when they left is compared one by
one; of messages it is known which were sent while somebody watched.  What nobody could
see is forgiven only where it lies in a time when nobody watched (`Blind`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import define, field, frozen

from bridge.people.truth import RoomTruth

SILENT_TICK: Final = 3.5
"""Seconds: who publishes nothing is announced, in and out, on a tick of the server's."""
SOON: Final = 1.0
"""Seconds within which everything else is known."""
BUSY: Final = 1.5
"""Seconds by which a busy machine may make it later than that."""


@frozen
class Blind:
    """A stretch in which no worker of ours was in the rooms."""

    since: float
    until: float

    def covers(self, at: float, margin: float = SOON) -> bool:
        return self.since - margin <= at <= self.until + margin


@define
class Stay:
    """One join of one person, as the person knows it."""

    identity: str
    sid: str
    joined_at: float
    left_at: float | None = None
    tracks: list[str] = field(factory=list[str])

    def announced(self, blind: Sequence[Blind]) -> bool:
        """Whether the server must have shown it to a watcher."""
        wait = 0.0 if self.tracks else SILENT_TICK
        until = float("inf") if self.left_at is None else self.left_at
        at = self.joined_at + wait
        for gap in blind:
            if gap.covers(at):
                at = gap.until + SOON + wait
        return at < until - SOON


def stays(truth: RoomTruth) -> dict[str, Stay]:
    """Every join of a room, by SID."""
    found: dict[str, Stay] = {}
    for deed in truth.deeds:
        if deed.deed == "joined":
            found[deed.sid] = Stay(deed.identity, deed.sid, deed.data["joined_at"])
        elif deed.deed == "left":
            found[deed.sid].left_at = deed.at
        elif deed.deed == "published":
            found[deed.sid].tracks.append(deed.data["track"])
    return found


def differences(
    truth: RoomTruth,
    session: Mapping[str, Any] | None,
    *,
    blind: Sequence[Blind] = (),
    webhooks: bool = False,
) -> Iterator[str]:
    """Each way in which a session is not what happened, in words."""
    real = stays(truth)
    must = {sid for sid, stay in real.items() if webhooks or stay.announced(blind)}
    if session is None:
        if must:
            yield f"{truth.room} ({truth.room_sid}) has no session"
        return
    where = f"{truth.room} ({truth.room_sid})"
    seen = {join["sid"]: join for person in session["people"] for join in person["joins"]}
    for sid in sorted(must - seen.keys()):
        yield f"{where}: {real[sid]} is not in the session"
    for sid in sorted(seen.keys() - real.keys()):
        yield f"{where}: {seen[sid]} never was"
    counts = session["participants"]
    who = {real[sid].identity for sid in seen.keys() & real.keys()}
    if (counts["joins"], counts["unique"]) != (len(seen), len(who)):
        yield f"{where}: {counts} for {len(seen)} joins of {len(who)}"
    for sid in sorted(seen.keys() & real.keys()):
        yield from _stay_differs(where, real[sid], seen[sid], blind, webhooks)
    yield from _tracks_differ(where, real, session, must)
    yield from _messages_differ(where, truth, session, blind)


def _stay_differs(
    where: str, real: Stay, seen: Mapping[str, Any], blind: Sequence[Blind], webhooks: bool
) -> Iterator[str]:
    if abs(unix(seen["joined_at"]) - real.joined_at) > SOON:
        yield f"{where}: {real.identity} joined at {real.joined_at}, seen {seen}"
    if real.left_at is None or seen["left_at"] is None:
        if real.left_at is not None:
            yield f"{where}: {real.identity} left at {real.left_at}, seen {seen}"
        return
    late = unix(seen["left_at"]) - real.left_at
    lag = SOON if webhooks or real.tracks else SILENT_TICK
    if not -SOON <= late <= lag + BUSY and not any(gap.covers(real.left_at) for gap in blind):
        yield f"{where}: {real.identity} left at {real.left_at}, seen {late:+.2f} s: {seen}"


def _tracks_differ(
    where: str, real: Mapping[str, Stay], session: Mapping[str, Any], must: set[str]
) -> Iterator[str]:
    theirs = {track for stay in real.values() for track in stay.tracks}
    seen = {track["sid"] for track in session["tracks"]}
    wanted = {track for sid in must for track in real[sid].tracks}
    if not wanted <= seen <= theirs:
        yield f"{where}: tracks {sorted(seen)}, in truth {sorted(wanted)} of {sorted(theirs)}"
    if session["track_counts"]["total"] != len(seen):
        yield f"{where}: {session['track_counts']} for {len(seen)} tracks"


def _messages_differ(
    where: str, truth: RoomTruth, session: Mapping[str, Any], blind: Sequence[Blind]
) -> Iterator[str]:
    sent = [deed.at for deed in truth.deeds if deed.deed == "sent"]
    heard = session["data_messages"]["total"] or 0
    certain = [at for at in sent if not any(gap.covers(at) for gap in blind)]
    if not len(certain) <= heard <= len(sent):
        yield f"{where}: {heard} messages of {len(sent)} sent, {len(certain)} before an observer"


def unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
