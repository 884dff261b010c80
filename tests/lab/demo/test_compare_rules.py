"""The chapter of the rules finds each fault: nobody greeted, somebody twice, a stranger."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.session import EntryView, SessionView
from bridge.lab.demo.compare_rules import RuleComparison, compare_rules
from tests.lab.demo.test_compare import PlayedDemo, tell


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


def greeted(session: SessionView) -> SessionView:
    """With an act for each join of a person."""
    acts = [
        EntryView(at=join.joined_at, event="act_done", rule="welcome", act="send", on=one.identity)
        for one in session.participants
        if one.kind in ("standard", "sip")
        for join in one.joins
    ]
    return msgspec.structs.replace(session, timeline=(*(session.timeline or ()), *acts))


def compared(
    demo: PlayedDemo, change: Callable[[list[EntryView]], object] = lambda _: None
) -> RuleComparison:
    first, *others = map(greeted, demo.sessions)
    entries = list(first.timeline or ())
    change(entries)
    first = msgspec.structs.replace(first, timeline=tuple(entries))
    return compare_rules(demo.stories, [first, *others])


def test_each_join_that_was_greeted_once_is_right(demo: PlayedDemo) -> None:
    comparison = compared(demo)
    assert comparison.differences == ()
    assert comparison.fired == comparison.sent > 5
    assert comparison.numbers > 5


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries.pop(),
        lambda entries: entries.append(entries[-1]),
        lambda entries: entries.append(msgspec.structs.replace(entries[-1], on="a stranger")),
    ],
)
def test_a_missing_act_one_too_many_and_one_on_a_stranger_are_differences(
    demo: PlayedDemo, change: Callable[[list[EntryView]], object]
) -> None:
    [difference] = compared(demo, change).differences
    assert difference.room.startswith("rules in ")


def test_where_no_rule_acted_everybody_is_missing(demo: PlayedDemo) -> None:
    assert len(compare_rules(demo.stories, demo.sessions).differences) > 5
