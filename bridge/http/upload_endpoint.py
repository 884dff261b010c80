"""`POST /observability/…`: where voice agents upload, as `LIVEKIT_OBSERVABILITY_URL` names us.

The paths and forms are those of livekit-agents (1.5.1 and later) and of LiveKit's Cloud.  The
answer comes as soon as the body has come: nothing is unpacked or stored before it
(`bridge.uploads.upload_desk`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol, final

import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bridge.http.server.problem import problem
from bridge.http.server.request_body import BODY_SECONDS, refuse_long
from bridge.http.server.routes import HttpRoute
from bridge.livekit.tokens import ApiKey
from bridge.uploads.upload_desk import Receiving, Upload, UploadDesk, UploadKind
from bridge.uploads.upload_token import UploadRefusal, refusal_of

OTLP_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one body, as it comes.  A real one has 3 to 20 KB."""
REPORT_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of one report: ten hours of sound.  The sound is never in memory."""
REPORT_SECONDS: Final = 900.0
"""For one report.  The agent gives up after as long."""
OTLP_TYPE: Final = "application/x-protobuf"
SWITCHED_OFF: Final = "data recording is disabled"
"""An agent that reads this in a 401 stops its uploads for the session, and warns once."""

PATHS: Final[Mapping[str, UploadKind]] = {
    "/observability/traces/otlp/v0": "traces",
    "/observability/logs/otlp/v0": "logs",
    "/observability/metrics/otlp/v0": "metrics",
    "/observability/recordings/v0": "report",
}
"""An agent puts them after its URL.  If that ends with a slash there are two: so each path is taken
with two as well."""

_REFUSED: Final[Mapping[UploadRefusal, tuple[int, str]]] = {
    "unsigned": (401, "Authorization: Bearer with LiveKit's token is missing"),
    "forged": (401, "the token is not one of this LiveKit key and secret, or not of now"),
    "not_allowed": (403, "the token does not allow to write observability data"),
}


class AudioSink(Protocol):
    """Gets the recording of one report, piece by piece."""

    def write(self, piece: bytes) -> None:
        """Take a piece.  A piece that cannot be written is dropped: nothing here raises."""
        ...

    async def flush(self) -> None:
        """Make room for the next piece."""
        ...

    async def finish(self, header: bytes) -> None:
        """The report came whole, with this header."""
        ...

    async def discard(self) -> None:
        """Leave nothing behind.  After `finish` this has no effect."""
        ...


@final
class UploadEndpoint:
    """The four addresses.  Without a `desk` uploads are not wanted here.

    `open_sink` makes what gets the recording of a report; None where no recordings are kept.
    """

    def __init__(
        self,
        api_key: ApiKey,
        desk: UploadDesk | None,
        *,
        open_sink: Callable[[], AudioSink] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api_key = api_key
        self._desk = desk
        self._open_sink = open_sink
        self._clock = clock

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        """Needs neither token nor a name of ours: an upload has a token of LiveKit's key."""
        return tuple(
            HttpRoute("POST", slash + path, self._answer_to(kind), open=True, any_host=True)
            for path, kind in PATHS.items()
            for slash in ("", "/")
        )

    def _answer_to(self, kind: UploadKind) -> Callable[[Request], Awaitable[Response]]:
        if self._desk is None:
            return _switched_off
        if kind == "report":
            return partial(self._report, self._desk)
        return partial(self._otlp, self._desk, kind)

    async def _otlp(self, desk: UploadDesk, kind: UploadKind, request: Request) -> Response:
        self._check_token(desk, request)
        if _media_type(request) != OTLP_TYPE:
            raise _refused(desk, 415, f"Content-Type must be {OTLP_TYPE}")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("gzip", "identity"):
            raise _refused(desk, 415, "Content-Encoding must be gzip or identity")
        self._check_length(desk, request, OTLP_LIMIT)
        with desk.receive() as receiving:
            await _receive(desk, request, receiving.add, OTLP_LIMIT, BODY_SECONDS)
            if receiving.overflowed:
                desk.drop()
            else:
                desk.take(Upload(kind, bytes(receiving.body), packed=encoding == "gzip"))
        return Response(b"", media_type=OTLP_TYPE)

    async def _report(self, desk: UploadDesk, request: Request) -> Response:
        from bridge.uploads.bounded_gzip import BadUpload
        from bridge.uploads.report_form import ReportForm, UploadTooLarge, boundary_of

        self._check_token(desk, request)
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None:
            raise _refused(desk, 415, "Content-Type must be multipart/form-data")
        self._check_length(desk, request, REPORT_LIMIT)
        sink = None if self._open_sink is None else self._open_sink()
        try:
            with desk.receive() as receiving:
                form = ReportForm(boundary, None if sink is None else sink.write)
                add = partial(_add_to_form, form, receiving)
                flush = None if sink is None else sink.flush
                await _receive(desk, request, add, REPORT_LIMIT, REPORT_SECONDS, flush)
                if receiving.overflowed:
                    desk.drop()
                    return Response()
                form.finish()
                header, history = bytes(form.header), bytes(form.chat_history)
                if sink is not None and form.audio_bytes:
                    await sink.finish(header)
                desk.take(Upload("report", header, chat_history=history))
        except BadUpload as bad:
            raise _refused(desk, 400, str(bad)) from None
        except UploadTooLarge:
            raise _refused(desk, 413, "a part of the report is too large") from None
        finally:
            if sink is not None:
                await sink.discard()
        return Response()

    def _check_token(self, desk: UploadDesk, request: Request) -> None:
        refusal = refusal_of(request.headers.get("authorization", ""), self._api_key, self._clock())
        if refusal is not None:
            status, detail = _REFUSED[refusal]
            raise _refused(desk, status, detail)

    def _check_length(self, desk: UploadDesk, request: Request, most: int) -> None:
        try:
            refuse_long(request, most)
        except HTTPException:
            desk.refuse("too long")
            raise


def _add_to_form(form: object, receiving: Receiving, piece: bytes) -> None:
    """Parse a piece, and count what of it stays in memory."""
    from bridge.uploads.report_form import ReportForm

    assert isinstance(form, ReportForm)
    if receiving.overflowed:
        return
    before = len(form.header) + len(form.chat_history)
    form.write(piece)
    receiving.count(len(form.header) + len(form.chat_history) - before)


async def _receive(
    desk: UploadDesk,
    request: Request,
    add: Callable[[bytes], object],
    most: int,
    seconds: float,
    flush: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Give each piece of the body to `add`.  Raises a problem: too long, too slow, cut short."""
    size = 0
    try:
        with trio.fail_after(seconds):
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > most:
                        raise _refused(desk, 413, f"this takes at most {most} bytes")
                    add(piece)
                    if flush is not None:
                        await flush()
    except trio.TooSlowError:
        raise _refused(desk, 408, "the body did not come in time") from None
    except ClientDisconnect:
        raise _refused(desk, 400, "the body was cut short") from None


def _refused(desk: UploadDesk, status: int, detail: str) -> HTTPException:
    desk.refuse(detail)
    return HTTPException(status, detail)


async def _switched_off(_: Request) -> Response:
    return problem(401, SWITCHED_OFF)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
