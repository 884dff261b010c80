"""A session as one picture: a lane a person, time to the right.  Pure: a session's JSON in.

Above the lanes is what the colours mean.  In a lane, from the top: data messages as ticks,
presence as a bar in the colour of the connection's quality, talk as a line on it, then a thin
line for each of microphone, camera and screen, pale where it is muted, and one with the level of
the audio where it was measured.  An agent's lane has a band with its state.  A small bar stands
where somebody left.  Where nobody watched, all lanes are hatched.

What is drawn is bounded whatever is in the session: `LANES` people, and in each lane no
more shapes of a kind than there are pixels, because what lies in one pixel is one shape.

The picture takes its colours from classes: those of the page it stands in or, saved as a
file, from `STYLE` inside of it.  Names are made harmless and escaped, as in the page.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen
from markupsafe import Markup

from actors.session import SessionView
from bridge.output.agent_state_spans import agent_state_spans
from bridge.output.harmless import harmless
from bridge.output.timeline_lanes import LaneSpan, Spans, TimelineLane, gaps, lanes, length

LANES: Final = 60
"""People who are drawn, in the order of first sight."""
WIDTH: Final = 1160
LABELS: Final = 150
"""Width of the names."""
PLOT: Final = WIDTH - LABELS - 8
TOP: Final = 56
LANE: Final = 38
FOOT: Final = 8
LOWER_TIMES: Final = 18
"""Height of the times below the lanes, where these are more than `FEW`."""
FEW: Final = 12
NAME_LENGTH: Final = 22

DEVICES: Final[Mapping[str, tuple[int, str]]] = {
    "microphone": (25, "mic"),
    "camera": (28, "cam"),
    "screen": (31, "screen"),
    "screen_audio": (31, "screen"),
    "unknown": (31, "screen"),
}
"""Of each source, where in a lane its line is, and the class of its colour."""

AUDIO: Final = 34
"""Where in a lane the line of the measured audio is."""
STATES: Final = 28
"""Where in an agent's lane its state is: agents have no camera and no screen."""

STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds between the lines of time."""

LEGEND: Final = (
    ("here", "present", 18, 10, 84),
    ("leave", "left", 1.5, 16, 38),
    ("excellent", "excellent", 18, 10, 88),
    ("good", "good", 18, 10, 66),
    ("poor", "poor", 18, 10, 62),
    ("lost", "lost", 18, 10, 60),
    ("talk", "talks", 18, 4, 64),
    ("mic", "microphone", 18, 2, 98),
    ("muted", "muted", 18, 2, 72),
    ("cam", "camera", 18, 2, 76),
    ("screen", "screen", 18, 2, 76),
    ("data", "data", 1, 5, 40),
    ("gap", "nobody watched", 18, 16, 134),
)
"""Class, label, width and height as in a lane, width with label and the space after it."""

MEASURED_LEGEND: Final = ("audio-clear", "audio", 18, 3, 0)
"""The same for measured audio, where there is some."""

STATE_LEGEND: Final = (
    ("st-listening", "agent listens", 18, 5, 112),
    ("st-thinking", "thinks", 18, 5, 72),
    ("st-speaking", "speaks", 18, 5, 72),
)
"""The same for the states of agents, in a line of its own."""

STYLE: Final = (Path(__file__).parent / "static" / "timeline.css").read_text(encoding="utf-8")
STYLE_HASH: Final = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
"""For the Content-Security-Policy of a file that is looked at in a browser."""


def timeline_svg(session: SessionView, *, alone: bool = False) -> Markup:
    """The picture of a session as `report --json` gives it.

    `alone`: a file of its own, with its style inside.
    """
    drawn, states = lanes(session)[:LANES], agent_state_spans(session)
    scale = _Scale(datetime.fromisoformat(session.started_at).timestamp(), length(session))
    bottom = TOP + LANE * max(1, len(drawn))
    foot = FOOT + LOWER_TIMES * (len(drawn) > FEW)
    return Markup().join(
        (
            _head(session, bottom + foot, len(drawn), alone=alone),
            *_legend(
                len(session.participants) - len(drawn),
                any(lane.audio for lane in drawn),
                agents=bool(states),
            ),
            *_grid(scale, bottom, [TOP - 10, bottom + 15][: 1 + (len(drawn) > FEW)]),
            *(
                part
                for index, lane in enumerate(drawn)
                for part in _lane(lane, index, scale, states.get(lane.identity, {}))
            ),
            *_bars("gap", gaps(session), scale, TOP, bottom - TOP, "nobody watched"),
            Markup("</svg>\n"),
        )
    )


_STYLE_ELEMENT: Final = Markup("<style>" + STYLE + "</style>")  # noqa: S704 (a file of ours)


@frozen
class _Scale:
    began: float
    """Unix seconds."""
    length: float
    """Seconds."""

    def x(self, at: float) -> float:
        share = at / self.length if self.length else 0.0
        return round(LABELS + PLOT * min(1.0, max(0.0, share)), 1)


_HEAD: Final = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 {width} {height}" '
    'width="{width}" height="{height}" role="img" aria-labelledby="tl-title tl-about">'
    '<title id="tl-title">{title}</title><desc id="tl-about">{about}</desc>{style}'
    '<defs><pattern id="tl-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/>'
    '<path class="hatch-line" d="M0 0V6"/></pattern></defs>'
    '<rect class="ground" width="{width}" height="{height}"/>'
)


def _head(session: SessionView, height: int, drawn: int, *, alone: bool) -> Markup:
    people = len(session.participants)
    about = f"{people} people, a lane each: presence, quality, talk, devices and data over time."
    return _HEAD.format(
        width=WIDTH,
        height=height,
        title=f"Timeline of room {harmless(session.room)}",
        about=about if drawn == people else f"{about}  The first {drawn} are drawn.",
        style=_STYLE_ELEMENT if alone else "",
    )


_LINE: Final = Markup('<path class="{kind}" d="M{x} {top}V{bottom}"/>')
_TEXT: Final = Markup('<text class="{kind}" x="{x}" y="{y}">{text}</text>')


def _grid(scale: _Scale, bottom: int, times: Sequence[int]) -> Iterator[Markup]:
    """Lines of time, at most ten, at round times of the day, which are told at each of `times`."""
    yield Markup('<path class="rule" d="M0 {y}H{width}"/>').format(y=bottom, width=WIDTH)
    days = 86_400 * (1 + int(scale.length // 864_000))
    step = next((one for one in STEPS if scale.length / one <= 10), days)
    pattern = "%H:%M:%S" if step < 60 else "%H:%M" if scale.length < 86_400 else "%d %b %H:%M"
    at = step - scale.began % step
    while at < scale.length:
        x = scale.x(at)
        text = datetime.fromtimestamp(scale.began + at, UTC).strftime(pattern)
        yield _LINE.format(kind="grid", x=x, top=TOP - 5, bottom=bottom)
        if LABELS + 20 < x < WIDTH - 24:
            for y in times:
                yield _TEXT.format(kind="hour", x=x, y=y, text=text)
        at += step


def _lane(
    lane: TimelineLane, index: int, scale: _Scale, states: Mapping[str, Spans]
) -> Iterator[Markup]:
    top = TOP + LANE * index
    yield Markup('<g><path class="rule" d="M0 {y}H{width}"/>').format(y=top, width=WIDTH)
    yield _name(lane, top + 21)
    yield from _bars("here", lane.present, scale, top + 11, 10)
    for level, spans in lane.quality.items():
        yield from _bars(level, spans, scale, top + 11, 10, level)
    yield from _bars("talk", lane.talk, scale, top + 14, 4, "talks")
    for source, spans in lane.published.items():
        y, kind = DEVICES.get(source, DEVICES["unknown"])
        title = source.replace("_", " ")
        yield from _bars(kind, spans, scale, top + y, 2, title)
        yield from _bars("muted", lane.muted.get(source, ()), scale, top + y, 2, f"{title} muted")
    for level, spans in lane.audio.items():
        title = f"audio {level}: {harmless(lane.audio_text)}"
        yield from _bars(f"audio-{level}", spans, scale, top + AUDIO, 3, title)
    for state, spans in states.items():
        yield from _bars(f"st-{state}", spans, scale, top + STATES, 5, state)
    for x in dict.fromkeys(scale.x(at) for at in lane.data):
        yield _LINE.format(kind="data", x=x, top=top + 4, bottom=top + 9)
    for x in dict.fromkeys(scale.x(span.end) for span in lane.present if span.end < scale.length):
        yield _LINE.format(kind="leave", x=x, top=top + 8, bottom=top + 24)
    yield Markup("</g>")


def _name(lane: TimelineLane, y: int) -> Markup:
    full = harmless(lane.name or lane.identity)
    short = full if len(full) <= NAME_LENGTH else full[: NAME_LENGTH - 1] + "…"
    machine = "" if lane.kind in ("standard", "sip") else " machine"
    return Markup('<text class="who{}" x="2" y="{}"><title>{}</title>{}</text>').format(
        machine, y, f"{full} ({lane.kind})", short
    )


_BAR: Final = Markup(
    '<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}">{about}</rect>'
)


def _bars(
    kind: str, spans: Iterable[LaneSpan], scale: _Scale, y: int, height: int, title: str = ""
) -> Iterator[Markup]:
    about = Markup("<title>{}</title>").format(title) if title else ""
    for x, right in _pixels(spans, scale):
        width = round(right - x, 1)
        yield _BAR.format(kind=kind, x=x, y=y, width=width, height=height, about=about)


def _pixels(spans: Iterable[LaneSpan], scale: _Scale) -> Iterator[tuple[float, float]]:
    """Left and right of each; what touches is one, and nothing is too short to be seen."""
    left = right = None
    for span in spans:
        x = scale.x(span.start)
        if right is not None and x <= right + 0.5:
            right = max(right, scale.x(span.end))
            continue
        if left is not None and right is not None:
            yield left, right
        left, right = x, max(scale.x(span.end), x + 1)
    if left is not None and right is not None:
        yield left, right


def _legend(undrawn: int, measured: bool, *, agents: bool) -> Iterator[Markup]:
    x, y = 2, 18
    rows = (*LEGEND, *([MEASURED_LEGEND] if measured else []))
    yield from _keys(rows, x, y)
    if agents:
        yield from _keys(STATE_LEGEND, x, y + 18)
    if undrawn > 0:
        text = f"{undrawn} more people are not drawn"
        yield _TEXT.format(kind="label end", x=WIDTH - 4, y=y, text=text)


def _keys(
    rows: Sequence[tuple[str, str, float, float, float]], x: float, y: int
) -> Iterator[Markup]:
    for kind, label, width, height, step in rows:
        top = y - 4 - height / 2
        yield _BAR.format(kind=f"{kind} key", x=x, y=top, width=width, height=height, about="")
        yield _TEXT.format(kind="label", x=x + width + 5, y=y, text=label)
        x += step
