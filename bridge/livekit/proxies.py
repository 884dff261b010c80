"""HTTP proxies: this program uses none, and keeps LiveKit's SDK from using one.

The worker's socket and our calls to the server's API are made directly.  The SDK's native
library reads `HTTP_PROXY` and `HTTPS_PROXY` from the environment and ignores `NO_PROXY`.  With a
proxy the worker would be registered and could enter no room.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

VARIABLES: Final = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
)


def drop_proxies(env: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Remove the proxies from the environment; return the names of the variables that had one.

    Call it before the first room is entered, and after the last program was started that
    needs a proxy.
    """
    return tuple(name for name in VARIABLES if env.pop(name, ""))
