"""`health`: asks the worker on this machine whether it is alive; for containers and supervisors."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME, SettingsError, read_settings

TIMEOUT: Final = 3.0
"""Seconds.  A supervisor's own deadline is longer: its default is 30 s at Docker."""
LONGEST: Final = 10_000
"""Bytes of an answer that are read."""


def _health(flags: Flags) -> int:
    import http.client

    path = "/readyz" if flags.get("ready") else "/healthz"
    read = read_settings({name: value for name, value in flags.items() if name != "ready"})
    if "http" in read.problems:
        raise SettingsError(read.problems["http"])
    address = read.values["http"]
    if address is None:
        raise SettingsError("--http is off, so no worker can be asked; name its --http ADDRESS")
    host = str({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host))  # noqa: S104
    connection = http.client.HTTPConnection(host, address.port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(LONGEST).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        complain(
            f"nothing answers at http://{address}{path}: {reason}; start a worker, or name its "
            "address by --http ADDRESS or ROOM_ACTORS_HTTP"
        )
        return FAILED
    finally:
        connection.close()
    if status != 200:
        complain(f"http://{address}{path} answers {status}: {body}")
        return FAILED
    sys.stdout.write(f"{'ready' if flags.get('ready') else 'alive'}\n")
    return 0


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready", action="store_true", help="ask whether it is ready too: registered and writing"
    )


HEALTH: Final = Command(
    "health",
    "ask a running worker whether it is alive",
    "Asks the worker at --http for /healthz, or with --ready for /readyz. Exits 0 if it says yes,\n"
    "else 1. For a container's health check; it needs no other setting.",
    _health,
    (BY_NAME["http"],),
    add_flags=_add_flags,
)
