"""The application: a table of routes, one for each address, behind a guard.

Each part of the program gives its routes; nothing else knows about paths.  A path without a
route is answered with a problem (RFC 9457), and so is every error of a route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from attrs import frozen
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.config.public_address import PublicAddress
from bridge.http.server.exchange import App
from bridge.http.server.problem import problem
from bridge.http.server.request_guard import Guard
from bridge.http.server.sign_in import Access


class AnyText(Convertor[str]):
    """The rest of a path, whatever it is: starlette's own does not take a line break, and an
    identity may have one."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("path", AnyText())


@frozen
class HttpRoute:
    """One address."""

    method: Literal["GET", "POST"]
    """GET answers HEAD too."""
    path: str
    """In starlette's form: `/api/v1/sessions/{id}`."""
    answer: Callable[[Request], Awaitable[Response]]
    """May raise `HTTPException`: it becomes a problem with its `detail`."""
    open: bool = False
    """It needs no token.  Its path must have no parameters."""
    any_host: bool = False
    """It is answered with any `Host`, because a page of another site learns nothing from it.
    Its path must have no parameters."""


Explain: TypeAlias = Callable[[Request, int, str, Mapping[str, str] | None], Response]
"""Makes the answer to an error: request, status, detail, headers."""


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
    """The sign-in that guards all routes; None: they are open."""
    return request.app.state.access


def root_of(request: Request) -> str:
    """The prefix of all our links: `/rooms`, or nothing (see `PublicAddress.root`)."""
    return request.app.state.root
