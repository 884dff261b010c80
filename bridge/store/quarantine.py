"""A damaged file gets another name and stays, so that a repair tool can read more of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

_COMPANIONS: Final = ("-wal", "-shm", "")
"""The file itself is the last.  A log that stays behind alone would be taken for the log of the
next file."""


def quarantine(path: Path) -> Path:
    """Rename the file and its companions.  Gives the new name.  Raises OSError.

    The companions keep their endings, so that SQLite's own `.recover` finds them.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{path.name}.corrupt-{stamp}{suffix}" for suffix in _suffixes())
    target = next(name for name in map(path.with_name, names) if not name.exists())
    for ending in _COMPANIONS:
        old = Path(f"{path}{ending}")
        if old.exists():
            old.rename(f"{target}{ending}")
    return target


def _suffixes() -> Iterator[str]:
    yield ""
    for number in count(2):
        yield f"-{number}"
