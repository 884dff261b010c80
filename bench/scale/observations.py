"""The records of an observer, added up and compared with what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import define, field, frozen

from bench.scale.observers import Record

TOPIC: Final = "load"
SMALLEST: Final = 64
SIZES: Final = 128
"""The nth message is `SMALLEST + n % SIZES` bytes long (`bench/load/play.go`)."""

DONE: Final = {
    "data": "data_message",
    "muted": "track_muted",
    "unmuted": "track_unmuted",
    "attributes": "participant_attributes",
    "metadata": "participant_metadata",
}
"""The load generator's name of an event: an observer's name of it."""
_COUNTED: Final = frozenset(DONE.values())


def unix(record: Record) -> float:
    """The time of a record, Unix seconds; in whole milliseconds, rounded down."""
    return datetime.fromisoformat(record["time"]).timestamp()


@define(eq=False)
class Observations:
    logged: Counter[str] = field(factory=Counter[str])
    """Events by name, those of no room too."""
    watched: dict[str, float] = field(factory=dict[str, float])
    """By room: when it was first watched, Unix seconds."""
    with_microphone: set[str] = field(factory=set[str])
    """Rooms with a microphone."""
    ended: set[str] = field(factory=set[str])
    events: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])
    """By room and event's name, since `forget`."""
    messages: dict[str, list[tuple[float, int]]] = field(factory=dict[str, list[tuple[float, int]]])
    """By room: when each message was recorded and how long it was, since `forget`."""
    summary: Record | None = None
    """The last words of a worker of ours."""

    def read(self, records: Iterable[Record]) -> None:
        for one in records:
            event, room = one["event"], str(one.get("room"))
            self.logged[event] += 1
            if event == "session_started":
                self.watched.setdefault(room, unix(one))
            elif event == "track_published":
                self.with_microphone.add(room)
            elif event == "session_ended":
                self.ended.add(room)
            elif event == "final_summary":
                self.summary = one
            elif event in _COUNTED:
                self._count(event, room, one)

    def _count(self, event: str, room: str, one: Record) -> None:
        if event != DONE["data"]:
            self.events[room, event] += 1
        elif one["topic"] == TOPIC:
            self.events[room, event] += 1
            self.messages.setdefault(room, []).append((unix(one), one["size"]))

    def forget(self) -> None:
        """Begin to count anew."""
        self.events.clear()
        self.messages.clear()


@frozen
class Verdict:
    """The events that were sent, compared with those that were recorded."""

    sent: int
    messages: int
    """Among them."""
    missing: Mapping[str, int]
    surplus: Mapping[str, int]
    lags: tuple[float, ...]
    """Seconds from sending a message to its record, sorted; only of rooms in which every
    message came, and in order."""

    @classmethod
    def of(cls, sent: Mapping[str, Any], observations: Observations) -> Verdict:
        wanted: Counter[tuple[str, str]] = Counter()
        for room, did in sent.items():
            for name, event in DONE.items():
                wanted[room, event] = len(did[name]) if name == "data" else did[name]
        return cls(
            wanted.total(),
            sum(len(did["data"]) for did in sent.values()),
            _by_event(wanted - observations.events),
            _by_event(observations.events - wanted),
            tuple(
                sorted(
                    lag for room in sent for lag in _lags(sent[room]["data"], observations, room)
                )
            ),
        )

    @property
    def complete(self) -> bool:
        return not self.missing


def _by_event(found: Counter[tuple[str, str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for (_, event), count in found.items():
        total[event] += count
    return dict(total)


def _lags(sent: list[float], observations: Observations, room: str) -> list[float]:
    came = observations.messages.get(room, [])
    in_order = [size for _, size in came] == [SMALLEST + n % SIZES for n in range(len(sent))]
    return [at - when for when, (at, _) in zip(sent, came, strict=True)] if in_order else []
