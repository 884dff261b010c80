"""Moving patterns as raw frames (I420), each with a counter.  Pure.

A pattern is known by its name and the number of the frame, so two rooms that are at the same
frame have the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import cos, isqrt, pi, sin
from typing import Final

from actors.pictures.bitmap_font import COLUMNS, LINES, glyph
from actors.pictures.mosaic import BACKGROUND, BARS, Colour, to_yuv
from actors.pictures.pattern_names import Pattern

WIDTH: Final = 640
HEIGHT: Final = 360
"""Pixels.  1280 by 720 would cost four times the CPU."""
FRAME_RATE: Final = 15
"""Frames a second."""
INK: Final = 235
"""Luma of letters."""
COUNTER: Final = 30
"""Pixels of the height of the counter's black field."""
FIELD: Final = 40
"""Pixels of a field of the checkerboard.  An even number."""
RADIUS: Final = 60
ROUND: Final = 60
"""Frames of one round of the circle."""


def pattern_frame(pattern: Pattern, number: int, text: str = "") -> bytes:
    """The frame with this number, from 0 on.  `text` stands in `text_display`."""
    frame = bytearray(_DRAWN[pattern](number))
    if pattern == "text_display":
        _write(frame, text or "room-actors", 24, HEIGHT // 2 - 28, 6)
    for y in range(HEIGHT - COUNTER, HEIGHT):
        frame[y * WIDTH : y * WIDTH + 4 * COUNTER] = b"\x10" * (4 * COUNTER)
    _write(frame, f"{number:06}", 8, HEIGHT - 24, 2)
    return bytes(frame)


@lru_cache(maxsize=4)
def _plain(colour: Colour) -> bytes:
    luma, blue, red = to_yuv(colour)
    quarter = WIDTH * HEIGHT // 4
    return bytes((luma,)) * (4 * quarter) + bytes((blue,)) * quarter + bytes((red,)) * quarter


@lru_cache(maxsize=1)
def _bars() -> bytes:
    yuv = [to_yuv(colour) for colour in BARS]
    wide, half = WIDTH // len(BARS), WIDTH // len(BARS) // 2
    luma = b"".join(bytes((one[0],)) * wide for one in yuv)
    blue = b"".join(bytes((one[1],)) * half for one in yuv)
    red = b"".join(bytes((one[2],)) * half for one in yuv)
    return luma * HEIGHT + blue * (HEIGHT // 2) + red * (HEIGHT // 2)


def _circle(number: int) -> bytes:
    frame = bytearray(_plain(BACKGROUND))
    angle = 2 * pi * (number % ROUND) / ROUND
    middle_x = WIDTH // 2 + round((WIDTH // 2 - RADIUS) * cos(angle))
    middle_y = HEIGHT // 2 + round((HEIGHT // 2 - RADIUS) * sin(angle))
    for y in range(max(0, middle_y - RADIUS), min(HEIGHT, middle_y + RADIUS)):
        half = isqrt(RADIUS * RADIUS - (y - middle_y) ** 2)
        left, right = max(0, middle_x - half), min(WIDTH, middle_x + half)
        frame[y * WIDTH + left : y * WIDTH + right] = bytes((INK,)) * (right - left)
    return bytes(frame)


def _board(number: int) -> bytes:
    dark, light = bytes((40,)) * FIELD, bytes((200,)) * FIELD
    shift = number % (2 * FIELD)
    line = (dark + light) * (WIDTH // (2 * FIELD) + 2)
    even, odd = line[shift : shift + WIDTH], line[shift + FIELD : shift + FIELD + WIDTH]
    rows = b"".join((odd if y // FIELD % 2 else even) for y in range(HEIGHT))
    return rows + b"\x80" * (WIDTH * HEIGHT // 2)


def _gradient(number: int) -> bytes:
    up = bytes(range(16, 236))
    line = (up + up[::-1]) * 4
    shift = 2 * number % (2 * len(up))
    return line[shift : shift + WIDTH] * HEIGHT + b"\x80" * (WIDTH * HEIGHT // 2)


_DRAWN: Final[Mapping[Pattern, Callable[[int], bytes]]] = {
    "color_bars": lambda _: _bars(),
    "moving_circle": _circle,
    "checkerboard": _board,
    "gradient": _gradient,
    "text_display": lambda _: _plain(BACKGROUND),
}


def _write(frame: bytearray, text: str, left: int, top: int, dot: int) -> None:
    """White letters with dots of `dot` pixels; what is beyond the right edge is left out."""
    most = (WIDTH - left) // (dot * (COLUMNS + 1))
    for place, char in enumerate(text[:most]):
        for column, bits in enumerate(glyph(char)):
            x = left + dot * (place * (COLUMNS + 1) + column)
            for line in range(LINES):
                if bits >> line & 1:
                    for y in range(top + line * dot, top + (line + 1) * dot):
                        frame[y * WIDTH + x : y * WIDTH + x + dot] = bytes((INK,)) * dot
