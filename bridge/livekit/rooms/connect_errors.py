"""The SDK's one `ConnectError`, as the two errors of the port."""

from __future__ import annotations

from typing import Final

from actors.rooms.room_port import RoomError, RoomRefused, RoomUnreachable
from bridge.output.redact import redact

REFUSALS: Final = ("401", "403", "404", "parse the url", "unsupported URL scheme")
"""Parts of a connect error's text.  Each means that the same try would fail again.

`500` is not among them: it is a full room as well as a server's fault.
"""


def connect_error(text: str) -> RoomError:
    """Sort the error by its text.  The result is one line and has no token."""
    clean = " ".join(redact(text).split())[:300]
    kind = RoomRefused if any(mark in text for mark in REFUSALS) else RoomUnreachable
    return kind(clean or "no reason given")
