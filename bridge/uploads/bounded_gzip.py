"""A gzip body unpacked to a bound.

It is unpacked twice: first only to know its size, in pieces that are dropped at once.  So a bomb
costs a piece of memory and the time for the bound, and what is good is allocated once, in its size.
"""

from __future__ import annotations

import zlib
from typing import Final

PIECE: Final = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
"""Only gzip's own header is accepted."""


class BadUpload(ValueError):
    """A body that is not what it says, or that is beyond a bound.  Quotes nothing of it."""


def unpacked(body: bytes, most: int) -> bytes:
    """The content of one gzip member.  Raises `BadUpload` beyond `most` bytes, and if it is not
    gzip, cut short, or followed by something else."""
    size = _size(body, most)
    return zlib.decompress(body, _GZIP, size or 1)


def _size(body: bytes, most: int) -> int:
    inflate, size, left = zlib.decompressobj(_GZIP), 0, body
    try:
        while not inflate.eof:
            piece = inflate.decompress(left, PIECE)
            size += len(piece)
            if size > most:
                raise BadUpload("unpacked it is too large")
            if not piece and not inflate.eof and not inflate.unconsumed_tail:
                raise BadUpload("cut short")
            left = inflate.unconsumed_tail
    except zlib.error:
        raise BadUpload("not gzip") from None
    if inflate.unused_data:
        raise BadUpload("not one gzip member")
    return size
