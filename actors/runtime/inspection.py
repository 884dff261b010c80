"""The tree of a running system as data and as text, for an operator with a stuck process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from attrs import frozen

from actors.runtime.cell import Cell
from actors.runtime.supervisor import Supervisor


@frozen
class Node:
    """One actor or supervisor."""

    path: str
    kind: str
    """"actor" or "supervisor"."""
    state: str
    generation: int
    restarts: int
    queued: int = 0
    counters: dict[str, int] | None = None
    last: tuple[str, ...] = ()
    """Class names of the last messages, newest last."""
    awaiting: str = ""
    """Where the handlers' task waits: ``module.function:line``."""
    children: tuple[Node, ...] = ()


def inspect_in_steps(
    unit: Cell[Any] | Supervisor, restarts: int = 0
) -> Generator[None, None, Node]:
    """The tree under `unit`, one actor a step.  The last step returns it."""
    if isinstance(unit, Supervisor):
        children: list[Node] = []
        for child in tuple(unit.children.values()):
            node = yield from inspect_in_steps(child.unit, child.budget.spent)
            children.append(node)
        return Node(
            path=unit.path or "/",
            kind="supervisor",
            state=unit.state.value,
            generation=unit.generation,
            restarts=restarts,
            children=tuple(children),
        )
    yield
    counters = unit.mailbox.counters
    return Node(
        path=unit.path,
        kind="actor",
        state=unit.state.value,
        generation=unit.generation,
        restarts=restarts,
        queued=counters.queued,
        counters=counters.as_dict(),
        last=tuple(kind.__name__ for kind in unit.last),
        awaiting=unit.awaiting(),
    )


def render_tree(node: Node, indent: str = "") -> str:
    """The tree as text, one line an actor."""
    name = node.path.rsplit("/", 1)[-1] or "/"
    parts = [f"{indent}{name} [{node.state}] generation {node.generation}"]
    if node.restarts:
        parts.append(f"restarts {node.restarts}")
    if node.counters is not None:
        counts = ", ".join(f"{key} {value}" for key, value in node.counters.items() if value)
        parts.append(f"queued {node.queued}" + (f" ({counts})" if counts else ""))
    if node.last:
        parts.append("last " + " ".join(node.last))
    if node.awaiting:
        parts.append(f"at {node.awaiting}")
    lines = ["; ".join(parts)]
    lines += [render_tree(child, indent + "  ") for child in node.children]
    return "\n".join(lines)
