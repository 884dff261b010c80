"""A gzip body unpacked to a bound: of a bomb, no more than the bound is ever in memory."""

from __future__ import annotations

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS
"""Only gzip's own header is accepted."""


class BadUpload(ValueError):
    """A body that is not what it says, or that is beyond a bound.  Quotes nothing of it."""


def unpacked(body: bytes, most: int) -> bytes:
    """The content of one gzip member.  Raises `BadUpload` beyond `most` bytes, and if it is not
    gzip, cut short, or followed by something else."""
    inflate = zlib.decompressobj(_GZIP)
    try:
        content = inflate.decompress(body, most + 1)
    except zlib.error:
        raise BadUpload("not gzip") from None
    if len(content) > most:
        raise BadUpload("unpacked it is too large")
    if not inflate.eof or inflate.unused_data:
        raise BadUpload("not one whole gzip member")
    return content
