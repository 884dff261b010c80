"""The sign-in: a token in a header, or a cookie that proves an earlier sign-in.

The cookie is `EXPIRY.SIGNATURE`, signed (HMAC-SHA256) with a key made of the token: there
is nothing to keep, a restart signs nobody out, and another token signs out everybody.

After `FAILURES` wrong tokens an address is answered `wait` to each further wrong one.  The
right token is let in always: others may share the address with somebody who guesses.  So it
is the token's length that keeps it from being guessed.  Cookies are not counted: a signature
of 256 bits is not guessed.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias, final

from starlette.responses import Response

from bridge.config.http_address import network_of

Verdict: TypeAlias = Literal["yes", "no", "wait"]

SIGNED_IN: Final = 12 * 3600
"""Seconds that a sign-in lasts."""
FAILURES: Final = 10
"""Wrong tokens that an address may show at once."""
FORGET_ONE: Final = 6.0
"""Seconds after which one wrong token is forgotten."""
ADDRESSES: Final = 4_096
"""Addresses that are remembered: those that failed last."""


@final
class Failures:
    """Wrong tokens by address.  A network's 2^64 addresses of IPv6 are one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        """When all of an address's failures are forgotten."""

    def wait(self, address: str) -> float:
        """Seconds until this address may show a wrong token again; 0: it may now."""
        over = self._until.get(network_of(address), 0.0) - self._clock()
        return max(0.0, over - (FAILURES - 1) * FORGET_ONE)

    def add(self, address: str) -> None:
        """Note a wrong token of this address."""
        key, now = network_of(address), self._clock()
        self._until[key] = max(self._until.get(key, now), now) + FORGET_ONE
        self._until.move_to_end(key)
        if len(self._until) > ADDRESSES:
            self._until.popitem(last=False)


@final
class Access:
    """Compares tokens with the right one, and makes cookies."""

    def __init__(
        self,
        token: str,
        *,
        clock: Callable[[], float] = time.time,
        failures: Failures | None = None,
        root: str = "",
    ) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"room-actors: who is signed in", "sha256")
        self._clock = clock
        self._failures = failures or Failures()
        self._root = root

    def __repr__(self) -> str:
        return "<Access>"

    def shown(self, token: bytes, address: str) -> Verdict:
        """True if this is the token.  `address` is the client's."""
        if hmac.compare_digest(token, self._token):
            return "yes"
        if self._failures.wait(address):
            return "wait"
        self._failures.add(address)
        return "no"

    def wait(self, address: str) -> int:
        """Whole seconds until this address may show a wrong token again."""
        return int(self._failures.wait(address)) + 1

    def remembers(self, scope: Any) -> bool:
        """True if this ASGI request carries a cookie of ours that has not expired.

        There may be several of its name: another worker's, or one that a neighbour's page set.
        """
        return any(map(self._holds, _cookies(scope, cookie_name(scope).encode())))

    def _holds(self, signed: str) -> bool:
        expiry, _, signature = signed.partition(".")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
            return False
        right = hmac.compare_digest(signature.encode(), self._sign(expiry).encode())
        return right and self._clock() < int(expiry)

    def sign_in(self, response: Response, scope: Any) -> None:
        """Set the cookie in `response`."""
        expiry = str(int(self._clock()) + SIGNED_IN)
        self._set(response, scope, f"{expiry}.{self._sign(expiry)}", SIGNED_IN)

    def sign_out(self, response: Response, scope: Any) -> None:
        """Delete the cookie."""
        self._set(response, scope, "", 0)

    def _sign(self, expiry: str) -> str:
        return hmac.new(self._key, expiry.encode(), "sha256").hexdigest()

    def _set(self, response: Response, scope: Any, value: str, age: int) -> None:
        response.set_cookie(
            cookie_name(scope),
            value,
            max_age=age,
            path=self._root or "/",
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )


def client_of(scope: Any) -> str:
    """The address that a request of ASGI came from."""
    return scope["client"][0]


def cookie_name(scope: Any) -> str:
    """Cookies know no ports: two workers on one machine would sign out each other."""
    return f"room_actors_{scope['server'][1]}"


def _cookies(scope: Any, wanted: bytes) -> Iterator[str]:
    """The values of all cookies of this name.

    Linear, and other cookies do not matter to it, whatever they look like: `SimpleCookie` is
    quadratic in backslashes before Python 3.11.10 and 3.12.6, and stops at what is no cookie
    to it, as `prefs={"a":1}`.
    """
    for header, value in scope["headers"]:
        if header == b"cookie":
            for pair in value.split(b";"):
                name, _, text = pair.partition(b"=")
                if name.strip() == wanted:
                    yield text.strip().decode("latin-1")
