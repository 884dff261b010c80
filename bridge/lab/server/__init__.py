"""A private livekit-server on loopback, for the demo and the tests.  Built once if none exists."""

from bridge.lab.server.build import ensure_server
from bridge.lab.server.find import find_server
from bridge.lab.server.private_server import PrivateServer
from bridge.lab.server.server_errors import ServerError, ServerStartError, ServerUnavailableError

__all__ = [
    "PrivateServer",
    "ServerError",
    "ServerStartError",
    "ServerUnavailableError",
    "ensure_server",
    "find_server",
]
