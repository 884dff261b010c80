"""A session's timeline as text: a lane a person, a cell a stretch of time.

A lane has up to four rows: voice, video, data, quality.  A row without anything is left out.
Colour only repeats the meaning of a character.  The people who were there longest come first;
those beyond `MOST` are counted.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import frozen
from rich.text import Text

from actors.session import SessionView
from bridge.output.cells import cell_len, fit
from bridge.output.durations import axis_time, step_duration
from bridge.output.timeline_lanes import Spans, TimelineLane, gaps, lanes, length, starts_late

MOST: Final = 20
"""People with a lane."""
_NAME: Final = 24
"""Cells of a name at most, and a third of the width."""
_LEAST: Final = 10
"""Cells of a lane, however narrow the terminal is."""


@frozen
class Glyphs:
    """The characters of a drawing."""

    here: str
    microphone: str
    talk: str
    """By share of the cell's time, the least first."""
    gap: str
    axis: str

    @property
    def all(self) -> str:
        return f"{self.here}{self.microphone}{self.talk}{self.gap}{self.axis}"


UNICODE: Final = Glyphs("·", "─", "▁▂▃▄▅▆▇█", "▒", "╷")
ASCII: Final = Glyphs(".", "-", "-+=#", "/", "|")
"""For a terminal that cannot show the others."""

MUTED: Final = "m"
_CAMERA, _SCREEN, _BOTH = "c", "s", "b"
_LEVELS: Final = {"lost": "!", "poor": "p", "good": "g", "excellent": "e"}
"""The worst first."""
STYLES: Final = {"lost": "red", "poor": "yellow", "good": "cyan", "excellent": "green"}


def draw(session: SessionView, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Its lines, none wider than `width` cells unless that is less than 20."""
    everyone = sorted(lanes(session), key=lambda lane: lane.seconds, reverse=True)
    if not everyone or not length(session):
        yield Text("nobody was seen")
        return
    shown, rest = everyone[:MOST], len(everyone) - MOST
    longest = max(cell_len(fit(lane.identity, _NAME).rstrip()) for lane in shown)
    label = min(max(longest, len("quality") + 2), _NAME, max(width // 3, len("quality")))
    slots = _Slots(length(session), max(width - label - 1, _LEAST))
    yield from _axis(slots, label, glyphs)
    blind = slots.shares(gaps(session))
    if any(blind):
        yield _row("not seen", label, [(glyphs.gap if share else " ", "dim") for share in blind])
    for lane in shown:
        yield from _lane(lane, slots, label, blind, glyphs)
    if rest > 0:
        yield Text(f"and {rest} more, who were there for a shorter time")
    yield Text()
    for line in _legend(slots, starts_late(session), glyphs):
        yield from map(Text, textwrap.wrap(line, max(width, _LEAST), subsequent_indent="  "))


# ---------------------------------------------------------------- time


_NOTHING: Final = 1e-6
"""Of a cell: less comes from floating point."""


class _Slots:
    """The session cut into cells."""

    def __init__(self, seconds: float, count: int) -> None:
        self.count: Final = count
        self.step: Final = seconds / count
        """Seconds of each."""

    def shares(self, spans: Spans) -> list[float]:
        """The share of each cell's time that they take."""
        taken = [0.0] * self.count
        for span in spans:
            first = self.index(span.start)
            for index in range(first, self.index(span.end) + 1):
                begin = index * self.step
                share = min(span.end, begin + self.step) - max(span.start, begin)
                if share > _NOTHING * self.step:
                    taken[index] += share / self.step
        return taken

    def counts(self, moments: Iterable[float]) -> list[int]:
        counted = [0] * self.count
        for at in moments:
            counted[self.index(at)] += 1
        return counted

    def index(self, at: float) -> int:
        return min(int(at / self.step), self.count - 1)


_STEPS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400),
)
_APART: Final = 12
"""Cells between two times of the axis, at least."""


def _axis(slots: _Slots, label: int, glyphs: Glyphs) -> Iterator[Text]:
    """Two lines: times since the start, and where they are."""
    wanted = _APART * slots.step
    step = next((one for one in _STEPS if one >= wanted), math.ceil(wanted / 86400) * 86400)
    times, marks = [" "] * slots.count, [" "] * slots.count
    for number in range(math.ceil(slots.count * slots.step / step)):
        at = number * step
        index, text = slots.index(at), axis_time(at, step)
        if index + len(text) <= slots.count:
            times[index : index + len(text)] = text
            marks[index] = glyphs.axis
    for line in (times, marks):
        yield _row("", label, [(char, "dim") for char in line])


