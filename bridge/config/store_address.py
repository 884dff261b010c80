"""Where sessions are stored: a data directory, or a database that several workers share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from bridge.config.settings import BY_NAME, Settings, SettingsError, read_settings
from bridge.postgres.database_url import shown_url


@frozen
class StoreAddress:
    """The place of a store."""

    data_dir: Path
    database_url: str | None = field(default=None, repr=False)
    """None: the sessions are in the data directory."""
    has_local_events: bool = False
    """The journal of this worker is in the data directory, although its sessions are not."""

    def __str__(self) -> str:
        return str(self.data_dir) if self.database_url is None else shown_url(self.database_url)


def store_address(settings: Settings) -> StoreAddress:
    """The store of a worker."""
    return StoreAddress(
        settings.data_dir,
        settings.database_url,
        has_local_events=settings.database_url is not None and settings.events == "local",
    )


def store_address_of(
    flags: Mapping[str, object], env: Mapping[str, str] | None = None
) -> StoreAddress:
    """For a command that only reads: no other setting need be there.  Raises `SettingsError`."""
    read = read_settings(flags, env)
    for name in ("data-dir", "database-url"):
        if name in read.problems:
            raise SettingsError(read.problems[name])
    return StoreAddress(read.values["data-dir"], read.values["database-url"])


def file_store_of(flags: Mapping[str, object], instead: str) -> Path:
    """The data directory, for a command that works on files only.

    `instead`: what to do where the sessions are in a database.  Raises `SettingsError`.
    """
    address = store_address_of(flags)
    if address.database_url is not None:
        row = BY_NAME["database-url"]
        raise SettingsError(
            f"{row.flag}: the sessions are in {address}: {instead}; for the files of a data "
            f"directory unset {row.env}"
        )
    return address.data_dir
