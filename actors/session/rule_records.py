"""What rules decided, and what became of their acts: records of a session's journal.

A decision is a record before anything is done.  So after a kill the next run knows which episodes
are under way and which acts were intended and not reported: it neither repeats nor loses one.
`actors.session.rule_state` folds these records.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from actors.session.room_info import Permissions


@frozen
class PlannedAct:
    """One act that a rule wants done."""

    key: str
    """Unique in the session."""
    act: str
    """Its word in `then`."""
    index: int = 0
    """Its place in `then`."""
    sid: str = ""
    """The join (or the track) that it is on; empty where it is on the room."""
    due: float = 0.0
    """Unix seconds before which it is not done; 0 for at once."""
    until: float = 0.0
    """Unix seconds: the end of a ban."""
    result: str | None = None
    """What came of it, where nothing is left to be done: it is in no need of a server, it is a dry
    run, or it was refused."""
    done: bool = True
    """With a result: whether it succeeded."""
    permissions: Permissions | None = None
    """Permissions of a person before the hold.  The release gives them back."""


@frozen
class RulePending:
    """A rule holds and waits for its `for`."""

    at: float
    rule: str
    on: str = ""
    """The identity of the person of this episode; empty for the room."""


@frozen
class RuleFired:
    """A rule fires; with it, everything that it wants done."""

    at: float
    rule: str
    on: str = ""
    acts: tuple[PlannedAct, ...] = ()
    alert: bool = False
    """It is an alert: the timeline has it, and its end."""
    text: str = ""
    """Text of the alert."""
    lasting: bool = True
    """False if there is no episode: the rule is of an event, which is over at once."""


@frozen
class RuleResolved:
    """An episode is over, or was never more than pending."""

    at: float
    rule: str
    on: str = ""
    acts: tuple[PlannedAct, ...] = ()
    """What its end wants done: the release of somebody on hold."""


@frozen
class ActReported:
    """What became of an act."""

    at: float
    key: str
    done: bool
    result: str = ""


RuleRecord: TypeAlias = RulePending | RuleFired | RuleResolved | ActReported
