"""All comparisons of one demo: its sessions, and each chapter that the demo had."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from actors.monitoring.monitors import MonitorSummary
from actors.session import SessionView
from bridge.lab.demo.agent_room import AgentComparison, AgentRoom
from bridge.lab.demo.announced_room import AnnouncedRoom, AnnouncementComparison
from bridge.lab.demo.compare import Comparison, FinalTotals, compare
from bridge.lab.demo.compare_monitoring import MonitoringComparison, compare_monitoring
from bridge.lab.demo.compare_rules import RuleComparison, compare_rules
from bridge.lab.demo.compare_tracks import (
    MeasuredMicrophone,
    TrackComparison,
)
from bridge.lab.demo.compare_webhooks import WebhookComparison, compare_webhooks
from bridge.lab.demo.play_script import RoomStory
from bridge.lab.demo.recorded_room import RecordedRoom, RecordingComparison, compare_recording
from bridge.lab.demo.script import Script
from bridge.lab.demo.side_rooms import without_side_rooms
from bridge.lab.demo.webhook_receiver import WebhookReceiver


@frozen
class DemoParts:
    """The parts that a demo may have or not."""

    receiver: WebhookReceiver | None = None
    rules: bool = False
    recorded: RecordedRoom | None = None
    measured: MeasuredMicrophone | None = None
    announced: AnnouncedRoom | None = None
    agent: AgentRoom | None = None


@frozen
class Chapters:
    """What was compared.  None: the demo had no such chapter."""

    comparison: Comparison
    """Of everything together."""
    webhooks: WebhookComparison | None = None
    monitoring: MonitoringComparison | None = None
    rules: RuleComparison | None = None
    recording: RecordingComparison | None = None
    tracks: TrackComparison | None = None
    announcement: AnnouncementComparison | None = None
    agent: AgentComparison | None = None


def compare_all(
    plan: Script,
    stories: Sequence[RoomStory],
    sessions: Sequence[SessionView],
    totals: FinalTotals,
    monitors: Sequence[MonitorSummary] | None,
    parts: DemoParts,
) -> Chapters:
    """`sessions`: the stored ones, whole, after the worker stopped."""
    recorded, receiver, measured = parts.recorded, parts.receiver, parts.measured
    announcement = None if parts.announced is None else parts.announced.compare(sessions)
    agent = None if parts.agent is None else parts.agent.compare(sessions)
    sessions, totals = without_side_rooms(sessions, totals)
    chapters = Chapters(
        compare(stories, sessions, totals),
        webhooks=None if receiver is None else compare_webhooks(stories, sessions, receiver),
        monitoring=None if monitors is None else compare_monitoring(plan, stories, monitors),
        rules=compare_rules(stories, sessions) if parts.rules else None,
        recording=(
            None if recorded is None else compare_recording(recorded.room.room, stories, sessions)
        ),
        tracks=None if measured is None else measured.compare(stories, sessions),
        announcement=announcement,
        agent=agent,
    )
    comparison = chapters.comparison
    for one in (
        chapters.webhooks,
        chapters.monitoring,
        chapters.rules,
        chapters.recording,
        chapters.tracks,
        chapters.announcement,
        chapters.agent,
    ):
        if one is not None:
            comparison = comparison.with_more(one.differences, one.numbers)
    return evolve(chapters, comparison=comparison)
