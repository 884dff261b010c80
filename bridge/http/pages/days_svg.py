"""Daily totals as a small picture: three rows of bars over the same days.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final

from markupsafe import Markup

from actors.journal.session_reader import Day
from bridge.http.pages.rendering import number

WIDTH: Final = 1160
LABELS: Final = 150
ROW: Final = 54
BAR: Final = 36
TOP: Final = 6
FOOT: Final = 22
RIGHT: Final = 60

ROWS: Final[Sequence[tuple[str, Callable[[Day], float]]]] = (
    ("participant-minutes", lambda day: day.people_seconds / 60),
    ("sessions", lambda day: day.sessions),
    ("peak in one room", lambda day: day.peak),
)

_HEAD: Final = Markup(
    '<svg class="plot" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'role="img" aria-label="{about}">'
)
_BAR: Final = Markup(
    '<rect class="bar" x="{x}" y="{y}" width="{width}" height="{height}"><title>{about}</title>'
    "</rect>"
)
_TEXT: Final = Markup('<text class="{kind}" x="{x}" y="{y}">{text}</text>')
_RULE: Final = Markup('<path class="rule" d="M{x} {y}H{right}"/>')


def days_svg(days: Sequence[Day]) -> Markup:
    """The picture of consecutive days, the oldest first."""
    height = TOP + ROW * len(ROWS) + FOOT
    about = f"Totals by day from {days[0].date} through {days[-1].date}; a table follows."
    parts = [_HEAD.format(width=WIDTH, height=height, about=about)]
    for index, (title, read) in enumerate(ROWS):
        parts.extend(_row(title, read, days, TOP + ROW * index))
    parts.extend(_dates(days, height - 6))
    return Markup().join([*parts, Markup("</svg>")])


def _row(
    title: str, read: Callable[[Day], float], days: Sequence[Day], top: int
) -> Iterator[Markup]:
    values = list(map(read, days))
    most = max(values)
    base = top + BAR + 8
    yield _TEXT.format(kind="name", x=2, y=base, text=title)
    yield _TEXT.format(kind="most", x=WIDTH - RIGHT + 6, y=base - BAR + 9, text=number(most))
    yield _RULE.format(x=LABELS, y=base + 0.5, right=WIDTH - RIGHT)
    step = _step(days)
    for index, (day, value) in enumerate(zip(days, values, strict=True)):
        if value:
            height = max(1.0, round(BAR * value / most, 1))
            yield _BAR.format(
                x=round(LABELS + step * index, 1),
                y=round(base - height, 1),
                width=round(step * 0.72, 1),
                height=height,
                about=f"{day.date}: {number(value)} {title}",
            )


def _dates(days: Sequence[Day], y: int) -> Iterator[Markup]:
    """Labels for the first day and for every Monday that has room for its text."""
    step, last = _step(days), -100.0
    for index, day in enumerate(days):
        x = LABELS + step * index
        when = date.fromisoformat(day.date)
        if x - last >= 64 and (index == 0 or when.weekday() == 0 or len(days) < 12):
            yield _TEXT.format(kind="date", x=round(x, 1), y=y, text=f"{when:%d %b}")
            last = x


def _step(days: Sequence[Day]) -> float:
    return min(80.0, (WIDTH - LABELS - RIGHT) / len(days))
