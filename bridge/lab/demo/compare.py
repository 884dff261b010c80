"""Compares every number of every session with what the people in the room did.

`expected` (`bridge.lab.demo.expected_session`) turns the people's own account of one room
into the shape of a session; `diff` (`bridge.lab.demo.differences`) walks both and names
each place where they differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import msgspec
from attrs import frozen

from actors.session import SessionView
from bridge.lab.demo.differences import Difference, count_values, diff
from bridge.lab.demo.expected_session import Shape, expected, expected_totals
from bridge.lab.demo.play_script import RoomStory


@frozen
class FinalTotals:
    """The numbers of the Final Summary."""

    rooms: int
    participants: int
    tracks: int
    data_messages: int | None
    seconds: float


@frozen
class Comparison:
    differences: tuple[Difference, ...]
    numbers: int
    """Number of compared values."""

    def with_more(self, differences: Sequence[Difference], numbers: int) -> Comparison:
        """Together with those of another comparison."""
        return Comparison((*self.differences, *differences), self.numbers + numbers)


def compare(
    stories: Sequence[RoomStory], sessions: Sequence[SessionView], totals: FinalTotals
) -> Comparison:
    """Compare the people's account with the worker's: its sessions (whole ones, after the worker
    stopped) and its Final Summary."""
    by_sid = {session.room_sid: session for session in sessions}
    differences: list[Difference] = []
    numbers = 0
    for story in stories:
        session = by_sid.pop(story.truth.room_sid, None)
        if session is None:
            differences.append(Difference(story.plan.room, "session", "one", "none"))
            continue
        wanted = expected(story, session)
        numbers += count_values(wanted)
        differences.extend(diff(story.plan.room, wanted, shape(session)))
    differences.extend(
        Difference(session.room, "session", "none", "one") for session in by_sid.values()
    )
    wanted = expected_totals(stories, sessions)
    numbers += count_values(wanted)
    differences.extend(diff("Final Summary", wanted, attrs.asdict(totals)))
    return Comparison(tuple(differences), numbers)


def shape(session: SessionView) -> Shape:
    """A session as JSON has it, its lists keyed: participants by identity, tracks by SID.

    A track also has its number of mutes, and the session the acts in it, from the timeline.
    """
    mutes = Counter(entry.sid for entry in session.timeline or () if entry.event == "track_muted")
    acts = Counter(
        f"{entry.event} {entry.rule} {entry.act} {entry.on}"
        for entry in session.timeline or ()
        if entry.event in ("act_done", "act_failed")
    )
    json = msgspec.to_builtins(session)
    return {
        **json,
        "acts": dict(acts),
        "participants": {one["identity"]: one for one in json["participants"]},
        "tracks": {
            track["sid"]: {**track, "mutes": mutes[track["sid"]]} for track in json["tracks"]
        },
    }
