"""A private livekit-server on loopback, for the demo and the tests.

`find` looks for the program on this machine.  `build` makes it once, into the cache, if there is
none.  `private_server` starts it on free `ports` and stops it.  `guarded_process` and
`process_guard` are the two sides of a command that ends with us.  `server_scope` has what every
server has: the wait for its first answer, and its end.  `server_errors` has the errors.
"""

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
