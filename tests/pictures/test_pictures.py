"""Text cards, bars, images and patterns: what is in them, and what is refused."""

from __future__ import annotations

import struct
import zlib

import pytest

from actors.pictures.image_files import ImageError, image_key_frame, key_frame_of
from actors.pictures.mosaic import (
    BACKGROUND,
    BARS,
    HEIGHT,
    INK,
    SQUARE,
    WIDTH,
    Mosaic,
    colour_bars,
    text_card,
    to_yuv,
)
from actors.pictures.pattern_names import PATTERNS, Pattern
from actors.pictures.video_patterns import HEIGHT as VIDEO_HEIGHT
from actors.pictures.video_patterns import WIDTH as VIDEO_WIDTH
from actors.pictures.video_patterns import pattern_frame

COLUMNS, ROWS = WIDTH // SQUARE, HEIGHT // SQUARE


def rows_of_ink(mosaic: Mosaic) -> list[int]:
    """Squares of ink in each row."""
    ink = to_yuv(INK)[0]
    return [mosaic.luma[row * COLUMNS : (row + 1) * COLUMNS].count(ink) for row in range(ROWS)]


def lines(mosaic: Mosaic) -> int:
    """Lines of text: runs of rows with ink."""
    ink = rows_of_ink(mosaic)
    return sum(now > 0 and before == 0 for before, now in zip([0, *ink], ink, strict=False))


def test_a_short_text_is_large_and_centred_and_a_long_one_smaller_and_ends_in_dots() -> None:
    short, long = text_card("HELLO"), text_card("word " * 100)
    assert lines(short) == 1
    ink = rows_of_ink(short)
    first = next(row for row, count in enumerate(ink) if count)
    last = ROWS - next(row for row, count in enumerate(reversed(ink)) if count)
    assert abs(first - (ROWS - last)) <= 12
    assert lines(long) > 4
    assert sum(rows_of_ink(text_card("x" * 100_000))) < COLUMNS * ROWS / 4, "bounded"
    assert rows_of_ink(text_card("")) == [0] * ROWS


def test_letters_with_accents_are_shown_without_and_others_are_question_marks() -> None:
    assert text_card("Café") == text_card("Cafe")
    assert text_card("\u4f60\u597d") == text_card("??")
    assert text_card("a\x1b[31m\u202eb\nc") == text_card("a?[31m?b c")


def test_bars_have_their_colours_and_a_card_has_two() -> None:
    bars = colour_bars()
    found = [bars.luma[index * COLUMNS // 8 + 3] for index in range(8)]
    assert found == [to_yuv(colour)[0] for colour in BARS]
    assert set(text_card("Hi").luma) == {to_yuv(BACKGROUND)[0], to_yuv(INK)[0]}


def png(width: int, height: int, kind: int, line: bytes, filtered: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = zlib.compress((bytes((filtered,)) + line) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp(frame: bytes) -> bytes:
    body = b"VP8 " + struct.pack("<I", len(frame)) + frame + b"\0" * (len(frame) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize(
    "kind, line, filtered",
    [
        (2, b"\xff\0\0" * 16, 0),
        (2, b"\xff\0\0" + b"\0\0\0" * 15, 1),
        (6, b"\xff\0\0\xff" * 16, 0),
        (6, b"\xff\0\0\xff" + b"\0\0\0\0" * 15, 4),
    ],
    ids=["colours", "from the left", "alpha", "nearest"],
)
def test_a_png_is_shown_whatever_its_filter_and_its_alpha(
    kind: int, line: bytes, filtered: int
) -> None:
    """Sixteen red pixels in nine lines, which fill the picture as red bars would."""
    rows = 9 if filtered == 0 else 1
    red = image_key_frame(png(16, rows, kind, line, filtered))
    assert red == image_key_frame(png(16, rows, 2, b"\xff\0\0" * 16))


def test_the_picture_of_a_lossy_webp_is_sent_as_it_is() -> None:
    frame = key_frame_of(text_card("Hi"))
    assert image_key_frame(webp(frame.data)) == frame


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"\xff\xd8\xff\xe0", "only PNG and lossy WebP"),
        (b"", "only PNG and lossy WebP"),
        (b"\x89PNG\r\n\x1a\n", "no header"),
        (png(16, 9, 2, b"\xff\0\0" * 15), "too short"),
        (png(16, 9, 2, b"\xff\0\0" * 16)[:50], "too short"),
        (png(16, 9, 2, b"\xff\0\0" * 16, filtered=7), "filter 7"),
        (png(5_000, 1, 2, b""), "at most 4096 pixels"),
        (png(16, 9, 3, b"\1" * 16), "damaged"),
        (webp(b"\1" * 20), "no key frame"),
        (b"RIFF\0\0\0\0WEBPVP8L\1\0\0\0x\0", "no lossy picture"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 5_000_000, "more than 5,000,000 bytes"),
    ],
    ids=range(11),
)
def test_an_image_that_cannot_be_shown_is_refused_with_the_reason(
    content: bytes, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        image_key_frame(content)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_is_a_whole_frame_with_a_counter(pattern: Pattern) -> None:
    frames = [pattern_frame(pattern, number, "hello") for number in (0, 1, 1)]
    assert {len(frame) for frame in frames} == {VIDEO_WIDTH * VIDEO_HEIGHT * 3 // 2}
    assert frames[0] != frames[1], "at least the counter"
    assert frames[1] == frames[2]
