"""The store of conversations' texts of a worker: the one place that chooses it.

Where no text is kept, nothing is imported, no file is made and no service runs.  A directory that
has texts of an earlier setting has them until their retention ends: a service drops them then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.journal.process_ports import Announce
from actors.runtime import ActorSystem, ChildSpec, Intensity, Restart, Service
from bridge.config.mask_list import masks_of, text_retention
from bridge.config.settings import Settings
from bridge.config.store_address import StoreAddress, store_address

if TYPE_CHECKING:
    from actors.journal.conversation_texts import TextRetention, TextStore
    from actors.journal.text_keeper import TextKeeper

RESTARTS = Intensity(restarts=1_000_000, within=1.0)
"""A crash of the service restarts it for ever: rooms must not notice."""


def _text_store(store: StoreAddress, retention: TextRetention) -> TextStore:
    if store.database_url is None:
        from bridge.store.sqlite_texts import SqliteTexts

        return SqliteTexts(store.data_dir, retention)
    from bridge.postgres.postgres_texts import PostgresTexts

    return PostgresTexts(store.database_url, retention)


def start_text_keeper(
    settings: Settings,
    system: ActorSystem,
    *,
    trusted_clock: Callable[[], float | None],
    announce: Announce,
) -> TextKeeper | None:
    """Start the service that keeps texts.  None where no text is kept and none is left."""
    retention, store = text_retention(settings), store_address(settings)
    if not retention.any and not _has_texts(store):
        return None
    from actors.journal.text_keeper import TextKeeper

    keeper = TextKeeper(
        _text_store(store, retention),
        retention,
        masks_of(settings),
        trusted_clock=trusted_clock,
        announce=announce,
    )
    system.supervisor.start_child(
        ChildSpec(
            "texts", partial(Service, keeper.run), restart=Restart.PERMANENT, intensity=RESTARTS
        )
    )
    return keeper


def _has_texts(store: StoreAddress) -> bool:
    if store.database_url is not None:
        return False  # The retention of the database drops them.
    from bridge.store.text_file import FILE

    return (store.data_dir / FILE).exists()
