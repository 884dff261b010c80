"""Keeps what every journal was told, to fold it again: a snapshot must be that fold."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, final
from unittest.mock import patch

from actors.rooms.journal import Journal
from actors.session import RoomEvent, SessionState, apply, attach_job, end


def _record(state: SessionState, event: RoomEvent) -> SessionState:
    return apply(state, event)[0]


def _end(state: SessionState, at: float, reason: str) -> SessionState:
    return end(state, at, reason)[0]


_FOLDS: Final[dict[str, Any]] = {"record": _record, "end": _end, "attach": attach_job}


@final
class Journals:
    """All journals that are made while `kept` is entered."""

    def __init__(self) -> None:
        self.all: list[tuple[Journal, SessionState, list[tuple[str, tuple[Any, ...]]]]] = []

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """Note what is accepted by every journal that is made from here on."""
        real_init = Journal.__init__
        accepted: dict[int, list[tuple[str, tuple[Any, ...]]]] = {}

        def init(journal: Journal, state: SessionState) -> None:
            real_init(journal, state)
            accepted[id(journal)] = []
            self.all.append((journal, state, accepted[id(journal)]))

        def keeping(name: str) -> Any:
            real = getattr(Journal, name)

            def method(journal: Journal, *args: Any) -> None:
                real(journal, *args)  # what raises was not accepted
                accepted[id(journal)].append((name, args))

            return method

        with patch.multiple(Journal, __init__=init, **{name: keeping(name) for name in _FOLDS}):
            yield

    def differing(self) -> list[str]:
        """Journals whose state is not the fold of what they accepted."""
        found: list[str] = []
        for journal, state, accepted in self.all:
            for name, args in accepted:
                state = _FOLDS[name](state, *args)
            if state != journal.state:
                found.append(f"{journal.state.room_sid}: not the fold of what it accepted")
        return found
