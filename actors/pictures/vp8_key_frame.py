"""A mosaic as one VP8 key frame, without a codec library: what a still picture is sent as.

A still that the SDK encodes again for each frame costs four times as much CPU as one that is sent
encoded (docs/livekit-facts.md).  The format is that of RFC 6386; the sections are named below.

The picture is made of flat squares of 4 by 4 luma samples.  So each macroblock is predicted flat
(`DC_PRED`), the rest is in the 16 means of its squares (its Y2 block) and in the means of its
chroma squares, and no other coefficient is sent.  A decoder repeats the arithmetic of `_encode`
exactly, because each prediction is made from what the decoder has and not from the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from actors.pictures.mosaic import Mosaic

_UPDATE: Final = (
    (
        (), (), (), (176, 246), (223, 241, 252), (249, 253, 253), (255, 244, 252),
        (234, 254, 254), (253,), (255, 246, 254), (239, 253, 254), (254, 255, 254),
        (255, 248, 254), (251, 255, 254), (), (255, 253, 254), (251, 254, 254),
        (254, 255, 254), (255, 254, 253, 255, 254), (250, 255, 254, 255, 254), (254,),
        (), (), (),
    ),
    (
        (217,), (225, 252, 241, 253, 255, 255, 254), (234, 250, 241, 250, 253, 255, 253, 254),
        (255, 254), (223, 254, 254), (238, 253, 254, 254), (255, 248, 254), (249, 254), (),
        (255, 253), (247, 254), (), (255, 253, 254), (252,), (), (255, 254, 254), (253,), (),
        (255, 254, 253), (250,), (254,), (), (), (),
    ),
    (
        (186, 251, 250), (234, 251, 244, 254), (251, 251, 243, 253, 254, 255, 254),
        (255, 253, 254), (236, 253, 254), (251, 253, 253, 254, 254), (255, 254, 254),
        (254, 254, 254), (), (255, 254), (254, 254), (254,), (), (254,), (),
        (), (), (), (), (), (), (), (), (),
    ),
    (
        (248,), (250, 254, 252, 254), (248, 254, 249, 253), (255, 253, 253), (246, 253, 253),
        (252, 254, 251, 254, 254), (255, 254, 252), (248, 254, 253), (253, 255, 254, 254),
        (255, 251, 254), (245, 251, 254), (253, 253, 254), (255, 251, 253), (252, 253, 254),
        (255, 254), (255, 252), (249, 255, 254), (255, 255, 254), (255, 255, 253), (250,), (),
        (), (254,), (),
    ),
)  # fmt: skip
"""Section 13.4: how likely no new probability follows, by type of block, by band and context, by
place in the tree.  255 where nothing is named."""

_Y_AFTER_Y2, _Y2, _CHROMA = 0, 1, 2
"""Types of blocks (section 13.3)."""
_ZIGZAG: Final = (0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15)
_PROBABILITIES: Final = (
    (253,) + (128,) * 10,  # Squares of luma: nothing, always.
    (96, 80, 150, 150, 140, 128, 128, 140, 128, 128, 128),
    (96, 80, 150, 150, 140, 128, 128, 140, 128, 128, 128),
)
"""Ours, by type of block.  They are the same for all bands and contexts, so neither is needed."""
_CATEGORIES: Final = (
    (5, (159,)), (7, (165, 145)), (11, (173, 148, 140)), (19, (176, 155, 140, 135)),
    (35, (180, 157, 141, 134, 130)),
    (67, (254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129)),
)  # fmt: skip
"""Section 13.2: the smallest value of a category, and the probabilities of its extra bits."""
_PATHS: Final = (((6, 0), (7, 0)), ((6, 0), (7, 1)), ((6, 1), (8, 0), (9, 0)),
                 ((6, 1), (8, 0), (9, 1)), ((6, 1), (8, 1), (10, 0)),
                 ((6, 1), (8, 1), (10, 1)))  # fmt: skip
"""The way to each category in the tree of tokens: place of the probability, and bit."""
_Y2_STEP, _CHROMA_STEP = 8, 4
"""Steps of the quantizer with index 0: of Y2 blocks, and of the first chroma coefficient."""


@final
class _Bits:
    """The boolean encoder of section 7."""

    def __init__(self) -> None:
        self._range, self._bottom, self._left = 255, 0, 24
        self._data = bytearray()

    def put(self, probability: int, bit: int) -> None:
        split = 1 + (((self._range - 1) * probability) >> 8)
        if bit:
            self._bottom += split
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._range <<= 1
            if self._bottom & (1 << 31):
                self._carry()
            self._bottom = (self._bottom << 1) & 0xFFFFFFFF
            self._left -= 1
            if not self._left:
                self._data.append(self._bottom >> 24)
                self._bottom &= 0xFFFFFF
                self._left = 8

    def _carry(self) -> None:
        place = len(self._data) - 1
        while place >= 0 and self._data[place] == 255:
            self._data[place] = 0
            place -= 1
        self._data[place] += 1

    def number(self, value: int, bits: int) -> None:
        for place in reversed(range(bits)):
            self.put(128, value >> place & 1)

    def finish(self) -> bytes:
        self.number(0, 32)
        return bytes(self._data)


def encode_key_frame(mosaic: Mosaic) -> bytes:
    """The mosaic as a whole VP8 frame."""
    modes, tokens = _Bits(), _Bits()
    _put_header(modes)
    _Frame(mosaic, modes, tokens).encode()
    first, second = modes.finish(), tokens.finish()
    tag = len(first) << 5 | 1 << 4  # A key frame that is shown.
    size = (mosaic.width | mosaic.height << 16).to_bytes(4, "little")
    return tag.to_bytes(3, "little") + b"\x9d\x01\x2a" + size + first + second


def _put_header(bits: _Bits) -> None:
    """Section 9.2 to 9.11, up to the modes of the macroblocks."""
    bits.number(0, 2)  # Colour space, clamping.
    bits.number(0, 1)  # No segments.
    bits.number(0, 1 + 6 + 3)  # No loop filter.
    bits.number(0, 1)
    bits.number(0, 2)  # One partition of tokens.
    bits.number(0, 7)  # Index of the quantizer.
    bits.number(0, 5)  # All quantizers have that index.
    bits.number(0, 1)  # The probabilities are for this frame only.
    for kind, rows in enumerate(_UPDATE):
        for row in rows:
            for place in range(11):
                update = kind < len(_PROBABILITIES)
                bits.put(row[place] if place < len(row) else 255, update)
                if update:
                    bits.number(_PROBABILITIES[kind][place], 8)
    bits.number(1, 1)  # Macroblocks without coefficients are marked.
    bits.number(_SKIP, 8)


_SKIP: Final = 64
"""Probability, of 256, that a macroblock has coefficients."""


@final
class _Frame:
    def __init__(self, mosaic: Mosaic, modes: _Bits, tokens: _Bits) -> None:
        self._mosaic, self._modes, self._tokens = mosaic, modes, tokens
        columns = mosaic.width // 16
        self._columns, self._rows = columns, mosaic.height // 16
        # The means of the squares of the row above, as the decoder has them, by plane.
        self._above = [[0] * (4 * columns), [0] * (2 * columns), [0] * (2 * columns)]

    def encode(self) -> None:
        for row in range(self._rows):
            self._left: list[list[int]] = [[0] * 4, [0] * 2, [0] * 2]
            for column in range(self._columns):
                self._encode(row, column)

    def _encode(self, row: int, column: int) -> None:
        luma_levels = self._luma(row, column)
        chroma_levels = [self._chroma(plane, row, column) for plane in (1, 2)]
        empty = not any(luma_levels) and not any(map(any, chroma_levels))
        modes = self._modes
        modes.put(_SKIP, empty)
        for probability, bit in ((145, 1), (156, 0), (163, 0), (142, 0)):
            modes.put(probability, bit)  # DC_PRED for luma, and for chroma (section 11.2).
        if empty:
            return
        self._put_block(_Y2, luma_levels)
        for _ in range(16):
            self._tokens.put(_PROBABILITIES[_Y_AFTER_Y2][0], 0)
        for level in (level for levels in chroma_levels for level in levels):
            self._put_block(_CHROMA, (level,))

    # ---------------------------------------------------------------- samples

    def _prediction(self, plane: int, row: int, column: int, squares: int) -> int:
        """The mean of the samples above and to the left, as the decoder has them (12.2)."""
        total = count = 0
        if row:
            total += sum(self._above[plane][squares * column : squares * (column + 1)])
            count += squares
        if column:
            total += sum(self._left[plane])
            count += squares
        return (2 * total + count) // (2 * count) if count else 128

    def _luma(self, row: int, column: int) -> Sequence[int]:
        """The levels of the Y2 block in their zigzag order."""
        mosaic, stride = self._mosaic, self._mosaic.width // 4
        predicted = self._prediction(0, row, column, 4)
        start = 4 * row * stride + 4 * column
        wanted = [
            mosaic.luma[start + y * stride + x] - predicted for y in range(4) for x in range(4)
        ]
        if any(wanted):
            levels = [(value + 1) // 2 for value in _transformed(wanted)]
            means = [(value + 3) >> 3 for value in _transformed([_Y2_STEP * one for one in levels])]
            got = [max(0, min(255, predicted + ((mean + 4) >> 3))) for mean in means]
        else:
            levels, got = [0] * 16, [predicted] * 16
        self._above[0][4 * column : 4 * column + 4] = got[12:]
        self._left[0] = got[3::4]
        return [levels[place] for place in _ZIGZAG]

    def _chroma(self, plane: int, row: int, column: int) -> Sequence[int]:
        """The level of each of the four squares."""
        stride = self._mosaic.width // 8
        samples = self._mosaic.blue if plane == 1 else self._mosaic.red
        predicted = self._prediction(plane, row, column, 2)
        start = 2 * row * stride + 2 * column
        levels, got = list[int](), list[int]()
        for place in (start, start + 1, start + stride, start + stride + 1):
            level = 2 * (samples[place] - predicted)
            levels.append(level)
            got.append(max(0, min(255, predicted + ((_CHROMA_STEP * level + 4) >> 3))))
        self._above[plane][2 * column : 2 * column + 2] = got[2:]
        self._left[plane] = got[1::2]
        return levels

    # ---------------------------------------------------------------- tokens

    def _put_block(self, kind: int, levels: Sequence[int]) -> None:
        """The tokens of one block (section 13)."""
        last = max((place for place, level in enumerate(levels) if level), default=-1)
        probabilities, put = _PROBABILITIES[kind], self._tokens.put
        after_zero = False
        for level in levels[: last + 1]:
            if not after_zero:
                put(probabilities[0], 1)
            after_zero = level == 0
            put(probabilities[1], not after_zero)
            if not after_zero:
                self._put_value(probabilities, abs(level))
                put(128, level < 0)
        if last + 1 < 16:
            put(probabilities[0], 0)

    def _put_value(self, probabilities: Sequence[int], value: int) -> None:
        put = self._tokens.put
        put(probabilities[2], value > 1)
        if value == 1:
            return
        put(probabilities[3], value > 4)
        if value <= 4:
            put(probabilities[4], value > 2)
            if value > 2:
                put(probabilities[5], value == 4)
            return
        category = max(index for index, (least, _) in enumerate(_CATEGORIES) if value >= least)
        for place, bit in _PATHS[category]:
            put(probabilities[place], bit)
        least, extra = _CATEGORIES[category]
        for place, probability in enumerate(extra):
            put(probability, (value - least) >> (len(extra) - 1 - place) & 1)


def _transformed(block: Sequence[int]) -> list[int]:
    """The Walsh-Hadamard transform of 4 by 4 values (section 14.3), four times its inverse."""
    lines = [value for row in range(4) for value in _line(block[4 * row : 4 * row + 4])]
    columns = [_line(lines[column::4]) for column in range(4)]
    return [columns[column][row] for row in range(4) for column in range(4)]


def _line(values: Sequence[int]) -> tuple[int, int, int, int]:
    a, b, c, d = values
    return a + b + c + d, a + b - c - d, a - b - c + d, a - b + c - d
