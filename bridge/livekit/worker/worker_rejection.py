"""LiveKit's refusals of the worker's socket, in words that say what to do.

The body of a 401 quotes the whole token.  Only this module looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from bridge.livekit.server_clock import date_of

Reason: TypeAlias = Literal[
    "wrong_key", "wrong_secret", "clock_skew", "not_allowed", "no_endpoint", "redirected"
]

_BODIES: Final[tuple[tuple[bytes, Reason], ...]] = (
    (b"invalid API key", "wrong_key"),
    (b"signature is invalid", "wrong_secret"),
    (b"token is expired", "clock_skew"),
    (b"token is not valid yet", "clock_skew"),
)
"""The texts of livekit-server's answers 401, and their reasons."""

_STATUSES: Final[Mapping[int, Reason]] = {
    301: "redirected",
    302: "redirected",
    307: "redirected",
    308: "redirected",
    401: "not_allowed",
    403: "not_allowed",
    404: "no_endpoint",
}
"""Answers that another try would get again.  After any other answer the worker tries again."""

_TEXTS: Final[Mapping[Reason, str]] = {
    "wrong_key": "LiveKit does not know this API key: check LIVEKIT_API_KEY",
    "wrong_secret": "the API secret does not belong to this API key: check LIVEKIT_API_SECRET",
    "clock_skew": "this machine's clock differs too much from LiveKit's: set it",
    "not_allowed": "LiveKit refuses this API key and secret: check LIVEKIT_API_KEY and "
    "LIVEKIT_API_SECRET",
    "no_endpoint": "there is no LiveKit worker endpoint at this URL: the URL is wrong, or "
    "the server is too old to know agents",
    "redirected": "the server redirects to another address: give the final URL "
    "(wss:// where it wants TLS)",
}


class WorkerRejected(Exception):
    """LiveKit refused this worker.  Another try with the same settings will fail too."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


def rejection_of(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, now: float
) -> WorkerRejected | None:
    """The meaning of a refused upgrade; None where another try may succeed.

    `now` is our Unix time.  If the clock is the reason, the text has the difference.
    """
    reason = _STATUSES.get(status)
    if reason is None:
        return None
    if reason == "not_allowed":
        for fragment, meaning in _BODIES:
            if fragment in body:
                reason = meaning
    text = f"{_TEXTS[reason]} (HTTP {status})"
    if reason == "clock_skew" and (skew := clock_skew(headers, now)) is not None:
        text += f", it is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead'}"
    return WorkerRejected(reason, text)


def clock_skew(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds by which the server's `Date` (whole seconds) is ahead of us, None without one."""
    date = date_of(headers)
    return None if date is None else date - now
