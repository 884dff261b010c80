"""A large answer, freed piece by piece as its client reads it.

It was made in pieces too, so that there is never a second copy of the whole.  All of it
counts as under way from the beginning (`bridge.http.server.answer_budget`), and each piece
until it was taken.  Where it does not fit, the answer is 503.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.exchange import BUDGET
from bridge.http.server.http1_stream import RETRY_AFTER
from bridge.http.server.problem import problem

PIECE: Final = 64 * 1024
"""Bytes of a piece, about; a single part may be longer."""


def joined(parts: Iterable[str]) -> Iterator[bytes]:
    """The parts as pieces of about `PIECE` bytes."""
    parts_of_piece: list[str] = []
    size = 0
    for part in parts:
        parts_of_piece.append(part)
        size += len(part)
        if size >= PIECE:
            yield "".join(parts_of_piece).encode()
            parts_of_piece.clear()
            size = 0
    if parts_of_piece:
        yield "".join(parts_of_piece).encode()


def busy(detail: str) -> Response:
    """503: the client should come again in some seconds."""
    name, value = RETRY_AFTER
    return problem(503, detail, {name.decode(): value.decode()})


@final
class StreamedAnswer(Response):
    """An answer of these pieces.  It can be sent once."""

    def __init__(
        self, pieces: Iterable[bytes], headers: Mapping[str, str], media_type: str
    ) -> None:
        self._pieces = deque(pieces)
        self._size = sum(map(len, self._pieces))
        length = {"content-length": str(self._size)}
        super().__init__(None, 200, {**headers, **length}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        budget: AnswerBudget = scope["extensions"][BUDGET]
        if not budget.take(self._size):
            await busy("too many answers are under way")(scope, receive, send)
            return
        left = self._size
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while self._pieces:
                piece = self._pieces.popleft()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                budget.give_back(len(piece))
                left -= len(piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            budget.give_back(left)
