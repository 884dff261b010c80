"""The files beside the templates: style, script, fonts and the mark.

They are public, so the sign-in form can use them.  A browser caches them and asks each time if they
have changed (`ETag`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from bridge.http.server.routes import HttpRoute

FOLDER: Final = Path(__file__).parent / "static"

KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}


def static_rows() -> tuple[HttpRoute, ...]:
    """One route for each file."""
    return tuple(
        HttpRoute("GET", f"/static/{path.name}", _answer(path), open=True)
        for path in sorted(FOLDER.iterdir())
        if path.suffix in KINDS
    )


def _answer(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    headers = {
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "cache-control": "no-cache",
    }

    async def answer(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=KINDS[path.suffix])

    return answer
