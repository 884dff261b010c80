"""The tree of actors as rows of a table.  Actors in trouble are shown, with any number of rooms.

Pure.  Of a supervisor's children the ones in trouble are shown first, then others up to `SHOWN` in
all.  One line gives the number of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from actors.runtime import Node

SHOWN: Final = 12
"""The most children of one supervisor that are shown."""
ILL_SHOWN: Final = 100
BUSY: Final = 100
"""Messages in a queue from which an actor counts as in trouble."""
MOST_DEPTH: Final = 6


@frozen
class TreeRow:
    """One line of the table."""

    depth: int
    label: str
    name: str = ""
    """The name of the actor's room."""
    kind: str = ""
    state: str = ""
    ill: bool = False
    restarts: int = 0
    queued: int = 0
    handled: int | None = None
    dropped: int | None = None
    failed: int | None = None
    last: str = ""
    awaiting: str = ""
    rest: str = ""
    """For a line about children that are not shown: their state.  The other fields are empty."""


def rows(node: Node, names: Mapping[str, str], depth: int = 0) -> Iterator[TreeRow]:
    """The lines of a node and its descendants.  `names` has the rooms' names by SID."""
    yield _row(node, names, depth)
    ill = [child for child in node.children if is_ill(child)]
    well = [child for child in node.children if not is_ill(child)]
    shown = {id(child) for child in (ill[:ILL_SHOWN] + well)[: max(SHOWN, len(ill[:ILL_SHOWN]))]}
    for child in node.children:
        if id(child) in shown:
            yield from rows(child, names, min(depth + 1, MOST_DEPTH))
    hidden = len(node.children) - len(shown)
    if hidden:
        hidden_ill = max(0, len(ill) - ILL_SHOWN)
        summary = f"{hidden_ill} of them not well" if hidden_ill else "all well"
        yield TreeRow(min(depth + 1, MOST_DEPTH), f"{hidden} more", rest=summary)


def is_ill(node: Node) -> bool:
    """True if the node or a descendant was restarted, is not running, or has a long queue."""
    return _ill(node) or any(map(is_ill, node.children))


def _ill(node: Node) -> bool:
    return bool(node.restarts) or node.state != "running" or node.queued >= BUSY


def _row(node: Node, names: Mapping[str, str], depth: int) -> TreeRow:
    counters = node.counters or {}
    label = node.path.rsplit("/", 1)[-1] or "/"
    return TreeRow(
        depth=depth,
        label=label,
        name=names.get(label, ""),
        kind=node.kind,
        state=node.state,
        ill=_ill(node),
        restarts=node.restarts,
        queued=node.queued,
        handled=counters.get("handled"),
        dropped=counters.get("dropped"),
        failed=counters.get("failed"),
        last=" ".join(node.last[-3:]),
        awaiting=node.awaiting,
    )
