"""The signals with which the runtime reports what happens to actors, each once."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import field, frozen

from actors.runtime.errors import Exit
from actors.runtime.mailbox import Counters


@frozen
class Started:
    """An incarnation is ready for its first message."""

    actor: str
    generation: int


@frozen
class Crashed:
    """An exception ended an incarnation.  `message` was lost with it, if it is not None."""

    actor: str
    generation: int
    error: BaseException
    message: Any = None


@frozen
class Restarting:
    """Another incarnation follows after `delay` seconds."""

    actor: str
    generation: int
    attempt: int
    delay: float


@frozen
class Failed:
    """A child spent its restart budget.  It stays down and its siblings live."""

    actor: str
    restarts: int
    error: BaseException | None


@frozen
class GroupEscalated:
    """A supervisor spent its own budget because of `child`, and ends."""

    supervisor: str
    child: str
    error: BaseException | None


@frozen
class ActorEnded:
    """An actor or a group has ended, and no incarnation follows."""

    actor: str
    generation: int
    exit: Exit
    counters: Counters | None = field(default=None, eq=False)
    """Where an actor's messages went; None for a group."""


@frozen
class Overran:
    """A child was cancelled after its shutdown time and still runs.  It waits at `awaiting`."""

    actor: str
    after: float
    awaiting: str


@frozen
class DeadLetter:
    """A message or an answer that nobody will read."""

    actor: str
    what: str
    """The message's class name, or the kind of reply."""
    sender: str = field(default="", eq=False)
    """The file and line that sent it, in debug mode where it is known (see `open_system`)."""
    number: int = field(default=1, eq=False)
    """1 for the first dead letter of the system, and so on."""


Signal: TypeAlias = (
    Started | Crashed | Restarting | Failed | GroupEscalated | ActorEnded | Overran | DeadLetter
)
