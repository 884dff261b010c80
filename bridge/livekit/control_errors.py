"""The errors of the server API as errors of acting on a room."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    ControlUnsupported,
    RoomControlError,
)
from bridge.livekit.api_errors import (
    ApiError,
    ApiRefused,
    NotFound,
    NotSupported,
    TimedOut,
    Unauthorized,
)

_BY_API_ERROR: Final[tuple[tuple[type[ApiError], type[RoomControlError]], ...]] = (
    (NotFound, ControlNotFound),
    (NotSupported, ControlUnsupported),
    (Unauthorized, ControlRefused),
    (ApiRefused, ControlRefused),
    (TimedOut, ControlTimedOut),
    (ApiError, ControlUnavailable),
)
"""In this order, because `TimedOut` is an `Unavailable`."""

_NO_REDIS: Final = "redis required"
"""Part of the text with which a server without Redis answers egress calls."""


@contextmanager
def translated() -> Generator[None, None, None]:
    """Translate the server API's errors into those of acting on a room."""
    try:
        yield
    except ApiError as error:
        raise _error_of(error) from None


def _error_of(error: ApiError) -> RoomControlError:
    text = str(error)
    if _NO_REDIS in text:
        return ControlUnsupported(f"{text}: this LiveKit server has no Redis, so it cannot record")
    return next(ours for theirs, ours in _BY_API_ERROR if isinstance(error, theirs))(text)
