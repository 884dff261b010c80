"""The rooms of chapters that are played beside the story.

Each chapter compares its own room.  The session of the room is left out of the story's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from actors.session import SessionView
from bridge.lab.demo import agent_room, announced_room
from bridge.lab.demo.compare import FinalTotals

SIDE_ROOMS: Final = frozenset({announced_room.ROOM, agent_room.ROOM})


def without_side_rooms(
    sessions: Sequence[SessionView], totals: FinalTotals
) -> tuple[list[SessionView], FinalTotals]:
    """The sessions and the totals of the story alone."""
    for session in sessions:
        if session.room in SIDE_ROOMS:
            messages, own = totals.data_messages, session.data_messages
            totals = evolve(
                totals,
                rooms=totals.rooms - 1,
                participants=totals.participants - (session.people.unique or 0),
                tracks=totals.tracks - (session.track_counts.total or 0),
                data_messages=(
                    None if messages is None or own is None else messages - (own.total or 0)
                ),
                seconds=totals.seconds - (session.duration or 0.0),
            )
    return [session for session in sessions if session.room not in SIDE_ROOMS], totals
