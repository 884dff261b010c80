"""Free ports on loopback.

They are taken below the range from which the system serves its own sockets (Linux
from 32768, macOS from 49152): a server that is restarted must find its ports
again, and in the ephemeral range an outgoing connection may use them by then.
"""

from __future__ import annotations

import random
import socket
from typing import Final

from bridge.lab.server.server_errors import ServerStartError

LOOPBACK: Final = "127.0.0.1"
CANDIDATES: Final = range(20_000, 32_000)
ATTEMPTS: Final = 200


def free_port(*kinds: socket.SocketKind) -> int:
    """A port that is free now for all of `kinds`.  Another process may still take it first."""
    for port in random.SystemRandom().sample(CANDIDATES, ATTEMPTS):
        if all(_is_free(port, kind) for kind in kinds):
            return port
    raise ServerStartError(
        f"no free port between {CANDIDATES.start} and {CANDIDATES.stop} on {LOOPBACK}: "
        f"stop what listens there"
    )


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
