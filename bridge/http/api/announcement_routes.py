"""`/api/v1/rooms/{room}/announcements`: orders to say a text or play a sound in a room.

An order changes what people in a room hear, so it always needs the token.  The answer comes at
once; `/api/v1/announcements/{id}` says what became of it.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.publishing.announcement_bounds import FILE_SIZE
from actors.session.time_text import rfc3339
from bridge.http.api.announcement_paths import SOUND_TYPES
from bridge.http.api.answer_types import AnnouncementOrder, AnnouncementPart, AnnouncementView
from bridge.http.api.answers import JSON
from bridge.http.api.query import asked, require_no_query
from bridge.http.server.request_body import body_of
from bridge.http.server.routes import HttpRoute, access_of
from bridge.output.ascii_json import json_text

if TYPE_CHECKING:
    # Not at run time: a worker that announces nothing does not load it.
    from actors.publishing.announcement import AnnouncementRecord
    from actors.publishing.announcements import Announcements
    from actors.publishing.publishing_port import AnnouncedContent

ORDER_BYTES: Final = 7_000_000
"""Of an order as JSON: an image of 5 MB in base64."""
NOT_WATCHED: Final = "no such room is watched by this worker now"
STATUS: Final = {"bad": 400, "not_found": 404, "not_allowed": 409, "busy": 429}
"""By why an order is refused."""


@final
class AnnouncementRoutes:
    """`announcements` gives those of the program; None where it makes none."""

    def __init__(self, announcements: Callable[[], Awaitable[Announcements]] | None) -> None:
        self._announcements = announcements

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (
            HttpRoute("POST", "/api/v1/rooms/{room:path}/announcements", self._order),
            HttpRoute("GET", "/api/v1/announcements/{id}", self._one),
            HttpRoute("POST", "/api/v1/announcements/{id}/stop", self._stop),
        )

    async def _order(self, request: Request) -> Response:
        require_no_query(request)
        _require_token(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == JSON:
            order = _order_in(await body_of(request, ORDER_BYTES))
        elif kind in SOUND_TYPES:
            order = await body_of(request, FILE_SIZE)
        else:
            raise HTTPException(415, f"Content-Type must be {JSON}, {', '.join(SOUND_TYPES)}")
        if self._announcements is None:
            raise HTTPException(404, NOT_WATCHED)
        from actors.publishing.announcements import AnnouncementRefused

        try:
            announcements = await self._announcements()
            record = announcements.announce(request.path_params["room"], _content(order), "api")
        except AnnouncementRefused as refused:
            raise HTTPException(STATUS[refused.why], str(refused)) from None
        return Response(json_text(_view(record)), 202, media_type=JSON)

    async def _one(self, request: Request) -> Response:
        asked(request)
        _, record = await self._find(request)
        return Response(json_text(_view(record)), media_type=JSON)

    async def _stop(self, request: Request) -> Response:
        require_no_query(request)
        _require_token(request)
        announcements, record = await self._find(request)
        announcements.stop(record.id)
        return Response(json_text(_view(record)), media_type=JSON)

    async def _find(self, request: Request) -> tuple[Announcements, AnnouncementRecord]:
        if self._announcements is not None:
            announcements = await self._announcements()
            record = announcements.find(request.path_params["id"])
            if record is not None:
                return announcements, record
        raise HTTPException(404, "no such announcement; only the newest are remembered")


def _require_token(request: Request) -> None:
    """The guard has checked the token, where there is one."""
    if access_of(request) is None:
        raise HTTPException(403, "announcements need a token: start the worker with --http-token")


def _order_in(body: bytes) -> AnnouncementOrder:
    try:
        return msgspec.json.decode(body, type=AnnouncementOrder)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise HTTPException(400, f"the body is no order: {error}") from None


def _content(order: AnnouncementOrder | bytes) -> AnnouncedContent:
    from actors.publishing.publishing_port import (
        ImageData,
        MovingPattern,
        SoundData,
        Speech,
        TextCard,
    )

    if isinstance(order, bytes):
        return SoundData(order)
    contents: list[AnnouncedContent] = []
    if order.text is not None:
        contents.append(Speech(order.text, order.voice))
    if order.card is not None:
        contents.append(TextCard(order.card, order.seconds))
    if order.image is not None:
        contents.append(ImageData(base64.b64decode(order.image), order.seconds))
    if order.pattern is not None:
        contents.append(MovingPattern(order.pattern, order.seconds))
    if len(contents) != 1:
        raise HTTPException(400, "the order must have one of text, card, image and pattern")
    return contents[0]


def _view(record: AnnouncementRecord) -> AnnouncementView:
    return AnnouncementView(
        id=record.id,
        does=record.announcement.does,
        by=record.announcement.by,
        ordered_at=rfc3339(record.ordered_at),
        seconds=record.seconds,
        over=record.over.is_set(),
        rooms=tuple(
            AnnouncementPart(
                room=room,
                state=part.outcome,
                first_sound=part.first_sound,
                error=part.error or None,
            )
            for room, part in record.parts.items()
        ),
    )
