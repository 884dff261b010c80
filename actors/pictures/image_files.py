"""Image files as key frames: PNG by the standard library, and lossy WebP as it is.

A lossy WebP file has one VP8 key frame in it, which is sent unchanged, in full quality.  A PNG is
made a mosaic, with 320 by 180 squares (`mosaic`).  Other formats are refused with the reason.
Files may come from anybody who may show something, so sizes are bounded before they are unpacked.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import field, frozen

from actors.pictures.mosaic import BACKGROUND, HEIGHT, SQUARE, WIDTH, Colour, Mosaic, mosaic_of
from actors.pictures.vp8_key_frame import encode_key_frame

LARGEST_SIDE: Final = 4_096
"""Pixels of a PNG, each way."""
LARGEST_FRAME: Final = 1_920
"""Pixels of a WebP, each way: it is sent as it is."""
LARGEST_FILE: Final = 5_000_000
"""Bytes."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by the colour type of a PNG."""


class ImageError(Exception):
    """An image cannot be shown.  The text says why, and what to do."""


@frozen
class KeyFrame:
    """One encoded picture."""

    width: int
    height: int
    """Pixels."""
    data: bytes = field(repr=False)
    """VP8."""


def key_frame_of(mosaic: Mosaic) -> KeyFrame:
    """The mosaic, encoded.  Takes 0.4 s of CPU: to be called in a thread."""
    return KeyFrame(mosaic.width, mosaic.height, encode_key_frame(mosaic))


def image_key_frame(content: bytes) -> KeyFrame:
    """The image of a file, encoded.  Raises `ImageError`.  To be called in a thread."""
    if len(content) > LARGEST_FILE:
        raise ImageError(f"the image has more than {LARGEST_FILE:,} bytes")
    if content.startswith(_PNG):
        try:
            return key_frame_of(_png_mosaic(content))
        except (IndexError, ValueError, zlib.error) as error:
            raise ImageError(f"the PNG is damaged: {error}") from None
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp_frame(content)
    raise ImageError("only PNG and lossy WebP images can be shown: convert it to one of these")


def _webp_frame(content: bytes) -> KeyFrame:
    place = 12
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] == b"VP8 ":
            return _checked(content[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
    raise ImageError("the WebP has no lossy picture: save it as a lossy WebP or as PNG")


def _checked(frame: bytes) -> KeyFrame:
    if len(frame) < 10 or frame[0] & 1 or frame[3:6] != b"\x9d\x01\x2a":
        raise ImageError("the WebP is damaged: its picture is no key frame")
    width = int.from_bytes(frame[6:8], "little") & 0x3FFF
    height = int.from_bytes(frame[8:10], "little") & 0x3FFF
    if not (0 < width <= LARGEST_FRAME and 0 < height <= LARGEST_FRAME):
        raise ImageError(f"the WebP may have at most {LARGEST_FRAME} pixels each way")
    return KeyFrame(width, height, frame)


# ---------------------------------------------------------------- PNG


def _png_mosaic(content: bytes) -> Mosaic:
    palette, packed, head = b"", bytearray(), b""
    for name, body in _chunks(content):
        if name == b"IHDR":
            head = body
        elif name == b"PLTE":
            palette = body
        elif name == b"IDAT":
            packed += body
    if len(head) != 13:
        raise ValueError("it has no header")
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    depth, kind, interlaced = head[8], head[9], head[12]
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise ImageError(f"the PNG may have at most {LARGEST_SIDE} pixels each way")
    if depth != 8 or kind not in _SAMPLES or interlaced:
        raise ImageError("only PNGs with 8 bits a sample and without interlacing can be shown")
    samples = _SAMPLES[kind]
    size = height * (1 + width * samples)
    raw = zlib.decompressobj().decompress(packed, size)
    if len(raw) < size:
        raise ValueError("it is too short")
    return _fitted(width, height, samples, kind, palette, raw)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        place += 12 + size


def _fitted(width: int, height: int, samples: int, kind: int, palette: bytes, raw: bytes) -> Mosaic:
    """The image as large as it fits, centred; each square has the colour of one pixel."""
    columns, rows = WIDTH // SQUARE, HEIGHT // SQUARE
    scale = min(columns / width, rows / height)
    shown_columns, shown_rows = max(1, int(width * scale)), max(1, int(height * scale))
    left, top = (columns - shown_columns) // 2, (rows - shown_rows) // 2
    wanted = {(2 * row + 1) * height // (2 * shown_rows): row for row in range(shown_rows)}
    xs = [(2 * column + 1) * width // (2 * shown_columns) for column in range(shown_columns)]
    lines: dict[int, Sequence[Colour]] = {}
    for y, line in enumerate(_unfiltered(width * samples, height, samples, raw)):
        if y in wanted:
            lines[y] = [_colour(kind, palette, line[x * samples : (x + 1) * samples]) for x in xs]
    by_row = [lines[(2 * row + 1) * height // (2 * shown_rows)] for row in range(shown_rows)]

    def colour_at(column: int, row: int) -> Colour:
        x, y = column - left, row - top
        inside = 0 <= x < shown_columns and 0 <= y < shown_rows
        return by_row[y][x] if inside else BACKGROUND

    return mosaic_of(colour_at)


def _colour(kind: int, palette: bytes, pixel: bytes) -> Colour:
    """A pixel over black, or over our background where it is clear."""
    if kind == 3:
        r, g, b = palette[3 * pixel[0] : 3 * pixel[0] + 3]
        return r, g, b
    r, g, b = pixel[:3] if kind in (2, 6) else pixel[:1] * 3
    if kind in (0, 2):
        return r, g, b
    alpha = pixel[-1]
    mixed = [
        (one * alpha + under * (255 - alpha)) // 255
        for one, under in zip((r, g, b), BACKGROUND, strict=True)
    ]
    return mixed[0], mixed[1], mixed[2]


def _unfiltered(stride: int, height: int, samples: int, raw: bytes) -> Iterator[bytes]:
    """The lines of a PNG without their filters."""
    above = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        filtered = raw[start]
        if filtered == 1:
            for x in range(samples, stride):
                line[x] = (line[x] + line[x - samples]) & 255
        elif filtered == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, above, strict=True))
        elif filtered == 3:
            for x in range(stride):
                left = line[x - samples] if x >= samples else 0
                line[x] = (line[x] + (left + above[x]) // 2) & 255
        elif filtered == 4:
            for x in range(stride):
                left, corner = (line[x - samples], above[x - samples]) if x >= samples else (0, 0)
                line[x] = (line[x] + _nearest(left, above[x], corner)) & 255
        elif filtered:
            raise ValueError(f"it has a filter {filtered}")
        yield bytes(line)
        above = line


def _nearest(left: int, above: int, corner: int) -> int:
    """Of three neighbours that which is nearest to left + above - corner."""
    guess = left + above - corner
    distances = abs(guess - left), abs(guess - above), abs(guess - corner)
    return (left, above, corner)[distances.index(min(distances))]
