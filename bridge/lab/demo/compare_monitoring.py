"""Compares the monitor of one person with what this person did.

The agent `participant-monitor` is dispatched for the host of the first room, with metadata that
names them.  So LiveKit's jobs for everybody else must be declined.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from actors.monitoring.monitors import MonitorSummary
from bridge.lab.demo.differences import Difference, Near, count_values, diff
from bridge.lab.demo.expected_session import TALK_LAG
from bridge.lab.demo.play_script import RoomStory
from bridge.lab.demo.script import Script

AGENT: Final = "participant-monitor"
TYPES: Final = "room,participant"


@frozen
class MonitoringComparison:
    """The chapter of the monitored person."""

    identity: str
    spoke: float
    """Seconds, by the person's own account."""
    summary: MonitorSummary | None
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


def monitored_person(plan: Script) -> tuple[str, str, str]:
    """The room, the identity of its host, and the metadata of the dispatch."""
    room = plan.rooms[0]
    host = room.people[0]
    return room.room, host, json.dumps({"participant_identity": host})


def compare_monitoring(
    plan: Script, stories: Sequence[RoomStory], summaries: Sequence[MonitorSummary]
) -> MonitoringComparison:
    """`summaries`: every monitor of the worker, after it stopped."""
    room, host, _ = monitored_person(plan)
    deeds = [
        deed
        for story in stories
        if story.plan.room == room
        for deed in story.truth.deeds
        if deed.identity == host
    ]
    spoke = sum(deed.data["seconds"] for deed in deeds if deed.deed == "spoke")
    tracks = len({deed.data["track"] for deed in deeds if deed.deed == "published"})
    wanted: dict[str, Any] = {
        "monitors": 1,
        host: {"tracks": tracks, "speaking": Near(spoke, TALK_LAG if spoke else 0.0)},
    }
    actual: dict[str, Any] = {"monitors": len(summaries)}
    for one in summaries:
        actual[one.identity] = {"tracks": one.tracks, "speaking": one.speaking}
    return MonitoringComparison(
        host,
        spoke,
        next((one for one in summaries if one.identity == host), None),
        count_values(wanted),
        tuple(diff("monitoring", wanted, actual)),
    )
