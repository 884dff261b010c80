"""The feed of a running program's store: the one place that chooses it."""

from __future__ import annotations

from pathlib import Path

from actors.journal.backlog import Backlog
from actors.journal.feed import Feed
from actors.journal.shared_feed import SharedFeed
from bridge.store.sqlite_feed import SqliteFeed


def open_feed(data_dir: Path, backlog: Backlog) -> Feed:
    """Entries as `backlog` gets them written, read once for all who follow."""
    return SharedFeed(
        SqliteFeed(data_dir, lambda: backlog.batch_written, backlog.report_unreadable)
    )
