"""The border between the queries of the readers and a database that answers them.

The readers of sessions, timelines, journals and alerts are the same over SQLite and over
PostgreSQL.  They write their SQL with `?` and `:name` for values, in words that both databases
know.  What differs between the two is a method here.  `bridge.store.sqlite_connection` and
`bridge.postgres.postgres_connection` fill this port.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from actors.journal.session_reader import WorkerRow

Values: TypeAlias = Sequence[object] | Mapping[str, object]
Mark: TypeAlias = Mapping[int, int]
"""A place in the journal: by writer, the newest batch that was read."""


class Result(Protocol):
    """The rows that a query gives."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class ReadConnection(Protocol):
    """A connection that reads a store.  One thread at a time may use it."""

    def execute(self, sql: str, values: Values = (), /) -> Result:
        """Run one query."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """All queries in the block see the store as it was at the first one."""
        ...

    def workers(self) -> list[WorkerRow]:
        """See `SessionReader.workers`."""
        ...

    def signs_of_life(self) -> Callable[[int], float | None]:
        """A function of a session's key: Unix seconds of the last sign of life of its writer.

        None where that writer runs.
        """
        ...

    def alive_at(self) -> float | None:
        """Unix seconds of the newest sign of life of any writer; None in an empty store."""
        ...

    def packs_in_no_chunk(self) -> Iterable[bytes]:
        """The packs of the journal with rows that are in no chunk, those of a writer in order."""
        ...

    def journal_end(self) -> tuple[object, Mark]:
        """The end of the journal, and a value that is another one after a writer began anew."""
        ...

    def packs_after(self, mark: Mark) -> Iterable[bytes]:
        """The packs after a place, those of a writer in order."""
        ...

    def list_rows(
        self, sessions: Collection[int], form: str
    ) -> Mapping[int, tuple[bool, str, str, bytes]]:
        """By session: whether it ended, its row of a list, the form of that, and its state.

        The state is empty where the row has this form.
        """
        ...

    def has_alerts(self) -> bool:
        """True if there is a table of alerts."""
        ...

    def equals(self, column: str) -> str:
        """A condition with one value: the column has this text.  It uses the column's index."""
        ...

    def like(self, column: str, pattern: str) -> tuple[str, str]:
        """A condition and its value: the column has a text of this pattern (`pattern_parts`)."""
        ...

    def damage(self) -> str | None:
        """See `SessionReader.damage`."""
        ...
