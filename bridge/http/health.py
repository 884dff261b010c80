"""`/healthz` and `/readyz`, for whoever restarts us or sends us work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.http.server.routes import HttpRoute

Checks: TypeAlias = Mapping[str, Callable[[], str | None]]
"""By the name of a part: why it is not ready, None if it is.  Anybody may read the answer."""


def health(checks: Checks, worker: str) -> tuple[HttpRoute, ...]:
    """The two addresses; neither needs a token, a name of ours in `Host`, or minds a slash
    at its end: a probe asks as its maker thought right (HAProxy's has no `Host` at all).

    `/healthz` is 200 as long as the process's loop answers.  `/readyz` is 200 only if
    every check holds, else 503; its body says which does not, and of whom, as
    `{"ready": false, "worker": "0123abcd", "checks": {"store": "disk full", "livekit": null}}`.
    """

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(_: Request) -> Response:
        found = {name: check() for name, check in checks.items()}
        holds = all(why is None for why in found.values())
        about = {"ready": holds, "worker": worker, "checks": found}
        return JSONResponse(about, 200 if holds else 503)

    rows = (("/healthz", alive), ("/readyz", ready))
    return tuple(
        HttpRoute("GET", path + slash, answer, open=True, any_host=True)
        for path, answer in rows
        for slash in ("", "/")
    )
