"""`top --api`: the live rooms of a worker on another machine, from its lists.

A list has sums: seconds of talk by person, seconds of each quality.  Of two lists the later one has
more seconds of those who talk, and of the qualities that somebody has.  So who talks and the worst
quality are known from the second list on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Final, final

from attrs import evolve, frozen
from rich.text import Text

from actors.session import QUALITIES, SessionRow
from bridge.cli.api_connection import ApiTrouble
from bridge.cli.api_reader import ApiReader
from bridge.cli.live_rooms import NOT_REGISTERED, RATE_OVER, RoomRow
from bridge.cli.top_frame import alert_words, lost_workers
from bridge.output.harmless import harmless

GROWTH: Final = 0.2
"""Seconds by which a sum must grow from one list to the next."""
ALONE: Final = 1.0
"""Seconds between the two lists of a single picture."""
OTHER: Final = "…"
"""The first character of the sum of those who are not named."""


@frozen
class TopPicture:
    """What `top` shows at one moment."""

    head: Text
    """One line on the worker."""
    rooms: Sequence[RoomRow]
    trouble: str | None = None
    """Why nothing could be read; the rest is then as it was before."""


def api_pictures(reader: ApiReader, *, alone: bool = False) -> Generator[TopPicture]:
    """A picture for each `next`.  `alone`: only one is wanted, from two lists."""
    picture, lists = TopPicture(Text("the worker was not asked yet"), ()), _Lists()
    while True:
        try:
            rows, head = lists.take(reader.rooms(), time.monotonic()), _head(reader)
            if alone:
                time.sleep(ALONE)
                rows = lists.take(reader.rooms(), time.monotonic())
            picture = TopPicture(head, rows)
            yield picture
        except ApiTrouble as error:
            yield evolve(picture, trouble=str(error))


def _head(reader: ApiReader) -> Text:
    workers, firing = reader.worker_views(), reader.firing_rules()
    answering = next((one for one in workers if one.answers), None)
    words = list[str | tuple[str, str]]()
    if answering is None or len(workers) > 1:
        running = [one for one in workers if one.state == "running"]
        rooms, most = sum(one.rooms for one in running), sum(one.max_rooms for one in running)
        words += [f"{len(running)} workers run, watch {rooms} of at most {most} rooms, "]
        words += lost_workers([one.name or one.id for one in workers if one.state == "lost"])
    else:
        words += [
            f"worker answers, watches {answering.rooms} of at most {answering.max_rooms} rooms, "
        ]
    if answering is None or answering.store is None:
        return Text.assemble(*words, *alert_words(firing), "a server of all workers answers")
    lost = answering.store.lines_lost
    return Text.assemble(
        *words,
        (f"lines lost {lost}", "bold red" if lost else ""),
        ", ",
        *alert_words(firing),
        ("registered", "") if answering.registered else (NOT_REGISTERED, "bold red"),
        f", {harmless(answering.id, 40)}",
    )


@final
class _Lists:
    """Lists of live sessions of the last seconds, the oldest first."""

    def __init__(self) -> None:
        self._earlier: deque[tuple[float, Mapping[str, SessionRow]]] = deque()

    def take(self, rows: Sequence[SessionRow], at: float) -> list[RoomRow]:
        """The rooms of a list that came at `at`."""
        before = self._earlier[-1][1] if self._earlier else {}
        while self._earlier and at - self._earlier[0][0] > RATE_OVER:
            self._earlier.popleft()
        self._earlier.append((at, {row.id: row for row in rows}))
        since, oldest = self._earlier[0]
        return [
            _room(row, before.get(row.id), _rate(row, oldest.get(row.id), at - since))
            for row in rows
        ]


def _rate(row: SessionRow, oldest: SessionRow | None, passed: float) -> float | None:
    now, then = _messages(row), None if oldest is None else _messages(oldest)
    return None if now is None or then is None or not passed else (now - then) / passed


def _messages(row: SessionRow) -> int | None:
    return None if row.data_messages is None else row.data_messages.total


def _room(row: SessionRow, before: SessionRow | None, rate: float | None) -> RoomRow:
    talk = row.talk.by_identity
    earlier = talk if before is None else before.talk.by_identity
    talking = [who for who, seconds in talk.items() if seconds - earlier.get(who, 0.0) >= GROWTH]
    quality = row.quality if before is None else before.quality
    levels = [
        level
        for level in QUALITIES
        if (row.quality.of(level) or 0.0) - (quality.of(level) or 0.0) >= GROWTH
    ]
    return RoomRow(
        name=row.room,
        people=row.people.current or 0,
        tracks=row.track_counts.current or 0,
        messages=_messages(row),
        rate=rate,
        talking=tuple(sorted(who for who in talking if not who.startswith(OTHER))),
        quality=max(levels, key=QUALITIES.index, default=None),
        age=row.duration,
        coverage=row.coverage,
    )
