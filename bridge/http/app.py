"""The application: a table of rows, one for each address, behind a guard.

Whoever has something to show gives rows; nothing else knows about paths.  What no row
answers is a problem (RFC 9457), as is every error of a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.http.exchange import App
from bridge.http.guard import Guard
from bridge.http.problem import problem


@frozen
class Row:
    """One address."""

    method: Literal["GET", "POST"]
    """GET answers HEAD too."""
    path: str
    """As starlette has it: `/api/v1/sessions/{id}`."""
    answer: Callable[[Request], Awaitable[Response]]
    """May raise `HTTPException`: it becomes a problem with its `detail`."""
    open: bool = False
    """Needs no token.  Then its path has no parameters."""


def app(rows: Sequence[Row], *, loopback: bool, token: str | None = None) -> App:
    """The application.

    `loopback` says that only this machine can reach us: then a request must name it as
    its host (a page from elsewhere cannot, whatever its name resolves to).  With a
    `token`, all but the rows that are `open` want it.
    """
    routes = [Route(row.path, row.answer, methods=[row.method]) for row in rows]
    starlette = Starlette(routes=routes, exception_handlers=_HANDLERS)
    starlette.router.redirect_slashes = False
    open_paths = frozenset(row.path for row in rows if row.open)
    return Guard(starlette, loopback=loopback, token=token, open_paths=open_paths)


def _as_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)


def _as_failure(_: Request, __: Exception) -> Response:
    return problem(500)


_HANDLERS: Final = {HTTPException: _as_problem, Exception: _as_failure}
