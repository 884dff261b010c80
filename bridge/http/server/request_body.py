"""The body of a request, with bounds on its size and time."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

BODY_SECONDS: Final = 10.0
"""From the headers to the end of the body."""


def refuse_long(request: Request, most: int) -> None:
    """Raise where a body of more than `most` bytes is announced."""
    length = request.headers.get("content-length", "0")
    if len(length) > 15 or int(length) > most:
        raise _too_long(most)


async def body_of(request: Request, most: int) -> bytes:
    """The whole body, or a problem: more than `most` bytes, too slow, cut short."""
    refuse_long(request, most)
    body = bytearray()
    try:
        with trio.fail_after(BODY_SECONDS):
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > most:
                        raise _too_long(most)
    except trio.TooSlowError:
        raise HTTPException(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body was cut short") from None
    return bytes(body)


def _too_long(most: int) -> HTTPException:
    return HTTPException(413, f"this takes at most {most} bytes")
