"""Where webhooks go: a URL, checked.  Imports little: the settings need it at each start."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from attrs import frozen


class BadEndpoint(ValueError):
    """A URL that no delivery goes to; the text says what is wrong with it."""


@frozen
class EndpointUrl:
    """Where deliveries go."""

    secure: bool
    host: str
    port: int
    target: str
    """Path and query."""

    @classmethod
    def parse(cls, url: str) -> EndpointUrl:
        """Raises `BadEndpoint`."""
        if not url.isascii() or any(char.isspace() or not char.isprintable() for char in url):
            raise BadEndpoint("it has blanks or characters that no URL has")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadEndpoint(f"it is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadEndpoint("it must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise BadEndpoint("it must not hold a user or a password: use a secret")
        if parts.fragment:
            raise BadEndpoint("it must not have a fragment (#…)")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise BadEndpoint("its host is no name: a part is empty or too long") from None
        if is_forbidden(parts.hostname):
            raise BadEndpoint("it is a link-local address, where clouds serve credentials")
        secure = parts.scheme == "https"
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        return cls(secure, parts.hostname, port or (443 if secure else 80), target)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """Without path and query: these may hold a secret."""
        return f"{'https' if self.secure else 'http'}://{self.authority}/"


def is_forbidden(address: str) -> bool:
    """True for a literal link-local address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_link_local
