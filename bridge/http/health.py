"""`/healthz` and `/readyz`, for whoever restarts us or sends us work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.http.app import Row

Checks: TypeAlias = Mapping[str, Callable[[], str | None]]
"""By the name of a part: why it is not ready, None if it is.  Anybody may read the answer."""


def health(checks: Checks, worker: str) -> tuple[Row, ...]:
    """The two addresses; neither needs a token.

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

    return (
        Row("GET", "/healthz", alive, open=True),
        Row("GET", "/readyz", ready, open=True),
    )
