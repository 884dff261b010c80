"""The places of a livekit-server on this machine, and of the one that we build."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from bridge.lab.server.server_errors import ServerUnavailableError

VERSION: Final = "1.13.5"
"""The newest that `go install` builds in one step: later ones need a replaced module."""

OVERRIDE: Final = "ROOM_ACTORS_LIVEKIT_SERVER"


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/room-actors``; a relative value is void by the XDG specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "room-actors"


def cached_server() -> Path:
    """The file of the built server; each version has its own."""
    return cache_dir() / f"livekit-server-{VERSION}"


def find_server() -> Path | None:
    """The livekit-server to use: named by the user, on PATH, or built earlier.

    Raises `ServerUnavailableError` where the user named one that is not there: to
    take another one silently would surprise the user.
    """
    if named := os.environ.get(OVERRIDE):
        path = Path(named).expanduser()
        if not _runs(path):
            raise ServerUnavailableError(
                f"{OVERRIDE} names {named!r}, which is no executable file: "
                f"set it to a livekit-server binary, or unset it to have one built"
            )
        return path.absolute()
    if on_path := shutil.which("livekit-server"):
        return Path(on_path).absolute()
    built = cached_server()
    return built if _runs(built) else None


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
