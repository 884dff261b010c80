"""What every page shares: how it reads the store, and the values around its content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from actors.journal.session_reader import SessionReader
from bridge.http.server.routes import access_of, root_of

T = TypeVar("T")


class Read(Protocol):
    """Calls a function with the store, in a thread.  Raises the function's errors, and
    `HTTPException` if there is no store to read."""

    async def __call__(self, function: Callable[[SessionReader], T]) -> T: ...


def frame_of(request: Request, here: str, *, live: bool = False) -> dict[str, Any]:
    """The values that every page needs.  `live`: the page asks again and again."""
    secured = access_of(request) is not None
    return {"here": here, "live": live, "secured": secured, "root": root_of(request)}
