"""HTTP proxies: we go through none, and see to it that LiveKit's SDK does not either.

The worker's socket and our calls to the server's API are made directly.  The SDK's native
library takes `HTTP_PROXY` and `HTTPS_PROXY` out of the environment and ignores `NO_PROXY`:
the worker would be registered and enter no room.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

VARIABLES: Final = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
)


def drop_proxies(env: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Take the proxies out of the environment; the names of the variables that had one.

    Call it before the first room is entered, and after the last program was started that
    needs a proxy.
    """
    return tuple(name for name in VARIABLES if env.pop(name, ""))
