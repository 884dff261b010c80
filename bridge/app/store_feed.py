"""The feed of a running program's store: the one place that chooses it."""

from __future__ import annotations

from actors.journal.backlog import Backlog
from actors.journal.feed import Feed
from actors.journal.shared_feed import SharedFeed
from bridge.config.store_address import StoreAddress


def open_feed(store: StoreAddress, backlog: Backlog) -> Feed:
    """Entries as `backlog` gets them written, read once for all who follow.

    In a database there are also those of other workers, unless its workers have local journals.
    """
    if store.database_url is None or store.has_local_events:
        from bridge.store.local_journal import journal_folder
        from bridge.store.sqlite_feed import SqliteFeed

        directory = store.data_dir
        if store.has_local_events:
            directory = journal_folder(directory)
        feed: Feed = SqliteFeed(directory, lambda: backlog.batch_written, backlog.report_unreadable)
    else:
        from bridge.postgres.postgres_feed import PostgresFeed

        feed = PostgresFeed(
            store.database_url, lambda: backlog.batch_written, backlog.report_unreadable
        )
    return SharedFeed(feed)
