"""Where stored sessions are read from: the one place that chooses a reader.

Commands, pages and API get their `SessionReader` from here.  Imported without trio, so that a
command that reads starts fast.  A database's driver is imported only where one is named.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from actors.journal.conversation_texts import TextReader
from actors.journal.session_reader import SessionReader
from bridge.config.store_address import StoreAddress
from bridge.store.journal_reader import JournalReader, open_journal_reader
from bridge.store.sqlite_reader import open_reader


def open_sessions(store: StoreAddress) -> AbstractContextManager[SessionReader]:
    """The sessions of a store.

    Raises `NoStore`, `StoreRefused` and `ArchiveTrouble`, the last one also from within the block.
    """
    if store.database_url is None:
        return open_reader(store.data_dir)
    from bridge.postgres.postgres_reader import open_database_reader

    return open_database_reader(store.database_url)


def open_journals(store: StoreAddress) -> AbstractContextManager[JournalReader]:
    """The whole journals of a store.  Raises as `open_sessions` does."""
    if store.database_url is None:
        return open_journal_reader(store.data_dir)
    from bridge.postgres.postgres_reader import open_database_journals

    return open_database_journals(store.database_url)


@contextmanager
def open_conversations(store: StoreAddress) -> Generator[TextReader | None, None, None]:
    """The texts of a store; None where none were ever kept.

    Raises `TextTrouble`, also from within the block.
    """
    if store.database_url is None:
        from bridge.store.text_file import open_texts

        with open_texts(store.data_dir) as reader:
            yield reader
        return
    from bridge.postgres.postgres_text_reader import open_database_texts

    with open_database_texts(store.database_url) as reader:
        yield reader
