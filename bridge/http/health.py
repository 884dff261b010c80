"""`/healthz` and `/readyz`, for supervisors that restart us or send us work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.http.server.routes import HttpRoute

Checks: TypeAlias = Mapping[str, Callable[[], str | None]]
"""By the name of a part: why it is not ready, None if it is.  The answer is public."""


def health(checks: Checks, worker: str) -> tuple[HttpRoute, ...]:
    """The two routes.  Neither needs a token or one of our names in `Host`, and a slash at the end
    is allowed: probes differ in how they ask (HAProxy's has no `Host` at all).

    `/healthz` is 200 as long as the process's loop answers.  `/readyz` is 200 only if
    every check holds, else 503; its body says which does not, and of whom, as
    `{"ready": false, "worker": "0123abcd", "checks": {"store": "disk full", "livekit": null}}`.
    """

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(_: Request) -> Response:
        problems = {name: check() for name, check in checks.items()}
        is_ready = all(problem is None for problem in problems.values())
        body = {"ready": is_ready, "worker": worker, "checks": problems}
        return JSONResponse(body, 200 if is_ready else 503)

    rows = (("/healthz", alive), ("/readyz", ready))
    return tuple(
        HttpRoute("GET", path + slash, answer, open=True, any_host=True)
        for path, answer in rows
        for slash in ("", "/")
    )
