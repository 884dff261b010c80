"""Keeps what every journal was told, to fold it again: a snapshot must be that fold."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, final
from unittest.mock import patch

from actors.rooms.journal import Journal
from actors.session import Record, SessionState, fold


@final
class Journals:
    """All journals that are made while `kept` is entered."""

    def __init__(self) -> None:
        self.all: list[tuple[Journal, SessionState | None, list[Record]]] = []

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """Note what is accepted by every journal that is made from here on."""
        real_init, real_keep = Journal.__init__, Journal._keep  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        accepted: dict[int, list[Record]] = {}

        def init(journal: Journal, number: int, state: SessionState, *args: Any, **more: Any):
            real_init(journal, number, state, *args, **more)
            accepted[id(journal)] = []
            # Of a new one even its beginning is a record.
            began = None if journal.seq < 0 else state
            self.all.append((journal, began, accepted[id(journal)]))

        def keep(journal: Journal, record: Record, *args: Any) -> None:
            real_keep(journal, record, *args)
            accepted[id(journal)].append(record)

        with patch.multiple(Journal, __init__=init, _keep=keep):
            yield

    def differing(self) -> list[str]:
        """Journals whose state is not the fold of what they accepted."""
        found: list[str] = []
        for journal, state, accepted in self.all:
            for record in accepted:
                state, _ = fold(state, record)
            if state != journal.state:
                found.append(f"{journal.state.room_sid}: not the fold of what it accepted")
        return found
