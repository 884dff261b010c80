"""Where stored sessions are read from: the one place that chooses a reader.

Commands, pages and API get their `SessionReader` from here.  Imported without trio, so that a
command that reads starts fast.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from actors.journal.session_reader import SessionReader
from bridge.store.journal_reader import JournalReader, open_journal_reader
from bridge.store.sqlite_reader import open_reader


def open_sessions(data_dir: Path) -> AbstractContextManager[SessionReader]:
    """The sessions of a data directory.

    Raises `NoStore`, `StoreRefused` and `ArchiveTrouble`, the last one also from within the block.
    """
    return open_reader(data_dir)


def open_journals(data_dir: Path) -> AbstractContextManager[JournalReader]:
    """The whole journals of a data directory.  Raises as `open_sessions` does."""
    return open_journal_reader(data_dir)
