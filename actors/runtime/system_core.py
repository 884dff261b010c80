"""The state that all actors of one system share: registry, reports, deadlines, randomness."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeAlias, final

from attrs import frozen

from actors.runtime.actor import Actor
from actors.runtime.deadlines import Deadlines
from actors.runtime.mailbox import Mailbox
from actors.runtime.reports import Reports
from actors.runtime.signals import Signal
from actors.runtime.spec import ChildSpec


@frozen
class Incarnation:
    """One incarnation of an actor that is about to start."""

    path: str
    generation: int
    """1, 2, ...: the mailbox is the one of the incarnation before."""
    actor: Actor[Any]
    spec: ChildSpec[Any]
    mailbox: Mailbox[Any]


Prepare: TypeAlias = Callable[[Incarnation], object]


class RegistryEntry(Protocol):
    """An actor's cell or a supervisor."""

    @property
    def path(self) -> str: ...


@final
class SystemCore:
    """One for each system.  Cells and supervisors know it; they do not know the system."""

    def __init__(
        self,
        *,
        rng: Random,
        on_signal: Callable[[Signal], object] | None,
        prepare: Prepare,
        debug: bool,
    ) -> None:
        self.random = rng
        self.debug = debug
        """Senders of messages that an actor does not understand are noted."""
        self.prepare = prepare
        self.reports = Reports(on_signal)
        self.deadlines = Deadlines()
        """Deadlines of all questions under way."""
        self.registry: dict[str, RegistryEntry] = {}
        """By path: every actor and supervisor that has not ended."""

    def register(self, unit: RegistryEntry) -> None:
        """A child begins to exist.  For supervisors."""
        self.registry[unit.path] = unit

    def unregister(self, unit: RegistryEntry) -> None:
        """A child has ended.  For supervisors."""
        self.registry.pop(unit.path, None)
