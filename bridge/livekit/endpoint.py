"""LiveKit's address in all the forms that people write, and the URLs that we derive from it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

_SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}


class BadUrl(ValueError):
    """A text that is not a URL of LiveKit.  The message says what is wrong with it."""


@frozen
class Endpoint:
    """The address of a LiveKit server."""

    secure: bool
    host: str
    """A name or an address, an IPv6 address without brackets."""
    port: int
    path: str = ""
    """The prefix under which a proxy serves LiveKit, "" or "/like/this"."""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Take `ws`, `wss`, `http` or `https`, with or without a path; raise `BadUrl`."""
        if not url or any(char.isspace() or not char.isprintable() for char in url):
            raise BadUrl("the URL is empty or has blanks in it")
        scheme, separator, _ = url.partition("://")
        secure = _SECURE.get(scheme.lower())
        if secure is None or not separator:
            raise BadUrl("the URL must begin with ws://, wss://, http:// or https://")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"not a URL: {error}") from None
        if not parts.hostname:
            raise BadUrl("the URL names no host")
        if parts.username is not None or parts.password is not None:
            raise BadUrl("the URL must not hold a user or a password")
        if parts.query or parts.fragment:
            raise BadUrl("the URL must not have a query or a fragment")
        if port == 0:
            raise BadUrl("the URL's port must not be 0")
        return cls(
            secure=secure,
            host=parts.hostname,
            port=port or (443 if secure else 80),
            path=parts.path.rstrip("/"),
        )

    @property
    def authority(self) -> str:
        """Host and port in the form of URLs and of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def room_url(self) -> str:
        """The URL with which a room connection is opened."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}"

    @property
    def http_url(self) -> str:
        """The base URL of the server API."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"
