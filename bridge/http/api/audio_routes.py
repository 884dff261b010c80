"""`/api/v1/sessions/{id}/recordings/{job}`: the recording that an agent uploaded, as OGG Opus.

Players ask for parts of a file (`Range`, RFC 9110, 14.2), so that a listener can jump.  One range
is answered; a header with several, or in another unit, is passed over as the standard allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias, final

import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actors.session.time_text import rfc3339
from bridge.http.api.endpoints import StoreReaders
from bridge.http.api.query import asked
from bridge.http.server.problem import problem
from bridge.http.server.routes import HttpRoute
from bridge.uploads.audio_files import AudioFile

FindAudio: TypeAlias = Callable[[str, str], AudioFile | None]
"""The recording of a room instance and a job.  Called in a thread."""

STARTED_AT: Final = "recording-started-at"
"""The header with the begin of the recording, so that a player shows it beside the timeline."""
AUDIO_TYPE: Final = "audio/ogg"
PIECE: Final = 64 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


@final
class AudioRoutes:
    """Gives the rows.  They come before that of `/api/v1/sessions/{id}`, whose id takes all."""

    def __init__(self, readers: StoreReaders, find: FindAudio | None) -> None:
        """Without `find` no recordings are kept."""
        self._readers = readers
        self._find = find

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        path = "/api/v1/sessions/{id:path}/recordings/{job}"
        return (HttpRoute("GET", path, self._recording),)

    async def _recording(self, request: Request) -> Response:
        asked(request)
        name, job = request.path_params["id"], request.path_params["job"]
        audio = None
        if self._find is not None:
            session = await self._readers.of_session(name, lambda session: session.view.id)
            audio = await trio.to_thread.run_sync(self._find, session, job)
        if audio is None:
            raise HTTPException(404, "no recording of this job is kept")
        wanted = range_of(request.headers.get("range", ""), audio.size)
        if wanted is None:
            return AudioAnswer(audio, 0, audio.size, partial=False)
        if wanted[0] >= wanted[1]:
            total = {"content-range": f"bytes */{audio.size}"}
            return problem(416, "the range is beyond the file", total)
        return AudioAnswer(audio, *wanted, partial=True)


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """First byte, and the byte after the last one, that a `Range` asks for; an empty range where
    nothing of it is in the file.  None for a header that is to be passed over."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":  # the last so many bytes
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    return start, end


@final
class AudioAnswer(Response):
    """A part of a file, read piece by piece in a thread while the client takes it."""

    def __init__(self, audio: AudioFile, start: int, end: int, *, partial: bool) -> None:
        self._audio, self._start, self._end = audio, start, end
        headers = {"accept-ranges": "bytes", "content-length": str(end - start)}
        if audio.started_at is not None:
            headers[STARTED_AT] = str(rfc3339(audio.started_at))
        if partial:
            headers["content-range"] = f"bytes {start}-{end - 1}/{audio.size}"
        super().__init__(None, 206 if partial else 200, headers, AUDIO_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            file = await trio.open_file(self._audio.path, "rb")
        except OSError:  # it was removed since
            await problem(404, "no recording of this job is kept")(scope, receive, send)
            return
        async with file:
            await file.seek(self._start)
            await send({
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            })  # fmt: skip
            left = 0 if scope["method"] == "HEAD" else self._end - self._start
            while left and (piece := await file.read(min(PIECE, left))):
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
