"""The application: a table of rows, one for each address, behind a guard.

Whoever has something to show gives rows; nothing else knows about paths.  What no row
answers is a problem (RFC 9457), as is every error of a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.config.public_address import PublicAddress
from bridge.http.server.exchange import App
from bridge.http.server.problem import problem
from bridge.http.server.request_guard import Guard
from bridge.http.server.sign_in import Access


@frozen
class HttpRoute:
    """One address."""

    method: Literal["GET", "POST"]
    """GET answers HEAD too."""
    path: str
    """As starlette has it: `/api/v1/sessions/{id}`."""
    answer: Callable[[Request], Awaitable[Response]]
    """May raise `HTTPException`: it becomes a problem with its `detail`."""
    open: bool = False
    """Needs no token.  Then its path has no parameters."""
    any_host: bool = False
    """Is answered whatever `Host` says, because a page from elsewhere learns nothing by it.
    Then its path has no parameters."""


Explain: TypeAlias = Callable[[Request, int, str, Mapping[str, str] | None], Response]
"""An error's answer: its status, what there is to say of it, headers."""


def _as_problem(
    _: Request, status: int, detail: str, headers: Mapping[str, str] | None
) -> Response:
    return problem(status, detail, headers)


def app(
    rows: Sequence[HttpRoute],
    *,
    loopback: bool,
    token: str | None = None,
    explain: Explain = _as_problem,
    front: PublicAddress | None = None,
) -> App:
    """The application.

    `loopback` says that only this machine can reach us: then a request must name it as
    its host (a page from elsewhere cannot, whatever its name resolves to).  With a
    `token`, all but the rows that are `open` want it; they find it as `access_of` their
    request.  `explain` answers errors.  `front` is what stands before us; rows find its
    path as `root_of` their request.
    """
    front = front or PublicAddress()

    def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return explain(request, error.status_code, error.detail, error.headers)
        return explain(request, 500, "", None)

    routes = [Route(row.path, row.answer, methods=[row.method]) for row in rows]
    starlette = Starlette(
        routes=routes, exception_handlers={HTTPException: failed, Exception: failed}
    )
    starlette.router.redirect_slashes = False
    starlette.state.access = access = Access(token, root=front.root) if token else None
    starlette.state.root = front.root
    return Guard(
        starlette,
        loopback=loopback,
        access=access,
        front=front,
        open_paths=frozenset(row.path for row in rows if row.open),
        any_host=frozenset(row.path for row in rows if row.any_host),
    )


def access_of(request: Request) -> Access | None:
    """Who may come in; None where everybody may."""
    return request.app.state.access


def root_of(request: Request) -> str:
    """What every link of ours begins with: `/rooms`, or nothing (see `Front.root`)."""
    return request.app.state.root
