"""The events of a session as rows of its page: chosen by kind and person, runs of messages folded.

A timeline may be larger than memory, so it is read once, from its end, and only the rows of one
page are in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen
from msgspec import UnsetType

from actors.session import EntryView, SessionView
from bridge.output.timeline_lanes import given

FOLDED: Final = 4
"""Messages one after the other from which they are one row."""
MOST_NAMED: Final = 3
"""Senders and topics of a folded row that are named."""

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "people": ("participant_",),
    "tracks": ("track_", "data_track_"),
    "messages": ("data_message", "attachment", "messages_thinned", "changes_overtaken"),
    "talk and quality": ("speakers_changed", "quality_changed", "audio_changed"),
    "rules": ("alert_", "act_"),
    "recordings": ("recording_", "room_recording"),
    "agents": ("agent_",),
}
"""The first letters of the events of a kind."""
OTHER: Final = "room"
"""The kind of all other events."""
_MESSAGES: Final = frozenset({"data_message", "attachment"})
_SHOWN_ELSEWHERE: Final = frozenset({"identity", "identities", "joined_at"})


@frozen
class EventChoice:
    """The events that somebody wants to see."""

    kind: str = ""
    """A key of `KINDS`, or `OTHER`; empty for all."""
    person: str | None = None
    """An identity."""
    fold: bool = True

    def takes(self, entry: EntryView) -> bool:
        """True if the entry is one of these."""
        if self.kind and kind_of(entry.event) != self.kind:
            return False
        return self.person is None or self.person in _people(entry)


@frozen
class WantedEvents:
    """The form above the events, as it was filled in."""

    kind: str = ""
    person: int | None = None
    """The place of a participant in the session's list: an identity may have any characters."""
    fold: bool = True
    at: int = 1
    """The page."""

    def choice(self, session: SessionView) -> EventChoice:
        """The same for one session."""
        people, person = session.participants, None
        if self.person is not None and self.person < len(people):
            person = people[self.person].identity
        return EventChoice(self.kind, person, self.fold)

    @property
    def query(self) -> dict[str, str]:
        """The form as a query, without the page."""
        person = "" if self.person is None else str(self.person)
        return {"kind": self.kind, "person": person, "fold": "" if self.fold else "no"}


def wanted_events(query: Mapping[str, str]) -> WantedEvents:
    """The form; a wrong value is passed over."""
    kind = query.get("kind", "")
    return WantedEvents(
        kind=kind if kind in (*KINDS, OTHER) else "",
        person=_number(query.get("person", "")),
        fold=query.get("fold") != "no",
        at=_number(query.get("page", "")) or 1,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


@frozen
class EventRow:
    """One row: an entry, or a run of messages."""

    at: str
    """The time of the newest entry."""
    event: str
    who: str | None
    what: Sequence[tuple[str, str]]
    since: str | None = None
    """Of a run, the time of the oldest."""
    count: int = 1


@frozen
class EventPage:
    """The rows of one page, and how many there are in all."""

    rows: list[EventRow]
    at: int
    pages: int
    entries: int
    """Entries that were chosen, folded or not."""


@define
class _Run:
    """Messages one after the other, the newest first."""

    entries: list[EntryView] = field(factory=list[EntryView])
    """The first `FOLDED`; of longer runs the rest is only counted."""
    count: int = 0
    oldest: str = ""
    bytes: int = 0
    senders: Counter[str] = field(factory=Counter[str])
    topics: Counter[str] = field(factory=Counter[str])

    def add(self, entry: EntryView) -> None:
        self.count += 1
        self.oldest = entry.at
        values = entry.values()
        size, topic = values.get("size"), values.get("topic")
        self.bytes += size if isinstance(size, int) else 0
        self.topics[topic if isinstance(topic, str) else ""] += 1
        self.senders[given(entry.identity, None) or "(unknown)"] += 1
        if self.count < FOLDED:
            self.entries.append(entry)

    def rows(self, newest: str) -> Iterator[EventRow]:
        if self.count < FOLDED:
            yield from map(event_row, self.entries)
            return
        topics = {topic: count for topic, count in self.topics.items() if topic}
        what = [("bytes", str(self.bytes))]
        if topics:
            what.append(("topics", _ranked(Counter(topics))))
        yield EventRow(newest, "messages", _ranked(self.senders), what, self.oldest, self.count)


def kind_of(event: str) -> str:
    """The kind of an event."""
    return next((kind for kind, begins in KINDS.items() if event.startswith(begins)), OTHER)


def event_page(
    newest_first: Iterable[EntryView], choice: EventChoice, at: int, size: int
) -> EventPage:
    """The page with the number `at`, or the last one if there are fewer."""
    rows, number, entries, last = list[EventRow](), 0, 0, 0
    for row in _rows(filter(choice.takes, newest_first), fold=choice.fold):
        page = number // size + 1
        if page <= at and page != last:
            # The page may turn out to be the last one.
            rows.clear()
            last = page
        if page == last:
            rows.append(row)
        number += 1
        entries += row.count
    pages = max(1, -(-number // size))
    return EventPage(rows, min(at, pages), pages, entries)


def _rows(newest_first: Iterable[EntryView], *, fold: bool) -> Iterator[EventRow]:
    run, newest = _Run(), ""
    for entry in newest_first:
        if fold and entry.event in _MESSAGES:
            newest = newest if run.count else entry.at
            run.add(entry)
            continue
        if run.count:
            yield from run.rows(newest)
            run = _Run()
        yield event_row(entry)
    if run.count:
        yield from run.rows(newest)


def event_row(entry: EntryView) -> EventRow:
    """One entry: its time, its event, the participants, and the other keys."""
    what = [
        (key, _value(value))
        for key, value in entry.values().items()
        if key not in _SHOWN_ELSEWHERE and value not in (None, "", False)
    ]
    who = given(entry.identity, None)
    if not isinstance(entry.identities, UnsetType):
        who = ", ".join(entry.identities) or "nobody"
    return EventRow(entry.at, entry.event, who, what)


def _people(entry: EntryView) -> Sequence[str]:
    names = list(() if isinstance(entry.identities, UnsetType) else entry.identities)
    return [*names, *filter(None, (given(entry.identity, None), given(entry.on, None)))]


def _ranked(counts: Counter[str]) -> str:
    """The most frequent ones, with their counts."""
    named = [f"{name} {count}" for name, count in counts.most_common(MOST_NAMED)]
    rest = len(counts) - len(named)
    return ", ".join(named) + (f" and {rest} more" if rest else "")


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return "yes" if value is True else str(value)
