"""The URL of a database: what may be shown of it, and what may not.

This module imports no driver: settings and logs use it for every user.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_SECRET_PARAMETERS: Final = frozenset({"password", "sslpassword"})
_HOSTS: Final = re.compile(r"(?:(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?(?:,|$))*")


def has_readable_credentials(url: str) -> bool:
    """True if a password can only be where `shown_url` and `secrets_of_url` look for it.

    PostgreSQL reads one with `#` or `?` in it too, and repeats one with `/` in its error.
    """
    parts = urlsplit(url)
    parameters = parts.query.split("&") if parts.query else []
    return (
        _HOSTS.fullmatch(parts.netloc.rpartition("@")[2]) is not None
        and "@" not in parts.path
        and "#" not in url
        and all("=" in one and "@" not in one.partition("=")[0] for one in parameters)
    )


def shown_url(url: str) -> str:
    """The URL without user, password and parameters."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def secrets_of_url(url: str | None) -> tuple[str, ...]:
    """Each password in the URL, as it stands there and decoded."""
    if not url:
        return ()
    parts = urlsplit(url)
    _, _, password = parts.netloc.rpartition("@")[0].partition(":")
    parameters = [
        value for name, value in parse_qsl(parts.query) if name.lower() in _SECRET_PARAMETERS
    ]
    words = {password, unquote(password), *parameters, *map(quote, parameters)}
    return tuple(sorted((word for word in words if word), key=len, reverse=True))


def without_secrets(url: str, text: str) -> str:
    """The text, which may repeat the URL, without what must not be shown."""
    text = text.replace(url, shown_url(url))
    for word in secrets_of_url(url):
        text = text.replace(word, "***")
    return text
