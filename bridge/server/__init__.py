"""A private livekit-server for the demo and the tests: found, built once, run on loopback."""

from bridge.server.build import ensure_server
from bridge.server.errors import ServerError, ServerStartError, ServerUnavailableError
from bridge.server.find import find_server
from bridge.server.private import PrivateServer

__all__ = [
    "PrivateServer",
    "ServerError",
    "ServerStartError",
    "ServerUnavailableError",
    "ensure_server",
    "find_server",
]
