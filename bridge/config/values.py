"""The parsers of settings: from a value as it was given to the value that is used.

Each parser takes text (from a flag or the environment) or a TOML value.  It raises `BadValue` with
a text that names the fault and the allowed values.  The text never repeats the value of a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from bridge.config.http_address import HttpAddress
from bridge.config.public_address import Network
from bridge.livekit.endpoint import BadUrl, Endpoint
from bridge.output.durations import UNITS, setting_duration
from bridge.output.harmless import harmless
from bridge.output.text import did_you_mean, plain
from bridge.postgres.database_url import has_readable_credentials

T = TypeVar("T")
Parser = Callable[[object], T]


class BadValue(ValueError):
    """A value that is not allowed.  The text says why and what to give, and has no secret."""


class SettingsError(Exception):
    """Wrong use or a wrong setting: one line, exit code 2.  The text holds no secret."""


def shown(value: object) -> str:
    """A given value, for an error text."""
    return f"'{harmless(plain(value), 80)}'"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue("is not text; put it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue("is not UTF-8 text") from None
    return value


def text(value: object) -> str:
    return _text(value).strip()


def agent_name(value: object) -> str:
    name = text(value)
    if len(name) > 256 or not name.isprintable():
        raise BadValue("is not an agent name; give at most 256 characters that print")
    return name


def voice(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9+_-]{0,40}", name):
        raise BadValue(f"{shown(name)} is not a voice; give at most 40 of A-Z, a-z, 0-9, + _ -")
    return name


def person_key(value: object) -> str:
    from actors.session.person_key import is_person_key

    key = text(value)
    if not is_person_key(key) or len(key) > 256:
        raise BadValue(f"{shown(value)} is no key; give attributes.NAME or metadata.NAME")
    return key


def worker_name(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise BadValue(
            f"{shown(name)} is not a worker's name; give at most 64 of A-Z, a-z, 0-9, . _ -"
        )
    return name


def secret(value: object) -> str:
    """A credential.  No error text has it."""
    word = text(value)
    if any(c.isspace() or not c.isprintable() for c in word):
        raise BadValue("has a blank or a control character in it; give the value alone")
    return word


# ---------------------------------------------------------------- addresses

_URL_FORMS: Final = "give ws://HOST[:PORT] or wss://HOST[:PORT] (http and https are taken too)"
_HOST: Final = re.compile(r"(?i)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f:.]+(%[a-z0-9_.-]+)?")


def livekit_url(value: object) -> str:
    """A LiveKit server's address, always as ws or wss and without a slash at its end."""
    given = text(value)
    if "@" in given:  # may be a password: not repeated
        raise BadValue("has a user name or password in it; use --api-key and --api-secret")
    wrong = f"{shown(given)} is not the URL of a LiveKit server"
    try:
        endpoint = Endpoint.parse(given)
    except BadUrl as error:
        raise BadValue(f"{wrong}: {error}{_with_scheme(given)}; {_URL_FORMS}") from None
    parts = urlsplit(endpoint.room_url)
    if not _HOST.fullmatch(parts.hostname or ""):
        raise BadValue(f"{wrong}: its host is malformed; {_URL_FORMS}")
    return endpoint.room_url


def _with_scheme(given: str) -> str:
    return f" (you may mean ws://{given})" if re.fullmatch(r"[\w.-]+(:\d+)?", given) else ""


def http_address(value: object) -> HttpAddress | None:
    """`HOST:PORT`, `[IPv6]:PORT`, or `off` (None).  Port 0 takes a free one."""
    given = text("off" if value is False else value)
    if given == "off":
        return None
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})", given
    )
    if match is None or int(match["port"]) > 65535:
        raise BadValue(
            f"{shown(given)} is not an address; give HOST:PORT, as 127.0.0.1:8088, or off"
        )
    return HttpAddress(match["v6"] or match["host"], int(match["port"]))


def host_names(value: object) -> tuple[str, ...]:
    """Names of hosts in lower case, without ports."""
    names = dict.fromkeys(name.lower().removesuffix(".") for name in _several(value))
    for name in names:
        if len(name) > 253 or not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
            raise BadValue(
                f"{shown(name)} is not a host's name; give names without scheme, port or path, "
                "as rooms.example.org"
            )
    return tuple(names)


def networks(value: object) -> tuple[Network, ...]:
    """Addresses and networks of IPv4 and IPv6."""
    parsed: dict[Network, None] = {}
    for one in _several(value):
        try:
            parsed[ip_network(one, strict=False)] = None
        except ValueError:
            raise BadValue(
                f"{shown(one)} is not an address; give addresses or networks, as "
                "127.0.0.1,10.0.0.0/8"
            ) from None
    return tuple(parsed)


OWN_PATHS: Final = frozenset({
    "agents", "alerts", "api", "attendance", "attendance.csv", "days.csv", "healthz", "history",
    "history.csv", "history.json", "livekit", "metrics", "now", "observability", "openapi.json",
    "people", "readyz", "sessions", "signin", "signout", "static", "system", "timelines", "whole",
})  # fmt: skip
"""The first parts of our own paths.  With one of these as root, a path would be ambiguous."""


def url_root(value: object) -> str:
    """A path without a slash at its end; empty for `/`."""
    given = text(value)
    if not re.fullmatch(r"/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?", given):
        raise BadValue(
            f"{shown(given)} is not a path; give one of letters, digits and -._~ that begins "
            "with a slash, as /rooms"
        )
    if given.split("/")[1] in OWN_PATHS:
        raise BadValue(f"{shown(given)} begins like a path of our own; give another, as /rooms")
    return given.rstrip("/")


