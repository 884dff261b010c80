"""A line chart as SVG: medians with their extremes, a logarithmic height, light and dark.

By hand: a plotting library is 30 MB for two pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from attrs import frozen

from bench.measure import Spread

WIDTH: Final = 760
HEIGHT: Final = 420
LEFT, RIGHT, TOP, BOTTOM = 60, 120, 66, 50
STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .paper { fill: #ffffff }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.2 }
  .range { stroke-width: 1.2 }
  .c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #cf222e; fill: #cf222e }
  .c2 { stroke: #9a6700; fill: #9a6700 } .c3 { stroke: #6e7781; fill: #6e7781 }
  .c4 { stroke: #1a7f37; fill: #1a7f37 } .line { fill: none }
  text.name { stroke: #ffffff; stroke-width: 4; paint-order: stroke }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .paper { fill: #0d1117 } .grid { stroke: #30363d }
    .c0 { stroke: #58a6ff; fill: #58a6ff } .c1 { stroke: #ff7b72; fill: #ff7b72 }
    .c2 { stroke: #d29922; fill: #d29922 } .c3 { stroke: #8b949e; fill: #8b949e }
    .c4 { stroke: #3fb950; fill: #3fb950 } .line { fill: none } text.name { stroke: #0d1117 }
  }
"""
COLOURS: Final = 5
STEPS: Final = (1, 2, 5)
"""The multiples of each power of ten at which the grid has a line."""


@frozen
class Series:
    name: str
    points: Sequence[tuple[float, Spread]]


@frozen
class Chart:
    title: str
    across: str
    up: str

    def svg(self, series: Sequence[Series]) -> str:
        """At least one series, and nothing in it at or below zero."""
        spreads = [spread for one in series for _, spread in one.points]
        ticks = _ticks(min(one.low for one in spreads), max(one.high for one in spreads))
        widest = max(x for one in series for x, _ in one.points)
        frame = _Frame(widest, ticks[0], ticks[-1])
        body = [
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
            _text(LEFT, TOP - 40, self.title, "title"),
            _text(LEFT, HEIGHT - 12, self.across),
            _text(LEFT, TOP - 20, self.up),
            *(line for tick in ticks for line in frame.level(tick)),
            *(frame.mark(x) for x in sorted({x for one in series for x, _ in one.points})),
            *(part for index, one in enumerate(series) for part in frame.draw(index, one)),
            *frame.names(series),
        ]
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(self.title)}">'
        )
        return "\n".join([head, f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [step * 10.0**power for power in powers for step in STEPS]
    first = max(one for one in every if one <= low)
    last = min((one for one in every if one >= high), default=every[-1])
    return [one for one in every if first <= one <= last]


@frozen
class _Frame:
    """Maps values to places."""

    widest: float
    lowest: float
    highest: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.widest

    def y(self, value: float) -> float:
        share = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def level(self, value: float) -> Iterable[str]:
        y = self.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, f"{value:g}", anchor="end")

    def mark(self, value: float) -> str:
        return _text(self.x(value), HEIGHT - BOTTOM + 18, f"{value:g}", anchor="middle")

    def draw(self, index: int, series: Series) -> Iterable[str]:
        kind = f"c{index % COLOURS}"
        places = [(self.x(x), self.y(spread.median), spread) for x, spread in series.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        yield f'<polyline class="line {kind}" points="{line}"/>'
        for x, y, spread in places:
            low, high = self.y(spread.low), self.y(spread.high)
            yield (
                f'<line class="range {kind}" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{low:.1f}" y2="{high:.1f}"/>'
            )
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'

    def names(self, series: Sequence[Series]) -> Iterable[str]:
        """Beside the end of each line, none over another."""
        free: dict[float, float] = {}
        ends = [(self.y(one.points[-1][1].median), index) for index, one in enumerate(series)]
        for wanted, index in sorted(ends):
            x = self.x(series[index].points[-1][0]) + 10
            y = max(wanted + 4, free.get(x, 0.0))
            free[x] = y + 17
            yield _text(x, y, series[index].name, f"name c{index % COLOURS}")


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
