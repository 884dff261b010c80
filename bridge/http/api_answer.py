"""Answers of the API: JSON or CSV, and nothing at all to who has it already.

Made in the thread that read the store: the answer of a big session takes a while, and
piece by piece, because the C encoder lets no other thread run until it is through.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from bridge.http.app import root_of
from bridge.sheet import Columns, Json, as_csv

JSON: Final = "application/json"
CSV: Final = "text/csv"

_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def as_json(whole: Mapping[str, Any]) -> bytes:
    """An object whose long lists are at its top."""
    return ("{" + ",".join(f"{_encode(key)}:{_pieces(whole[key])}" for key in whole) + "}").encode()


def _pieces(value: Any) -> str:
    return "[" + ",".join(map(_encode, value)) + "]" if isinstance(value, list) else _encode(value)


def wants_csv(request: Request, given: Literal["json", "csv"] | None) -> bool:
    """By the query's `format`, else by `Accept`, where CSV must be named."""
    if given is not None:
        return given == "csv"
    weights = dict(map(_weight, request.headers.get("accept", "").split(",")))
    return weights.get(CSV, 0.0) > weights.get(JSON, 0.0)


def _weight(accepted: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in accepted.split(";"))
    weights = [name[2:] for name in parameters if name.startswith("q=")]
    try:
        return kind, float(weights[0]) if weights else 1.0
    except ValueError:
        return kind, 0.0


@frozen
class Body:
    """What was made in the thread."""

    content: bytes
    kind: str
    lasts: bool = False
    """It will be the same whenever it is asked for."""
    next: str | None = None
    """The cursor of the page after this."""


def body_of(
    whole: Mapping[str, Any],
    rows: Sequence[Json],
    columns: Columns,
    *,
    csv: bool,
    lasts: bool = False,
) -> Body:
    """The object `whole` as JSON, or its `rows` as CSV."""
    if csv:
        return Body(as_csv(columns, rows).encode(), CSV, lasts)
    return Body(as_json(whole), JSON, lasts)


def answer(request: Request, body: Body) -> Response:
    """The answer; 304 without a body for who has it."""
    headers = {"vary": "accept"}
    if body.next is not None:
        url = request.url.include_query_params(cursor=body.next)
        headers["link"] = f'<{root_of(request)}{url.path}?{url.query}>; rel="next"'
    if body.kind == CSV:
        headers["content-disposition"] = "attachment"
    if body.lasts:
        tag = f'"{hashlib.sha256(body.content).hexdigest()[:32]}"'
        headers |= {"etag": tag, "cache-control": "private, no-cache"}
        if _has(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
    return Response(body.content, headers=headers, media_type=body.kind)


def _has(tags: str, tag: str) -> bool:
    """Whether `If-None-Match` names it (RFC 9110, 13.1.2: compared weakly)."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in tags.split(","))