# ---------------------------------------------------------------- lanes

_Cells: TypeAlias = Sequence[tuple[str, str]]
"""Character and style of each."""


def _row(title: str, label: int, cells: _Cells) -> Text:
    text = Text(fit(title, label), no_wrap=True).append(" ")
    for char, style in cells:
        text.append(char, style)
    text.rstrip()
    return text


def _lane(
    lane: TimelineLane, slots: _Slots, label: int, blind: Sequence[float], glyphs: Glyphs
) -> Iterator[Text]:
    rows: Mapping[str, Callable[[], _Cells]] = {
        lane.identity: lambda: _voice(lane, slots, glyphs),
        "  video": lambda: _video(lane, slots),
        "  data": lambda: _data(lane, slots),
        "  quality": lambda: _quality(lane, slots),
    }
    for number, (title, cells_of) in enumerate(rows.items()):
        cells = cells_of()
        if number and all(char == " " for char, _ in cells):
            continue
        hatched = [
            (glyphs.gap, "dim") if share >= 0.5 else cell
            for cell, share in zip(cells, blind, strict=True)
        ]
        yield _row(title, label, hatched)


def _worst(lane: TimelineLane, slots: _Slots) -> list[str | None]:
    """The worst quality in each cell."""
    shares = {level: slots.shares(lane.quality.get(level, ())) for level in _LEVELS}
    return [
        next((level for level in _LEVELS if shares[level][slot]), None)
        for slot in range(slots.count)
    ]


def _voice(lane: TimelineLane, slots: _Slots, glyphs: Glyphs) -> _Cells:
    present, talk = slots.shares(lane.present), slots.shares(lane.talk)
    open_ = slots.shares(lane.published.get("microphone", ()))
    muted = slots.shares(lane.muted.get("microphone", ()))

    def char(slot: int) -> str:
        if talk[slot]:
            level = math.ceil(talk[slot] * len(glyphs.talk)) - 1
            return glyphs.talk[min(level, len(glyphs.talk) - 1)]
        if open_[slot]:
            return MUTED if muted[slot] * 2 >= open_[slot] else glyphs.microphone
        return glyphs.here if present[slot] else " "

    worst = _worst(lane, slots)
    return [(char(slot), STYLES.get(worst[slot] or "", "")) for slot in range(slots.count)]


def _video(lane: TimelineLane, slots: _Slots) -> _Cells:
    camera, screen = (_shown(lane, source, slots) for source in ("camera", "screen"))
    chars = {
        (True, True): _BOTH,
        (True, False): _CAMERA,
        (False, True): _SCREEN,
        (False, False): " ",
    }
    return [(chars[pair], "") for pair in zip(camera, screen, strict=True)]


def _shown(lane: TimelineLane, source: str, slots: _Slots) -> list[bool]:
    """Where it was published and not muted."""
    published = slots.shares(lane.published.get(source, ()))
    muted = slots.shares(lane.muted.get(source, ()))
    return [one - other > _NOTHING for one, other in zip(published, muted, strict=True)]


def _data(lane: TimelineLane, slots: _Slots) -> _Cells:
    return [
        (" " if not count else str(count) if count < 10 else "+", "")
        for count in slots.counts(lane.data)
    ]


def _quality(lane: TimelineLane, slots: _Slots) -> _Cells:
    return [
        (" ", "") if level is None else (_LEVELS[level], STYLES[level])
        for level in _worst(lane, slots)
    ]


# ---------------------------------------------------------------- what it means


def _legend(slots: _Slots, late: bool, glyphs: Glyphs) -> Iterator[str]:
    if late:
        yield (
            "The beginning of its events is not kept any more: of talk, mutes, data, quality and "
            "gaps what is older is missing here."
        )
    step = slots.step
    yield f"One character is {step_duration(step)}."
    talk = glyphs.talk
    yield (
        f"Voice: {glyphs.here} here, {glyphs.microphone} microphone on, {MUTED} muted, "
        f"{talk[0]}{talk[len(talk) // 2]}{talk[-1]} talks (some to all of the time), "
        f"{glyphs.gap} nobody watched."
    )
    levels = ", ".join(f"{char} {level}" for level, char in reversed(_LEVELS.items()))
    yield (
        f"Video: {_CAMERA} camera, {_SCREEN} screen, {_BOTH} both. Data: messages sent, "
        f"+ is ten or more. Quality, the worst: {levels}."
    )
