"""Inputs that are nearly right: bytes of right ones, changed as a seed says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

MOST_BYTES: Final = 1 << 16

_TOKENS: Final = (
    b"", b"\0", b"\xff", b"\x80", b"{", b"[", b'"', b"\\", b"'", b";", b"=", b"%", b"\n", b"\r\n",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0",
    b"-1", b"1e999", b"9223372036854775807", b"99999999999999999999", b"null", b"true", b"NaN",
    b"\xed\xa0\x80", "\u202e".encode(), b"*", b"?", b"[^", b"\\u0000", b"2026-02-30", b"\xc0",
)  # fmt: skip


def mutations(samples: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endless; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(samples))
        for _ in range(rng.choice((1, 1, 2, 3, 8))):
            _change(data, samples, rng)
        yield bytes(data[:MOST_BYTES])


def _change(data: bytearray, samples: Sequence[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((0, 1, 1, 2, 4, 16, 256)))
    match rng.randrange(8):
        case 0 if data:
            at = rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * rng.choice((1, 2, 100))
        case 4:
            other = rng.choice(samples)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case 5:
            data[at:at] = rng.choice(_TOKENS) * rng.choice((1, 1, 2, 1_000))
        case 6:
            data[at:end] = rng.randbytes(end - at)
        case _:
            data[at:end] = rng.choice(_TOKENS)
