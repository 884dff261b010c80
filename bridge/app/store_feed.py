"""The feed of a running program's store: the one place that chooses it."""

from __future__ import annotations

from actors.journal.backlog import Backlog
from actors.journal.feed import Feed
from actors.journal.shared_feed import SharedFeed
from bridge.config.store_address import StoreAddress


def open_feed(store: StoreAddress, backlog: Backlog) -> Feed:
    """Entries as `backlog` gets them written, read once for all who follow.

    In a database there are also those of other workers.
    """
    if store.database_url is None:
        from bridge.store.sqlite_feed import SqliteFeed

        feed: Feed = SqliteFeed(
            store.data_dir, lambda: backlog.batch_written, backlog.report_unreadable
        )
    else:
        from bridge.postgres.postgres_feed import PostgresFeed

        feed = PostgresFeed(
            store.database_url, lambda: backlog.batch_written, backlog.report_unreadable
        )
    return SharedFeed(feed)
