"""Errors as the client sees them: RFC 9457 problem details, for every status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

PROBLEM_JSON: Final = "application/problem+json"


def problem_body(status: int, detail: str = "") -> bytes:
    """The body for `status`.  `detail` is ours: nothing that a stranger sent is echoed."""
    title = HTTPStatus(status).phrase
    about = {"type": "about:blank", "title": title, "status": status}
    return json.dumps(about | ({"detail": detail} if detail not in ("", title) else {})).encode()


def problem(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The answer for `status`."""
    return Response(problem_body(status, detail), status, headers, media_type=PROBLEM_JSON)
