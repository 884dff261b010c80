"""The port by which a session asks what rules decide, filled by `actors.acting`.

A session shows its rules each entry that it published, in the same step, and records what they
decide before anything else happens.  So the batch that has an entry has the decision too, and no
kill can come between them.  Where no rule watches a room, its session has no rules to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from actors.session import SessionState, TimelineEntry
from actors.session.rule_records import RuleRecord


class RoomRules(Protocol):
    """The rules of one session.  No method raises."""

    @property
    def due(self) -> float:
        """Unix seconds when time alone may decide something; infinite if it cannot."""
        ...

    def decide(self, state: SessionState, entry: TimelineEntry) -> Sequence[RuleRecord]:
        """What the rules decide after `entry`, which led to `state`; to be recorded at once."""
        ...

    def decide_after(self, state: SessionState, at: float) -> Sequence[RuleRecord]:
        """What they decide after a record of `at` (Unix seconds), which may have led to no entry:
        a webhook reports a join before the room announces it.  To be recorded at once."""
        ...

    def decide_at(self, state: SessionState, now: float) -> Sequence[RuleRecord]:
        """What they decide because it is `now` (Unix seconds), which is `due`."""
        ...


StartRules: TypeAlias = Callable[[SessionState], RoomRules | None]
"""Gives the rules of a session, which goes on from this state; None if none watches its room."""
