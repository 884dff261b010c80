"""The errors of LiveKit's server API, and the answers and exceptions behind each.

The tables translate Twirp's codes, HTTP statuses and the exceptions of our HTTP client.  The text
of an error never holds what the server wrote in plain text: the body of a 401 quotes the whole
token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx2
import msgspec

from bridge.livekit.websocket import cause_of
from bridge.output.harmless import harmless
from bridge.output.redact import redact


class ApiError(Exception):
    """A call to LiveKit's server API failed.  The text names the call and holds no token."""


class Unauthorized(ApiError):
    """The key, the secret, a grant or this machine's clock is wrong."""


class NotFound(ApiError):
    """There is no such room, participant or dispatch."""


class NotSupported(ApiError):
    """The server does not know this call: it is too old, or the URL is not LiveKit's."""


class ApiRefused(ApiError):
    """The server understood the call and refuses it (invalid argument, wrong state)."""


class Unavailable(ApiError):
    """The server cannot be reached or cannot answer now.  Another try may succeed."""


class TimedOut(Unavailable):
    """No answer within the deadline."""


class MalformedAnswer(ApiError):
    """The server's answer is not an answer to this call."""


_BY_CODE: Final[Mapping[str, type[ApiError]]] = {
    "unauthenticated": Unauthorized,
    "permission_denied": Unauthorized,
    "not_found": NotFound,
    "bad_route": NotSupported,
    "unimplemented": NotSupported,
    "malformed": ApiRefused,
    "invalid_argument": ApiRefused,
    "already_exists": ApiRefused,
    "failed_precondition": ApiRefused,
    "out_of_range": ApiRefused,
    "aborted": Unavailable,
    "resource_exhausted": Unavailable,
    "unavailable": Unavailable,
    "deadline_exceeded": TimedOut,
}
"""Twirp's error codes."""

_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotSupported,
    405: NotSupported,
    408: TimedOut,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: TimedOut,
}
"""Answers without a Twirp code: from a proxy, or LiveKit's own 401."""

_BY_EXCEPTION: Final[tuple[tuple[type[Exception], type[ApiError], str], ...]] = (
    (httpx2.TimeoutException, TimedOut, "no answer in time"),
    (httpx2.ConnectError, Unavailable, "cannot reach the server"),
    (httpx2.NetworkError, Unavailable, "the connection broke"),
    (httpx2.RemoteProtocolError, Unavailable, "the answer broke off or is not HTTP"),
    (httpx2.HTTPError, Unavailable, "the request failed"),
)
"""The exceptions of our HTTP client, examined in this order."""


def error_of_exception(method: str, error: httpx2.HTTPError) -> ApiError:
    """The error of a call that got no answer."""
    for raised, kind, text in _BY_EXCEPTION:
        if isinstance(error, raised):
            why = f": {cause_of(error)}" if isinstance(error, httpx2.ConnectError) else ""
            return kind(f"{method}: {text}{why}")
    raise AssertionError(error)  # HTTPError itself is in the table.


class _TwirpError(msgspec.Struct):
    """https://twitchtv.github.io/twirp/docs/spec_v7.html#error-codes; other fields are ignored."""

    code: str
    msg: str = ""


_decode_error: Final = msgspec.json.Decoder(_TwirpError).decode


def error_of_response(method: str, status: int, body: bytes) -> ApiError:
    """The error of a call that was answered with another status than 200."""
    try:
        error = _decode_error(body)
    except Exception:  # noqa: BLE001  any fault is one of bytes that are not ours
        kind = _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)
        return kind(f"{method}: HTTP {status}")
    kind = _BY_CODE.get(error.code, _BY_STATUS.get(status, ApiError))
    code = harmless(error.code, 64)
    return kind(f"{method}: {harmless(redact(error.msg), 200) or code} (HTTP {status}, {code})")
