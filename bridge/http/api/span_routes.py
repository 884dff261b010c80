"""`/api/v1/sessions/{id}/spans/{job}`: spans that an agent uploaded of its job, without content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import trio
from starlette.requests import Request
from starlette.responses import Response

from actors.session.time_text import rfc3339
from bridge.http.api.answers import answer, joined_json
from bridge.http.api.conversation_types import SpansAnswer, SpanView
from bridge.http.api.endpoints import StoreReaders
from bridge.http.api.query import asked
from bridge.http.server.routes import HttpRoute
from bridge.uploads.upload_facts import UploadedSpan

ReadSpans: TypeAlias = Callable[[str, str], Sequence[UploadedSpan]]
"""The spans of a room instance and a job.  Called in a thread."""


@final
class SpanRoutes:
    """Gives the rows.  They come before that of `/api/v1/sessions/{id}`, whose id takes all."""

    def __init__(self, readers: StoreReaders, read: ReadSpans | None) -> None:
        """Without `read` no spans are kept."""
        self._readers = readers
        self._read = read

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/api/v1/sessions/{id:path}/spans/{job}", self._spans),)

    async def _spans(self, request: Request) -> Response:
        asked(request)
        name, job = request.path_params["id"], request.path_params["job"]
        session = await self._readers.of_session(name, lambda session: session.view.id)
        spans: Sequence[UploadedSpan] = ()
        if self._read is not None:
            spans = await trio.to_thread.run_sync(self._read, session, job)
        whole = SpansAnswer(session=session, job_id=job, spans=tuple(map(_view, spans)))
        return answer(request, joined_json(whole, next=None))


def _view(span: UploadedSpan) -> SpanView:
    return SpanView(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        name=span.name,
        started_at=rfc3339(span.started_at),
        seconds=round(max(0.0, span.ended_at - span.started_at), 6),
        failed=span.failed,
        numbers=span.numbers,
        words=span.words,
    )
