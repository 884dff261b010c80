"""The border between the stored journals and everybody who follows them: timeline entries in order.

A follower asks for the entries after a position, and waits for `changed`.  SQLite
(`bridge.store.sqlite_feed`) and PostgreSQL (`bridge.postgres.postgres_feed`) fill this port.  One
contract suite in the tests runs over each implementation.

Why the store fills it and not the backlog in memory: an entry is given only when it is on disk.
A position that a client remembers then names the same entry after a crash, and a client never
sees an entry that a crash took back.  The delay is one batch, a tenth of a second.

A position has a place for each writer, like a vector clock.  The other choice is one sequence in
the order of commits, for all writers.  It was rejected for three reasons:

1. Someone has to give its numbers.  A database would have to let one commit at a time pass, or
   wait for the oldest open transaction: one stopped writer then delays all readers.
2. A writer may keep its journal on its own disk.  There is no common commit then.
3. The number of a batch comes from the clock of its writer.  Batches of several writers become
   visible out of order, so "all with a higher number" loses some.

The price: an id grows with the number of writers, and entries of two writers have no order
between them.  A session has one writer at a time, so its own entries stay in order until another
writer takes it over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

import trio
from attrs import frozen

from actors.session import TimelineEntry

Place: TypeAlias = tuple[int, int]
"""An entry of one writer: the number of its batch, and its own number in it from 1 on.  Number 0
is before the first entry of the batch."""

POSITION_LENGTH: Final = 8_000
"""Characters of a position's text."""

_PLACE: Final = re.compile(r"(?:([\w.-]{1,64}):)?([0-9]{1,18})-([0-9]{1,9})", re.ASCII)


class BadPosition(ValueError):
    """The text is not a position."""


@frozen
class Position:
    """A set of entries: of each writer all entries up to one place.

    Positions compare and combine as sets do: `a <= b` if b has every entry that a has, `a | b`
    has the entries of both, `a & b` has those that are in both.  Two positions of several writers
    may be neither `<=` nor `>=`.

    The text of a position is its places, `WRITER:BATCH-NUMBER`, separated by commas.  A store with
    one writer leaves out the name and the colon: `BATCH-NUMBER`.
    """

    places: Mapping[str, Place]
    """By the name of the writer.  The writer of a store that has only one is "" ."""

    @classmethod
    def at(cls, batch: int, number: int, writer: str = "") -> Position:
        """The entries of one writer up to this place."""
        return cls({writer: (batch, number)})

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read the text of a position.  Raises `BadPosition`."""
        places: dict[str, Place] = {}
        for part in text.split(",") if len(text) <= POSITION_LENGTH else ():
            match = _PLACE.fullmatch(part)
            if match is None or (match[1] or "") in places:
                raise BadPosition("this is not a position")
            places[match[1] or ""] = (int(match[2]), int(match[3]))
        if not places:
            raise BadPosition("this is not a position")
        return cls(places)

    def __str__(self) -> str:
        return ",".join(
            f"{writer}:{batch}-{number}" if writer else f"{batch}-{number}"
            for writer, (batch, number) in sorted(self.places.items())
        )

    def place(self, writer: str = "") -> Place:
        """The place of one writer; before its first entry where it has none here."""
        return self.places.get(writer, (0, 0))

    def of_writers_in(self, other: Position) -> Position:
        """The places of the writers that have a place in `other` too."""
        return Position({one: place for one, place in self.places.items() if one in other.places})

    def __le__(self, other: Position) -> bool:
        return all(place <= other.place(writer) for writer, place in self.places.items())

    def __or__(self, other: Position) -> Position:
        places = dict(self.places)
        for writer, place in other.places.items():
            places[writer] = max(place, self.place(writer))
        return Position(places)

    def __and__(self, other: Position) -> Position:
        return Position(
            {
                writer: min(place, other.places[writer])
                for writer, place in self.places.items()
                if writer in other.places
            }
        )


@frozen
class FeedEntry:
    """One timeline entry of one session."""

    position: Position
    """Of this entry alone: the position of a reader is the union of all that it took."""
    room: str
    room_sid: str
    entry: TimelineEntry
    session: str = ""
    """The session's key in the store, unique for ever.  Its id for people is the room SID."""
    seq: int = 0
    """The number of the record that made the entry, among those of its session."""
    index: int = 0
    """The entry's place among those of its record, from 0."""


@frozen
class FeedPage:
    """The next entries after a position.

    Feeds of the same writers may give entries of different writers in different orders.
    """

    entries: tuple[FeedEntry, ...]
    """The entries of one writer are in order, without a hole.  None here: there are no more yet."""
    gap: bool
    """Entries after the position are missing: the store dropped them, or cannot read them.

    Also true where the store cannot tell: it has forgotten the writer's last place before its
    oldest entry."""


class Feed(Protocol):
    """The timeline entries of all sessions, as they become durable."""

    @property
    def changed(self) -> trio.Event:
        """Set when there may be more entries; then another event takes its place.

        Take it before you read: no entry is missed then.
        """
        ...

    async def newest(self) -> Position:
        """The position that has every entry so far.  Raises `ArchiveTrouble`."""
        ...

    async def after(self, position: Position, limit: int) -> FeedPage:
        """At most `limit` entries that the position does not have.  Raises `ArchiveTrouble`.

        Writers that the feed does not know are ignored.
        """
        ...
