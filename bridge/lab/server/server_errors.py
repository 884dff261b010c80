"""The errors of a private server; each text says what to do."""

from __future__ import annotations


class ServerError(Exception):
    """The parent of the errors below."""


class ServerUnavailableError(ServerError):
    """There is no livekit-server on this machine and none can be built here."""


class ServerStartError(ServerError):
    """The binary exists, but it did not start a server."""
