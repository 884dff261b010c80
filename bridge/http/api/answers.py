"""Answers of the API: JSON or CSV, and status 304 without a body for a client that has it.

The thread that read the store makes them, because the answer of a big session takes a while.  It
makes them piece by piece, because no other thread runs while the encoder, which is in C, runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, Literal, TypeVar, cast

from attrs import frozen
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from bridge.http.server.routes import root_of
from bridge.http.server.streamed_answer import StreamedAnswer, joined
from bridge.output.ascii_json import json_text
from bridge.output.csv_columns import Columns, as_csv

R = TypeVar("R")

JSON: Final = "application/json"
CSV: Final = "text/csv"


def as_json(whole: Struct) -> Iterator[str]:
    """The object in parts: its long lists are at its top."""
    yield from members(whole)
    yield "}"


def members(whole: Struct, without: Collection[str] = ()) -> Iterator[str]:
    """The same without its end, and without some of its keys: others may follow."""
    begin = "{"
    fields = zip(whole.__struct_fields__, whole.__struct_encode_fields__, strict=True)
    for field, key in fields:
        if field in without:
            continue
        value = getattr(whole, field)
        yield f'{begin}"{key}":'
        if isinstance(value, list | tuple):
            yield from _list(cast("Sequence[object]", value))
        else:
            yield json_text(value)
        begin = ","


def _list(values: Sequence[object]) -> Iterator[str]:
    yield "["
    for number, value in enumerate(values):
        yield f",{json_text(value)}" if number else json_text(value)
    yield "]"


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
    """An answer's content, as the thread made it."""

    content: tuple[bytes, ...]
    """In pieces."""
    kind: str
    tag: str | None = None
    """Its `ETag`, where it will be the same whenever it is asked for."""
    next: str | None = None
    """The cursor of the page after this."""


def body_of(
    whole: Struct,
    rows: Sequence[R],
    columns: Columns[R],
    *,
    csv: bool,
    lasts: bool = False,
) -> Body:
    """The object `whole` as JSON, or its `rows` as CSV; `lasts`: it gets an `ETag`."""
    content = tuple(joined([as_csv(columns, rows)] if csv else as_json(whole)))
    return Body(content, CSV if csv else JSON, _tag(content) if lasts else None)


def joined_json(whole: Struct, *, next: str | None) -> Body:  # noqa: A002
    """The object `whole` as JSON; `next`: the cursor of the page after it."""
    return Body(tuple(joined(as_json(whole))), JSON, next=next)


def _tag(content: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return f'"{digest.hexdigest()[:32]}"'


def answer(request: Request, body: Body) -> Response:
    """The answer; 304 without a body for a client that has it."""
    headers = {"vary": "accept"}
    if body.next is not None:
        url = request.url.include_query_params(cursor=body.next)
        headers["link"] = f'<{root_of(request)}{url.path}?{url.query}>; rel="next"'
    if body.kind == CSV:
        headers["content-disposition"] = "attachment"
    if body.tag is not None:
        headers |= {"etag": body.tag, "cache-control": "private, no-cache"}
        if _has(request.headers.get("if-none-match", ""), body.tag):
            return Response(status_code=304, headers=headers)
    return StreamedAnswer(body.content, headers, body.kind)


def _has(tags: str, tag: str) -> bool:
    """True if `If-None-Match` names it (RFC 9110, 13.1.2: compared weakly)."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in tags.split(","))
