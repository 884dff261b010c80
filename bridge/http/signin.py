"""Who gets in: a token shown in a header, or a cookie that says it was shown before.

The cookie is `EXPIRY.SIGNATURE`, signed (HMAC-SHA256) with a key made of the token: there
is nothing to keep, a restart signs nobody out, and another token signs out everybody.

Whoever shows wrong tokens is answered `wait` for a while, right or wrong, so that a token
cannot be guessed.  Cookies are not counted: a signature of 256 bits is not guessed.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, Literal, TypeAlias, final

from starlette.responses import Response

Verdict: TypeAlias = Literal["yes", "no", "wait"]

SIGNED_IN: Final = 12 * 3600
"""Seconds that a sign-in lasts."""
FAILURES: Final = 10
"""Wrong tokens that an address may show at once."""
FORGET_ONE: Final = 6.0
"""Seconds after which one of them is forgotten."""
ADDRESSES: Final = 4_096
"""That are remembered; of more, those that failed last."""


@final
class Failures:
    """Wrong tokens by address.  A network's 2^64 addresses of IPv6 are one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        """When all of an address's failures are forgotten."""

    def wait(self, address: str) -> float:
        """Seconds until this address may show a token again; 0 where it may."""
        over = self._until.get(_network(address), 0.0) - self._clock()
        return max(0.0, over - (FAILURES - 1) * FORGET_ONE)

    def add(self, address: str) -> None:
        """It was a wrong one."""
        key, now = _network(address), self._clock()
        self._until[key] = max(self._until.get(key, now), now) + FORGET_ONE
        self._until.move_to_end(key)
        if len(self._until) > ADDRESSES:
            self._until.popitem(last=False)


@final
class Access:
    """Holds the token, and lets in who shows it."""

    def __init__(
        self,
        token: str,
        *,
        clock: Callable[[], float] = time.time,
        failures: Failures | None = None,
    ) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"room-actors: who is signed in", "sha256")
        self._clock = clock
        self._failures = failures or Failures()

    def __repr__(self) -> str:
        return "<Access>"

    def shown(self, token: bytes, address: str) -> Verdict:
        """Whether this is the token.  `address` is who shows it."""
        if self._failures.wait(address):
            return "wait"
        if hmac.compare_digest(token, self._token):
            return "yes"
        self._failures.add(address)
        return "no"

    def wait(self, address: str) -> int:
        """Whole seconds until this address may show a token again."""
        return int(self._failures.wait(address)) + 1

    def remembers(self, scope: Any) -> bool:
        """Whether this request of ASGI carries a cookie of ours that still holds."""
        signed = _cookie(scope)
        expiry, _, signature = signed.partition(".")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
            return False
        right = hmac.compare_digest(signature.encode(), self._sign(expiry).encode())
        return right and self._clock() < int(expiry)

    def sign_in(self, response: Response, scope: Any) -> None:
        """Give the cookie with `response`."""
        expiry = str(int(self._clock()) + SIGNED_IN)
        self._set(response, scope, f"{expiry}.{self._sign(expiry)}", SIGNED_IN)

    def sign_out(self, response: Response, scope: Any) -> None:
        """Take it away."""
        self._set(response, scope, "", 0)

    def _sign(self, expiry: str) -> str:
        return hmac.new(self._key, expiry.encode(), "sha256").hexdigest()

    @staticmethod
    def _set(response: Response, scope: Any, value: str, age: int) -> None:
        response.set_cookie(
            cookie_name(scope),
            value,
            max_age=age,
            httponly=True,
            samesite="strict",
            secure=_https(scope),
        )


def client_of(scope: Any) -> str:
    """The address that a request of ASGI came from."""
    return scope["client"][0]


def _network(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return str(found)


def cookie_name(scope: Any) -> str:
    """Cookies know no ports: two workers on one machine would sign out each other."""
    return f"room_actors_{scope['server'][1]}"


def _cookie(scope: Any) -> str:
    cookies = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                continue
    morsel = cookies.get(cookie_name(scope))
    return morsel.value if morsel is not None else ""


def _https(scope: Any) -> bool:
    """Whether the browser came by https, as whoever ends it before us says.

    Believed from anybody: it only makes the cookie stricter.
    """
    return dict(scope["headers"]).get(b"x-forwarded-proto", b"").strip().lower() == b"https"
