"""A picture of flat squares: text cards, colour bars, and images made coarse.  Pure.

Luma has one sample for each 4 by 4 pixels, chroma one for each 8 by 8.  1280 by 720 pixels are
320 by 180 squares, which is enough for letters and fits one small key frame (`vp8_key_frame`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

from actors.pictures.bitmap_font import COLUMNS, LINES, glyph

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

WIDTH: Final = 1280
HEIGHT: Final = 720
"""Pixels of a still picture."""
SQUARE: Final = 4
"""Pixels of a square of luma, each way."""
BACKGROUND: Final[Colour] = (16, 24, 48)
INK: Final[Colour] = (245, 245, 245)
BARS: Final[Sequence[Colour]] = (
    (255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0),
    (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0),
)  # fmt: skip
MARGIN: Final = 12
"""Squares that a text leaves free at each side."""
LARGEST: Final = 6
"""Squares of a dot of the largest letters."""


@frozen
class Mosaic:
    """The samples of a picture, row by row."""

    width: int
    height: int
    """Pixels, multiples of 16."""
    luma: bytes = field(repr=False)
    blue: bytes = field(repr=False)
    red: bytes = field(repr=False)
    """Differences of the colour (Cb, Cr)."""


def to_yuv(colour: Colour) -> tuple[int, int, int]:
    """Luma, Cb and Cr in the ranges of video (BT.601)."""
    r, g, b = colour
    return (
        16 + (66 * r + 129 * g + 25 * b + 128) // 256,
        128 + (-38 * r - 74 * g + 112 * b + 128) // 256,
        128 + (112 * r - 94 * g - 18 * b + 128) // 256,
    )


def mosaic_of(colour_at: Callable[[int, int], Colour]) -> Mosaic:
    """A mosaic by the colour of each square of luma (column, row).  Chroma takes every second."""
    columns, rows = WIDTH // SQUARE, HEIGHT // SQUARE
    known: dict[Colour, tuple[int, int, int]] = {}
    luma, blue, red = bytearray(), bytearray(), bytearray()
    for row in range(rows):
        for column in range(columns):
            colour = colour_at(column, row)
            yuv = known.get(colour) or known.setdefault(colour, to_yuv(colour))
            luma.append(yuv[0])
            if not (row | column) & 1:
                blue.append(yuv[1])
                red.append(yuv[2])
    return Mosaic(WIDTH, HEIGHT, bytes(luma), bytes(blue), bytes(red))


def colour_bars() -> Mosaic:
    """Eight bars."""
    columns = WIDTH // SQUARE
    return mosaic_of(lambda column, _row: BARS[column * len(BARS) // columns])


def text_card(text: str) -> Mosaic:
    """The text in the largest letters that fit, centred.  Characters beyond ASCII lose their
    accents, or are a question mark.  A text that is too long ends in dots."""
    columns, rows = WIDTH // SQUARE, HEIGHT // SQUARE
    dot, lines = _laid_out(text, columns - 2 * MARGIN, rows - 2 * MARGIN)
    ink = bytearray(columns * rows)
    top = (rows - len(lines) * dot * (LINES + 2)) // 2
    for number, line in enumerate(lines):
        left = (columns - len(line) * dot * (COLUMNS + 1)) // 2
        for place, char in enumerate(line):
            _draw(
                ink, columns, left + place * dot * (COLUMNS + 1),
                top + number * dot * (LINES + 2), char, dot,
            )  # fmt: skip
    return mosaic_of(lambda column, row: INK if ink[row * columns + column] else BACKGROUND)


def _laid_out(text: str, columns: int, rows: int) -> tuple[int, list[str]]:
    """Squares of a dot, and the lines, for a text in so many squares."""
    lines: list[str] = []
    for dot in range(LARGEST, 0, -1):
        most, fits = columns // (dot * (COLUMNS + 1)), rows // (dot * (LINES + 2))
        lines = _wrapped(text, most)
        whole = all(len(word) <= most for word in text.split())
        if len(lines) <= fits and (dot == 1 or whole):
            return dot, lines
    most, fits = columns // (COLUMNS + 1), rows // (LINES + 2)
    return 1, [*lines[: fits - 1], lines[fits - 1][: most - 3] + "..."]


def _draw(ink: bytearray, stride: int, left: int, top: int, char: str, dot: int) -> None:
    for column, bits in enumerate(glyph(char)):
        for line in range(LINES):
            if bits >> line & 1:
                for y in range(dot):
                    start = (top + line * dot + y) * stride + left + column * dot
                    ink[start : start + dot] = b"\1" * dot


def _wrapped(text: str, most: int) -> list[str]:
    """The text in lines of at most `most` characters, broken between words where they fit."""
    lines = [""]
    for word in text.split():
        rest = word
        if lines[-1] and len(lines[-1]) + 1 + len(rest) <= most:
            lines[-1] += f" {rest}"
            continue
        if lines[-1]:
            lines.append("")
        while len(rest) > most:
            lines[-1], rest = rest[:most], rest[most:]
            lines.append("")
        lines[-1] = rest
    return lines
