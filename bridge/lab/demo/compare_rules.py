"""Compares what the rules of the demo did with what the people in the rooms did.

The rules greet each person who joins, with a message to that person alone, so that nothing else of
the story changes.  Each join has one act in the timeline of its session, on that person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from actors.session import SessionView
from actors.session.participant import COUNTED_KINDS
from bridge.config.rule_list import RuleTable
from bridge.lab.demo.differences import Difference, count_values, diff
from bridge.lab.demo.expected_session import expected
from bridge.lab.demo.play_script import RoomStory

RULES: Final = tuple(
    RuleTable.of(
        {
            "name": name,
            "event": event,
            "then": [{"send": {"text": "Welcome", "to": "person"}}],
            "limit": 10_000,
        }
    )
    for name, event in (
        ("welcome", "participant_connected"),
        ("welcome to those who were here before", "participant_found"),
    )
)
"""The rules of the demo.  Somebody who leaves at once may miss the message, and the act has its
entry."""
NAMES: Final = frozenset(rule.name for rule in RULES)


@frozen
class RuleComparison:
    """The chapter of the rules."""

    fired: int
    """Acts in the timelines."""
    sent: int
    """Those of them that LiveKit took."""
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


def compare_rules(stories: Sequence[RoomStory], sessions: Sequence[SessionView]) -> RuleComparison:
    """`sessions`: the stored ones, whole, after the worker stopped."""
    stored = {session.room_sid: session for session in sessions}
    differences = list[Difference]()
    fired, sent, numbers = 0, 0, 0
    for story in stories:
        session = stored.get(story.truth.room_sid)
        if session is None:
            continue  # The comparison of the sessions says so.
        wanted = {
            identity: len(person["sids"])
            for identity, person in expected(story, session)["participants"].items()
            if person["kind"] in COUNTED_KINDS and person["sids"]
        }
        acts = [
            one
            for one in session.timeline or ()
            if one.event in ("act_done", "act_failed") and one.rule in NAMES
        ]
        count = Counter(str(one.on) for one in acts)
        actual = {
            "people": dict(count),
            "others": sum(number for who, number in count.items() if who not in wanted),
        }
        differences += diff(f"rules in {story.plan.room}", {"people": wanted, "others": 0}, actual)
        numbers += count_values(wanted) + 1
        fired += len(acts)
        sent += sum(one.event == "act_done" for one in acts)
    return RuleComparison(fired, sent, numbers, tuple(differences))