def database_url(value: object) -> str:
    """Never repeated in an error: it may hold a password."""
    given = text(value)
    if not re.match(r"(postgresql|postgres)://[^\s]+$", given) or not _is_url(given):
        raise BadValue("is not a database; give postgresql://USER:PASSWORD@HOST/NAME")
    if not has_readable_credentials(given):
        raise BadValue(
            "has a user, password or host that cannot be read; in user and password write / as "
            "%2F, # as %23, ? as %3F, @ as %40 and : as %3A"
        )
    return given


def _is_url(given: str) -> bool:
    try:
        return bool(urlsplit(given).netloc or urlsplit(given).path)
    except ValueError:
        return False


def events(value: object) -> str:
    """Where events go if there is a database."""
    return choice("shared", "local")(value)


# ---------------------------------------------------------------- plain kinds

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(least: float, most: float) -> Parser[float]:
    """Seconds from `30`, `30s`, `1m`, `1m30s`, `500ms`, `90d`; a number is seconds."""
    example = "30, 30s or 1m" if least < 60 else "12h or 30d"
    forms = f"give {setting_duration(least)} to {setting_duration(most)}, as {example}"

    def parse(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None or not math.isfinite(seconds):
            raise BadValue(f"{shown(value)} is not a duration; {forms}")
        if not least <= seconds <= most:
            raise BadValue(f"{shown(value)} is out of range; {forms}")
        return seconds

    return parse


def duration_or_off(least: float, most: float) -> Parser[float | None]:
    """Seconds as `duration` reads them; `off` is None."""
    parse_duration = duration(least, most)

    def parse(value: object) -> float | None:
        if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
            return None
        try:
            return parse_duration(value)
        except BadValue as error:
            raise BadValue(f"{error}, or off") from None

    return parse


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    given = value.strip().lower()
    if _DURATION.fullmatch(given):
        return sum(float(n) * UNITS[unit] for n, unit in _DURATION_PART.findall(given))
    try:
        return float(given)
    except ValueError:
        return None


_SIZES: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size(least: int, most: int) -> Parser[int]:
    """Bytes from `500MB`, `10GB`, `1.5TB`; a number is bytes."""
    forms = f"give {least // 10**6}MB or more, as 500MB or 10GB"

    def parse(value: object) -> int:
        given = value if isinstance(value, str) else str(value) if _is_whole(value) else ""
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?B?)", given.strip().upper())
        if match is None:
            raise BadValue(f"{shown(value)} is not a size; {forms}")
        unit = match[2] if match[2].endswith("B") or not match[2] else f"{match[2]}B"
        parsed = int(float(match[1]) * _SIZES[unit])
        if not least <= parsed <= most:
            raise BadValue(f"{shown(value)} is out of range; {forms}")
        return parsed

    return parse


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole_number(least: int, most: int) -> Parser[int]:
    def parse(value: object) -> int:
        given = value.strip() if isinstance(value, str) else value
        if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]+", given):
            # Python refuses to read thousands of digits; no bound has more than 18.
            given = int(given) if len(given) < 19 else most + 1
        if not isinstance(given, int) or isinstance(given, bool):
            raise BadValue(f"{shown(value)} is not a whole number; give {least} to {most}")
        if not least <= given <= most:
            raise BadValue(f"{shown(value)} is out of range; give {least} to {most}")
        return given

    return parse


_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    answer = _SWITCH.get(plain(value).strip().lower())
    if answer is None:
        raise BadValue(f"{shown(value)} is neither on nor off; give true or false")
    return answer


def choices(*words: str, required: str = "") -> Parser[tuple[str, ...]]:
    """Several of `words`, with `required` among them: a list, or text with commas between."""

    def parse(value: object) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(_several(value)))
        for one in given:
            if one not in words:
                hint = did_you_mean(one, words)
                raise BadValue(f"{shown(one)} is not known; give some of {','.join(words)}{hint}")
        if required and required not in given:
            raise BadValue(f"{required} is missing; give {required}, or {','.join(words)}")
        return given

    return parse


def share(value: object) -> float:
    """A number from 0 to 1."""
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0.0 <= number <= 1.0:
        raise BadValue(f"{shown(value)} is not a number from 0 to 1; give one, as 0.5")
    return number


def choice(*words: str) -> Parser[str]:
    def parse(value: object) -> str:
        if value in words:
            return str(value)
        hint = did_you_mean(plain(value), words)
        raise BadValue(f"{shown(value)} is not known; give {' or '.join(words)}{hint}")

    return parse


def globs(value: object) -> tuple[str, ...]:
    """Patterns of room names: a list, or text with commas between; `""` for none."""
    items: Iterable[object] = value.split(",") if isinstance(value, str) else _items(value)
    patterns = tuple(dict.fromkeys(p for p in (_text(item).strip() for item in items) if p))
    if any(not p.isprintable() for p in patterns):
        raise BadValue("has a control character in it; give room names or patterns such as team-*")
    return patterns


def _several(value: object) -> Iterable[str]:
    """A list, or text with commas between."""
    items: object = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise BadValue(f'{shown(value)} is not a list; give \'a,b\' or ["a", "b"]')
    return [one for one in (_text(item).strip() for item in items) if one]


def _items(value: object) -> Iterable[object]:
    if not isinstance(value, list | tuple):
        raise BadValue(f'{shown(value)} is not a list of room names; give \'a,b\' or ["a", "b"]')
    return value


def directory(value: object) -> Path:
    given = _text(value)
    if not given or "\0" in given:
        raise BadValue(f"{shown(given)} is not a directory; give a path")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:
        raise BadValue(f"{shown(given)} names a home that is not known; give a full path") from None
    except OSError:  # of the working directory, which somebody deleted
        raise BadValue(
            f"{shown(given)} is below a working directory that is gone; give a full path"
        ) from None
