"""Our public address: the names, the path and the proxies through which clients come.

Pure.  A proxy's headers are believed only if its address is trusted.  In `X-Forwarded-For` the
client is the rightmost address that is not trusted, because a client can write everything to the
left of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

from attrs import frozen

from bridge.config.http_address import is_loopback

Network: TypeAlias = IPv4Network | IPv6Network

HOPS: Final = 32
"""Addresses in `X-Forwarded-For` that are looked at."""


@frozen
class PublicAddress:
    """The way in which clients reach us.  The defaults are for no proxy."""

    hosts: frozenset[str] = frozenset()
    """Names in lower case that `Host` may have besides those of loopback."""
    root: str = ""
    """The path under which a proxy shows us, as `/rooms`; empty where that is `/`."""
    proxies: tuple[Network, ...] = ()
    """Addresses whose `X-Forwarded-For` and `X-Forwarded-Proto` count."""

    def knows(self, host: bytes, *, loopback: bool) -> bool:
        """True if a request with this `Host` is meant for us.

        On `loopback` every name must be known: a page from elsewhere can make its own name
        resolve to this machine, but cannot lie about it.  Elsewhere all names are known, or
        those of `hosts`; an address is no name that somebody could point at us.
        """
        name = _without_port(host.decode("latin-1")).lower()
        if is_loopback(name) or name in self.hosts:
            return True
        return not loopback and (not self.hosts or _address(name) is not None)

    def trusts(self, address: str) -> bool:
        """True if this is a proxy of ours."""
        parsed = _address(address)
        return parsed is not None and self._trusts(parsed)

    def client(self, address: str, forwarded: Iterable[bytes]) -> str:
        """The client's address.  `address` connected to us, with these values of
        `X-Forwarded-For`."""
        if not self.proxies or not self.trusts(address):
            return address
        hops = b",".join(forwarded).decode("latin-1").split(",")
        for hop in hops[: -HOPS - 1 : -1]:
            parsed = _address(_without_port(hop.strip()))
            if parsed is None:
                break  # nobody whom we know said what stands further left
            address = str(parsed)
            if not self._trusts(parsed):
                break
        return address

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.proxies)

    def inner(self, path: str) -> str:
        """The path as our rows have it.  A proxy may keep the root in it, or take it away."""
        if self.root and (path == self.root or path.startswith(f"{self.root}/")):
            return path[len(self.root) :] or "/"
        return path


def _without_port(host: str) -> str:
    """`name`, `name:80`, `[::1]`, `[::1]:80`, `::1`: the name or address alone."""
    bare, _, port = host.rpartition(":")
    # Without a port the last colon is none, or one inside of an address.
    if port.isdecimal() and bare and (":" not in bare or bare.endswith("]")):
        host = bare
    return host.removeprefix("[").removesuffix("]")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
