"""`/api/v1/outbox`: outgoing webhooks, what waits and what was given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bridge.http.api.answers import JSON
from bridge.http.api.query import asked
from bridge.http.api.worker_types import OutboxAnswer
from bridge.http.server.routes import HttpRoute
from bridge.output.ascii_json import json_text


class OutboxUnreadable(Exception):
    """The outbox cannot be read now."""


@final
class OutboxRoutes:
    """`read` gives the answer; it may raise `OutboxUnreadable`."""

    def __init__(self, read: Callable[[], Awaitable[OutboxAnswer]]) -> None:
        self._read = read

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/api/v1/outbox", self._outbox),)

    async def _outbox(self, request: Request) -> Response:
        asked(request)
        try:
            answer = await self._read()
        except OutboxUnreadable:
            raise HTTPException(503, "the outbox cannot be read now") from None
        return Response(json_text(answer), media_type=JSON)
